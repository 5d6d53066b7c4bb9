"""Programs, scripts and keys on this machine: that they are there, and that nobody else may change them.

Only what local commands start is looked at; the programs of other machines are not here. Every folder on the way counts,
and so does what a symbolic link leads to. Nothing is run, and only known_hosts files are opened.
"""

import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path

from cmdhttp.policy.compiled import LOCAL, Command, Policy
from cmdhttp.policy.findings import Finding, Position
from cmdhttp.policy.hostkeys import bad_lines, read_beginning
from cmdhttp.policy.lint.codes import LintCode
from cmdhttp.policy.lint.reading import unfold
from cmdhttp.policy.lint.words import Params, flatten
from cmdhttp.policy.merge import Defined, Merged
from cmdhttp.policy.model import CommandSpec
from cmdhttp.policy.modes import EVERYBODY, Trusted, is_read_only, our_own, way, writer

_FILE = "file:"
_EXECUTABLE = stat.S_IXUSR | stat.S_IXGRP | stat.S_IXOTH


class _Kind(StrEnum):
    PROGRAM = "program"
    SCRIPT = "script"
    KEY = "key file"
    PUBLIC_KEY = "public key of an authority"
    AUTHORITY = "file of a host key authority"
    KNOWN_HOSTS = "known_hosts file"


