"""What went wrong on the way to a running command, in the words of a RunError.

The texts are ours: what a host or a library said may hold anything, so none of it is repeated. Nothing here means that
a command may have run; only `run.py` can say that.
"""

import socket
from dataclasses import dataclass, field

import asyncssh

from cmdhttp.execution.model import CertificateIssued, RunError, RunErrorCode
from cmdhttp.execution.ssh.login import hostcerts
from cmdhttp.execution.ssh.login.trust import Trust

_KEY_HINT = (
    "Compare the host's key with the known_hosts file of its SSH profile. If the host was rebuilt on purpose, record "
    "its new key; if not, somebody may be answering in its place."
)
_NO_KEY_HINT = (
    "`cmdhttp hosts scan` shows the host's keys and the line of known_hosts for each. Compare one with the host itself, on its "
    "console, before you record it."
)
_HOST_CERTIFICATE_HINT = (
    "Look at the host's certificate with `ssh-keygen -L`: an authority of the SSH profile must have signed it, its principals "
    "must hold the host's address as the policy writes it, and it must be valid now by the clock of this machine."
)
_LOGIN_HINT = (
    "Check that the account exists on the host, that its authorized_keys holds the public half of the profile's key, "
    "and what the host's sshd logged."
)
_REACH_HINT = (
    "Check that the host is up, that its address and port in the policy are right, and that no firewall is between."
)
_JUMP_HINT = (
    "Check on the jump host AllowTcpForwarding, PermitOpen and DisableForwarding, and that the host is up and can be reached "
    "from there by the address in the policy."
)


class ConnectFailed(Exception):
    """No command was started, and why. `tried` says that the host was asked: if not, the fault lies here."""

    def __init__(self, code: RunErrorCode, detail: str, *, hint: str = "", tried: bool = True) -> None:
        super().__init__(detail)
        self.error = RunError(code=code, detail=detail, hint=hint)
        self.tried = tried


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """How far a connection had got: as far as TCP (`connected`) or a good key (`verified`).

    `jumped`: by way of a jump host, whose connection may be `lost`.
    """

    trust: Trust = field(default_factory=Trust)
    connected: bool = False
    verified: bool = False
    jumped: bool = False
    lost: bool = False


def unreachable(detail: str) -> ConnectFailed:
    return ConnectFailed(RunErrorCode.CONNECT_FAILED, detail, hint=_REACH_HINT)


def channel_refused() -> RunError:
    return RunError(
        code=RunErrorCode.CHANNEL_REFUSED,
        detail="The host accepted the login and then refused to open a session or to run a command.",
        hint="Check MaxSessions, ForceCommand and the account's restrictions on the host.",
    )


def sftp_refused() -> RunError:
    return RunError(
        code=RunErrorCode.CHANNEL_REFUSED,
        detail="The host opened no SFTP session, by which the files of the run go; nothing has run.",
        hint="Check that the host's sshd_config has the line `Subsystem sftp internal-sftp`, MaxSessions and ForceCommand.",
    )


def connection_lost() -> RunError:
    return _lost("The connection ended before the host reported the end of the command, which may still run.")


def unanswered() -> RunError:
    return _lost("The host was given the command and did not say in time that it has started, so it may run.")


def _lost(detail: str) -> RunError:
    return RunError(
        code=RunErrorCode.CONNECTION_LOST,
        detail=detail,
        hint="Look on the host whether the command took effect before it is run again.",
    )


def at_jump(failed: ConnectFailed) -> ConnectFailed:
    """Return what went wrong on the way to a jump host, told as the jump host's; once, however long the chain is.

    The host behind it was not asked.
    """
    error, host = failed.error, "The host "
    if error.detail.startswith("The jump host "):
        return ConnectFailed(error.code, error.detail, hint=error.hint, tried=False)
    if error.detail.startswith(host):
        detail = f"The jump host {error.detail.removeprefix(host)}"
    else:
        detail = f"The jump host could not be used. {error.detail}"
    hint = f"This is about the jump host. {error.hint}" if error.hint else ""
    return ConnectFailed(error.code, detail, hint=hint, tried=False)


# Logins.


def login_failed(detail: str, *, hint: str = _LOGIN_HINT) -> ConnectFailed:
    return ConnectFailed(RunErrorCode.LOGIN_FAILED, detail, hint=hint)


def not_attempted(why: str, *, hint: str) -> ConnectFailed:
    """Return a failure of what is on our side; `why` goes on after a colon."""
    return login_failed(f"No login was attempted: {why}.", hint=hint)


def password_refused() -> ConnectFailed:
    return login_failed(
        "The host refused the login by password.",
        hint="Check the account and its password, and that the host's sshd permits PasswordAuthentication, or "
        "KbdInteractiveAuthentication with one hidden prompt.",
    )


def password_expired() -> ConnectFailed:
    return login_failed(
        "The host wants a new password for the account, and got none.",
        hint="Change the password on the host, put the new one where the SSH profile's password lies, or use a key.",
    )


