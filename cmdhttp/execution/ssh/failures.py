"""What went wrong on the way to a running command, in the words of a RunError.

The texts are ours: what a host or a library said may hold anything, so none of it is repeated. Nothing here means that
a command may have run; only `run.py` can say that.
"""

import socket

import asyncssh

from cmdhttp.execution.model import RunError, RunErrorCode
from cmdhttp.execution.ssh.trust import Trust

_KEY_HINT = (
    "Compare the host's key with the known_hosts file of its SSH profile. If the host was rebuilt on purpose, record "
    "its new key; if not, somebody may be answering in its place."
)
_LOGIN_HINT = (
    "Check that the account exists on the host, that its authorized_keys holds the public half of the profile's key, "
    "and what the host's sshd logged."
)
_REACH_HINT = (
    "Check that the host is up, that its address and port in the policy are right, and that no firewall is between."
)


class ConnectFailed(Exception):
    """No command was started, and why."""

    def __init__(self, code: RunErrorCode, detail: str, *, hint: str = "") -> None:
        super().__init__(detail)
        self.error = RunError(code=code, detail=detail, hint=hint)


def unreachable(detail: str) -> ConnectFailed:
    return ConnectFailed(RunErrorCode.CONNECT_FAILED, detail, hint=_REACH_HINT)


def login_failed(detail: str) -> ConnectFailed:
    return ConnectFailed(RunErrorCode.LOGIN_FAILED, detail, hint=_LOGIN_HINT)


def channel_refused() -> RunError:
    return RunError(
        code=RunErrorCode.CHANNEL_REFUSED,
        detail="The host accepted the login and then refused to open a session or to run a command.",
        hint="Check MaxSessions, ForceCommand and the account's restrictions on the host.",
    )


def connection_lost() -> RunError:
    return RunError(
        code=RunErrorCode.CONNECTION_LOST,
        detail="The connection ended before the host reported the end of the command, which may still run.",
        hint="Look on the host whether the command took effect before it is run again.",
    )


def from_exception(exc: Exception, *, trust: Trust, connected: bool, verified: bool) -> ConnectFailed:
    """Say what `exc` means for a connection that had got as far as TCP (`connected`) or a good key (`verified`)."""
    match exc:
        case asyncssh.HostKeyNotVerifiable():
            return _unverified(trust, revoked="revoked" in exc.reason)
        case asyncssh.PermissionDenied():
            return login_failed("The host refused the login.")
        case asyncssh.ConnectionLost() | ConnectionError() if connected:
            return unreachable("The host closed the connection before the login was complete.")
        case asyncssh.DisconnectError() if verified:
            return login_failed("The host broke off the login.")
        case _:
            return unreachable(_unreached(exc, connected=connected))


def out_of_time(*, connected: bool, verified: bool) -> ConnectFailed:
    if verified:
        return login_failed("The host did not complete the login in time.")
    if connected:
        return unreachable("The host accepted the connection but did not complete the SSH handshake in time.")
    return unreachable("The host did not answer in time.")


def _unreached(exc: Exception, *, connected: bool) -> str:
    match exc:
        case asyncssh.KeyExchangeFailed():
            return "The host offers no SSH algorithm that this service accepts."
        case _ if connected:
            return "What answers at the host's address does not speak SSH as it should."
        case socket.gaierror() | UnicodeError():
            return "The name of the host could not be resolved."
        case ConnectionRefusedError():
            return "The host refused the connection."
        case _:
            return "The host could not be reached."


def _unverified(trust: Trust, *, revoked: bool) -> ConnectFailed:
    if revoked:
        detail = "The host showed a key that is recorded as revoked."
    elif trust.recorded:
        detail = "The host showed a key other than the one that is recorded for it."
    else:
        detail = "No key is recorded for the host, so it cannot be verified."
    return ConnectFailed(RunErrorCode.HOST_KEY_MISMATCH, f"{detail} No login was attempted.", hint=_KEY_HINT)
