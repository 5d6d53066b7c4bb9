"""`cmdhttp hosts scan`: the keys that hosts show today, beside what is recorded of them. Nothing is recorded here."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

import anyio

from cmdhttp.cli.hosts.places import address_of, chosen, read_policy, way_to
from cmdhttp.cli.text import columns, quoted, say
from cmdhttp.errors import ConfigError
from cmdhttp.execution.model import RunErrorCode
from cmdhttp.execution.ssh.scan import HostKey, Place, ScanFailed, Standing, recorded, scan
from cmdhttp.policy.compiled import Host, Policy, Profile

_AT_ONCE = 16
_SETTLED = frozenset({Standing.SAME, Standing.SIGNED})
_CERTIFICATE = "-cert-v01@openssh.com"
_LOUD = {Standing.CHANGED, Standing.REVOKED, Standing.INVALID, Standing.GONE}


@dataclass(frozen=True, slots=True, kw_only=True)
class Trouble:
    """Why a host could not be scanned. `code` is that of a run error."""

    code: str
    detail: str
    hint: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Scanned:
    """One host with its keys, or with what went wrong."""

    host: Host
    profile: Profile
    keys: tuple[HostKey, ...] = ()
    trouble: Trouble | None = None

    @property
    def settled(self) -> bool:
        return self.trouble is None and all(key.standing in _SETTLED for key in self.keys)


def run_scan(folder: Path, names: Sequence[str], *, within: float, as_json: bool) -> int:
    """Print what the hosts show. Returns 0, 1 if something is not as recorded, or 2 if a host could not be scanned."""
    if not within > 0:
        raise ConfigError("--timeout must be more than 0 seconds")
    policy = read_policy(folder)
    hosts = chosen(policy, names)
    found = anyio.run(partial(_scan_all, policy, hosts, within))
    if as_json:
        documents = [_document(one) for one in found]
        print(json.dumps({"ok": all(one.settled for one in found), "hosts": documents}, indent=2))
    else:
        for number, one in enumerate(found):
            for line in (*([""] if number else []), *_lines(one)):
                say(line)
    if any(one.trouble for one in found):
        return 2
    return 0 if all(one.settled for one in found) else 1


async def _scan_all(policy: Policy, hosts: Sequence[tuple[Host, Profile]], within: float) -> list[Scanned]:
    """Scan several hosts at a time, and return them in their order."""
    found: dict[str, Scanned] = {}
    limit = anyio.CapacityLimiter(_AT_ONCE)

    async def one(host: Host, profile: Profile) -> None:
        async with limit:
            found[host.name] = await _scan(policy, host, profile, within)

    async with anyio.create_task_group() as tasks:
        for host, profile in hosts:
            tasks.start_soon(one, host, profile)
    return [found[host.name] for host, _ in hosts]


async def _scan(policy: Policy, host: Host, profile: Profile, within: float) -> Scanned:
    try:
        trust = recorded(
            known_hosts=profile.known_hosts,
            cert_authority=profile.cert_authority,
            address=host.address,
            port=host.port,
        )
        place = Place(address=host.address, port=host.port, trust=trust, jumps=way_to(policy, host))
        return Scanned(host=host, profile=profile, keys=await scan(place, within=within))
    except ValueError:
        trouble = Trouble(
            code=RunErrorCode.HOST_KEY_MISMATCH,
            detail="The known_hosts or cert_authority file of its profile cannot be read.",
            hint="'cmdhttp check' names the file and the line.",
        )
    except ScanFailed as failed:
        trouble = _trouble(failed)
    return Scanned(host=host, profile=profile, trouble=trouble)


def _trouble(failed: ScanFailed) -> Trouble:
    error = failed.error
    if not failed.jump:
        return Trouble(code=error.code, detail=error.detail, hint=error.hint)
    hint = error.hint
    if error.code is RunErrorCode.HOST_KEY_MISMATCH:
        hint = f"Scan it first, and record its key once you have compared it: cmdhttp hosts scan {failed.jump}"
    return Trouble(code=error.code, detail=f"On the way, at the jump host '{failed.jump}': {error.detail}", hint=hint)


# -- for people


def _lines(one: Scanned) -> Iterator[str]:
    yield f"{one.host.name}: {one.host.address} port {one.host.port}"
    if one.trouble is not None:
        yield f"  failed: {one.trouble.detail}"
        yield f"      hint: {one.trouble.hint}"
        return
    rows = [(_word(key), key.kind, key.fingerprint) for key in one.keys]
    for line, key in zip(columns(rows), one.keys, strict=True):
        yield f"  {line}"
        yield from (f"      {note}" for note in _notes(key))
    if one.settled:
        yield "All of it is recorded, and matches."
        return
    yield "Nothing has been recorded, and nobody has logged in."
    yield from _what_to_do(one)


def _word(key: HostKey) -> str:
    return key.standing.upper() if key.standing in _LOUD else key.standing


def _notes(key: HostKey) -> Iterator[str]:
    if key.standing is Standing.CHANGED:
        yield from (f"recorded: {fingerprint}" for fingerprint in key.recorded)
    if key.standing is Standing.GONE:
        yield "recorded, and the host shows no key of this kind"
    if key.authority is not None:
        yield f"signed by {key.authority.kind} {key.authority.fingerprint}"
        yield f"for {', '.join(key.authority.names) or 'any name'}"
        if key.authority.problem:
            yield f"it does not hold: {key.authority.problem}"


def _what_to_do(one: Scanned) -> Iterator[str]:
    standings = {key.standing for key in one.keys}
    if standings & {Standing.CHANGED, Standing.REVOKED}:
        yield "Somebody else may be answering in its place: find out why before you change any file."
    if Standing.CHANGED in standings:
        yield "If the host was rebuilt on purpose, take the old key out first:"
        yield f"    {quoted(['ssh-keygen', '-R', address_of(one.host), '-f', str(one.profile.known_hosts)])}"
    lines = list(to_paste(one))
    if not lines:
        return
    yield "Compare each fingerprint with the host itself, on its console and not through the network:"
    for name in dict.fromkeys(_key_file(key) for key, _ in lines):
        yield f"    ssh-keygen {'-Lf' if '-cert' in name else '-lf'} /etc/ssh/{name}"
    yield f"Only then put the line of a key that you want to trust into {_record_of(one.profile)}:"
    yield from (f"    {line}" for _, line in lines)
    if any(key.authority for key, _ in lines):
        yield "A line with @cert-authority trusts every key that this authority signs for that name."


def to_paste(one: Scanned) -> Iterator[tuple[HostKey, str]]:
    """Yield each key that could be recorded, with its line for known_hosts."""
    address = address_of(one.host)
    for key in one.keys:
        if key.standing in (Standing.NEW, Standing.CHANGED):
            by = key.authority
            yield key, f"@cert-authority {address} {by.line}" if by else f"{address} {key.line}"


def _key_file(key: HostKey) -> str:
    """The name that sshd gives the file of such a key."""
    kind = key.kind.removesuffix(_CERTIFICATE)
    short = "ecdsa" if kind.startswith("ecdsa") else kind.removeprefix("ssh-")
    return f"ssh_host_{short}_key{'-cert' if key.authority else ''}.pub"


def _record_of(profile: Profile) -> str:
    return profile.known_hosts or "a file that 'host_keys: {known_hosts: FILE}' of its profile names"


# -- for machines


def _document(one: Scanned) -> dict[str, object]:
    lines = {key.line: line for key, line in to_paste(one)}
    return {
        "host": one.host.name,
        "address": one.host.address,
        "port": one.host.port,
        "known_hosts": one.profile.known_hosts,
        "error": asdict(one.trouble) if one.trouble else None,
        "keys": [{**asdict(key), "to_record": lines.get(key.line)} for key in one.keys],
    }