_LINES = {
    _Kind.KNOWN_HOSTS: ("host key", "a line is 'HOSTS TYPE KEY' as ssh-keyscan writes it, or a comment", True),
    _Kind.AUTHORITY: ("public key", "a line is 'TYPE KEY' as in a .pub file, or a comment", False),
}
"""What each line of such a file is, how it is written, and whether it names hosts."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Target:
    """A file that the policy names, and where it does."""

    path: str
    kind: _Kind
    at: Position


def check_targets(
    policy: Policy, merged: Merged, *, policies: Path, secrets: Path | None, trusted: Trusted | None = None
) -> list[Finding]:
    """Look at every file on this machine that a policy without errors names.

    Files of the secrets folder are left out where it is not known. Trusted are root and our own account and group, unless
    told otherwise.
    """
    inspector = _Inspector(trusted=trusted or our_own())
    targets = [*_programs(policy, merged), *_scripts(merged, policies), *_trust(merged, policies)]
    if secrets is not None:
        targets += _secrets(merged, secrets)
    for target in targets:
        inspector.look_at(target)
    return sorted(inspector.found, key=lambda finding: (finding.at, finding.code, finding.message))


# What the policy names.


def _programs(policy: Policy, merged: Merged) -> Iterator[_Target]:
    for name, command in policy.commands.items():
        if LOCAL in command.hosts and command.script is None:
            yield from _started(command, merged.commands[name])


def _started(command: Command, defined: Defined[CommandSpec]) -> Iterator[_Target]:
    """The program, and every program and script file that is certain to follow from it."""
    params = Params(specs=command.params)
    for stage in unfold(tuple(flatten(command.template, command.params)), params):
        if stage.path.startswith("/"):
            yield _Target(path=stage.path, kind=_Kind.PROGRAM, at=defined.where("run", stage.place))
        for use in stage.uses:
            if use.kind == "script" and (path := use.word.constant or "").startswith("/"):
                yield _Target(path=path, kind=_Kind.SCRIPT, at=defined.where("run", use.word.place))


def _scripts(merged: Merged, policies: Path) -> Iterator[_Target]:
    for defined in merged.commands.values():
        if defined.spec.script_file is not None:
            path = os.path.abspath(policies / defined.spec.script_file)  # noqa: PTH100 - Path.absolute keeps '..'
            yield _Target(path=path, kind=_Kind.SCRIPT, at=defined.where("script_file"))


def _trust(merged: Merged, policies: Path) -> Iterator[_Target]:
    kinds = {"known_hosts": _Kind.KNOWN_HOSTS, "cert_authority": _Kind.AUTHORITY}
    for defined in merged.ssh_profiles.values():
        for key, kind in kinds.items():
            name = getattr(defined.spec.host_keys, key, None)
            if name is not None:
                yield _Target(path=str(policies.absolute() / name), kind=kind, at=defined.where("host_keys", key))
    for signer in merged.ssh_authorities.values():
        if signer.spec.public_key is not None:
            path = str(policies.absolute() / signer.spec.public_key)
            yield _Target(path=path, kind=_Kind.PUBLIC_KEY, at=signer.where("public_key"))


def _secrets(merged: Merged, secrets: Path) -> Iterator[_Target]:
    for profile in merged.ssh_profiles.values():
        for key in ("key", "password"):
            yield from _secret(secrets, getattr(profile.spec.auth, key, None), profile.where("auth", key))
    for signer in merged.ssh_authorities.values():
        yield from _secret(secrets, signer.spec.key, signer.where("key"))
    for callback in merged.callbacks.values():
        for key in ("url", "sign"):
            yield from _secret(secrets, getattr(callback.spec, key), callback.where(key))


def _secret(secrets: Path, reference: str | None, at: Position) -> Iterator[_Target]:
    if reference is not None and reference.startswith(_FILE):
        path = str(secrets.absolute() / reference.removeprefix(_FILE))
        yield _Target(path=path, kind=_Kind.KEY, at=at)


# What is there.


@dataclass(frozen=True, slots=True, kw_only=True)
class _Inspector:
    trusted: Trusted
    found: list[Finding] = field(default_factory=list)
    _seen: set[str] = field(default_factory=set)

    def look_at(self, target: _Target) -> None:
        """Say once what is wrong with the file, and with each place on the way to it."""
        try:
            status = self._walk(target)
        except (FileNotFoundError, NotADirectoryError):
            self._missing(target)
        except (OSError, ValueError):
            return  # it cannot be seen from here, and so nothing can be said
        else:
            self._judge(target, status)

    def _walk(self, target: _Target) -> os.stat_result:
        status = os.lstat("/")
        for place, status in way(target.path):
            if place not in self._seen:
                self._seen.add(place)
                self._writable(target, place, status)
        return status

    def _writable(self, target: _Target, place: str, status: os.stat_result) -> None:
        who = writer(status, self.trusted, may_add=True)
        if not who or is_read_only(place):
            return
        what = f"the folder {place}, on the way to {target.path}" if stat.S_ISDIR(status.st_mode) else f"{place}"
        code = LintCode.WRITABLE if who == EVERYBODY else LintCode.WRITABLE_BY_SOME
        hint = "chmod o-w" if who == EVERYBODY else "give it to root, and chmod g-w"
        self.found.append(code.found(f"{who} may write {what}, and so change this {target.kind}", target.at, hint))

    def _missing(self, target: _Target) -> None:
        code, hint = {
            _Kind.PROGRAM: (LintCode.NO_PROGRAM, "install it, or mend the path"),
            _Kind.KNOWN_HOSTS: (
                LintCode.NO_HOST_KEYS,
                "write the lines that 'cmdhttp hosts scan' shows into it, and compare the keys with the hosts",
            ),
        }.get(target.kind, (LintCode.NO_FILE, "put it there, or mend the name"))
        self._say(code, f"the {target.kind} {target.path} is not there", target, hint)

    def _judge(self, target: _Target, status: os.stat_result) -> None:
        mode = status.st_mode
        if target.kind is _Kind.PROGRAM and not (stat.S_ISREG(mode) and mode & _EXECUTABLE):
            self._say(LintCode.NO_PROGRAM, f"{target.path} is not a program that can be run", target, "chmod +x it")
        elif target.kind is _Kind.KEY and mode & stat.S_IROTH:
            self._say(LintCode.KEY_READABLE, f"everybody may read {target.path}", target, "chmod o-r")
        elif target.kind is _Kind.KNOWN_HOSTS and status.st_size == 0:
            hint = "write the keys of the hosts into it; without one, no host of this profile is reached"
            self._say(LintCode.NO_HOST_KEYS, f"{target.path} is empty", target, hint)
        elif target.kind is _Kind.AUTHORITY and status.st_size == 0:
            hint = "write the public keys of the authorities into it"
            self._say(LintCode.NO_HOST_KEYS, f"{target.path} is empty", target, hint)
        elif target.kind in _LINES and stat.S_ISREG(mode):
            self._lines(target)

    def _lines(self, target: _Target) -> None:
        """The first line that is no key; the others are counted, since one wrong paste makes many of them."""
        what, hint, hosts = _LINES[target.kind]
        bad = list(bad_lines(read_beginning(Path(target.path)), hosts=hosts))
        if bad:
            more = f", and {len(bad) - 1} more" if len(bad) > 1 else ""
            self._say(LintCode.NO_HOST_KEYS, f"line {bad[0]} of {target.path} is no {what}{more}", target, hint)

    def _say(self, code: LintCode, message: str, target: _Target, hint: str) -> None:
        finding = code.found(message, target.at, hint)
        if finding not in self.found:
            self.found.append(finding)