def agent_refused() -> ConnectFailed:
    return login_failed(
        "The host accepted a key of the SSH agent, and the agent refused to sign with it.",
        hint="Check that the agent is not locked, and that its keys need no confirmation (`ssh-add -c`) or touch.",
    )


def agent_keys_refused(*, offered: int, left_out: int) -> ConnectFailed:
    more = f" {left_out} more keys of the agent were not offered." if left_out else ""
    return login_failed(
        f"The host refused the login with the first {offered} keys of the SSH agent.{more}",
        hint="Check that the account's authorized_keys holds the public half of one of these keys. Give this service an agent "
        "of its own that holds the right key alone: a host ends a login after a few keys (MaxAuthTries).",
    )


def certificate_refused(issued: CertificateIssued) -> ConnectFailed:
    life = issued.valid_before - issued.valid_after
    return login_failed(
        "The host refused the login by certificate.",
        hint="Check on the host that TrustedUserCAKeys holds the authority's public key, that AuthorizedPrincipalsFile gives the "
        "account the certificate's principal (without that file the principal must be the account's name), and what sshd "
        f"logged. The clocks must agree: the certificate is valid for {life} seconds, the first 30 of them past. If the host "
        "sees us come from another address than our own end of the connection, name it in `source_address`.",
    )


# Connections.


def from_exception(exc: Exception, progress: Progress) -> ConnectFailed:
    """Say what `exc` means for a connection that had got so far."""
    match exc:
        case asyncssh.HostKeyNotVerifiable():
            return _unverified(progress.trust, reason=exc.reason)
        case asyncssh.ChannelOpenError() if progress.jumped and not progress.lost:
            return _not_led_on(exc)
        case asyncssh.PermissionDenied():
            return login_failed("The host refused the login.")
        case asyncssh.ConnectionLost() | ConnectionError() if progress.connected:
            return unreachable("The host closed the connection before the login was complete.")
        case asyncssh.DisconnectError() if progress.verified:
            return login_failed("The host broke off the login.")
        case _:
            return unreachable(_unreached(exc, progress))


def out_of_time(progress: Progress) -> ConnectFailed:
    if progress.verified:
        return login_failed("The host did not complete the login in time.")
    if progress.connected:
        return unreachable("The host accepted the connection but did not complete the SSH handshake in time.")
    if progress.jumped:
        return ConnectFailed(
            RunErrorCode.CONNECT_FAILED, "The jump host did not open a way to the host in time.", hint=_JUMP_HINT
        )
    return unreachable("The host did not answer in time.")


def _not_led_on(exc: asyncssh.ChannelOpenError) -> ConnectFailed:
    if exc.code == asyncssh.OPEN_ADMINISTRATIVELY_PROHIBITED:
        detail = "The jump host does not permit connections to the host."
    else:
        detail = "The jump host could not reach the host."
    return ConnectFailed(RunErrorCode.CONNECT_FAILED, detail, hint=_JUMP_HINT)


def _unreached(exc: Exception, progress: Progress) -> str:
    match exc:
        case asyncssh.KeyExchangeFailed():
            return "The host offers no SSH algorithm that this service accepts."
        case _ if progress.connected:
            return "What answers at the host's address does not speak SSH as it should."
        case _ if progress.jumped:
            return "The connection to the jump host was lost."
        case socket.gaierror() | UnicodeError():
            return "The name of the host could not be resolved."
        case ConnectionRefusedError():
            return "The host refused the connection."
        case _:
            return "The host could not be reached."


_BAD_CERTIFICATES = {
    "principal mismatch": "The host showed a certificate for another name.",
    hostcerts.NAMELESS: "The host showed a certificate that names no host.",
    hostcerts.WEAK: "The host showed a certificate that is signed with a weak algorithm.",
    "expired": "The host showed a certificate that is no longer valid.",
    "not yet valid": "The host showed a certificate that is not valid yet.",
    "certificate type": "The host showed a certificate that is none of a host.",
    "CA key is not trusted": "The host showed a certificate of an authority that is not recorded for it.",
}
"""By part of the library's reason, or of ours: what it means."""


def _unverified(trust: Trust, *, reason: str) -> ConnectFailed:
    hint = _KEY_HINT
    bad = next((detail for part, detail in _BAD_CERTIFICATES.items() if part in reason), None)
    if "revoked" in reason:
        detail = "The host showed a key that is recorded as revoked."
    elif bad is not None:
        detail, hint = bad, _HOST_CERTIFICATE_HINT
    elif trust.recorded:
        detail = "The host showed a key other than the one that is recorded for it."
    else:
        detail, hint = "No key is recorded for the host, so it cannot be verified.", _NO_KEY_HINT
    return ConnectFailed(RunErrorCode.HOST_KEY_MISMATCH, f"{detail} No login was attempted.", hint=hint)
