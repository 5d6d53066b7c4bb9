"""The policy folder to bytes: every `*.yaml` at any depth, sorted by path, read whole or refused with every reason.

Names that start with a dot are skipped, symbolic links are followed, and no folder is read twice, so a Kubernetes mount
(`x.yaml -> ..data/x.yaml`) gives each file once. Only regular files are read, never more than 1 MiB of one, and nothing
that could block is opened. A folder that is being changed is read again until what was read is one state of it.
File names and their order never matter: the digest is over the contents alone. `folder_state` opens nothing and never
raises; it tells whether another look at the folder could give another policy.
"""

import hashlib
import os
import stat
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass, field
from itertools import islice, takewhile
from pathlib import Path

from cmdhttp.policy.findings import Finding, PolicyError, Position, Severity
from cmdhttp.policy.modes import EVERYBODY, Trusted, is_read_only, writer
from cmdhttp.policy.source import MAX_BYTES, SourceCode, too_large

MAX_FILES = 2_000
MAX_ENTRIES = 50_000  # names looked at, so that a wrong folder (`/`) ends soon
MAX_TOTAL_BYTES = 64 << 20
_ATTEMPTS = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceFile:
    """One file as it was read. `path` is what positions show: the folder as given, and the path in it."""

    path: str
    data: bytes


def read_folder(root: Path) -> tuple[SourceFile, ...]:
    """All policy files, sorted by path. Raises PolicyError with everything that could not be read."""
    before = _walk(root)
    for _ in range(_ATTEMPTS):
        files, findings = _read_all(before)
        after = _walk(root)
        if after.seen == before.seen:
            if findings:
                raise PolicyError(findings)
            return files
        before = after
    raise PolicyError([_unstable("the folder", root)])


def folder_digest(files: Iterable[SourceFile]) -> str:
    """`sha256:<hex>` over the contents alone: renaming, moving or reordering files changes nothing."""
    each = sorted(hashlib.sha256(file.data).digest() for file in files)
    return f"sha256:{hashlib.sha256(b''.join(each)).hexdigest()}"


def folder_state(root: Path) -> str:
    """What the folder looks like from outside: equal for two looks if nothing changed between them. Never raises.

    It takes in every file that is not hidden, so scripts and known_hosts too, through symbolic links and mounts, and the
    modes of the folders. A folder that is missing or cannot be read has a state as well.
    """
    walk = _walk(root)
    look = repr((walk.entries, walk.beside, walk.modes, [str(finding) for finding in walk.findings]))
    return hashlib.sha256(look.encode("utf-8", "surrogatepass")).hexdigest()


def check_permissions(
    root: Path, files: Iterable[SourceFile], *, trusted_groups: Collection[int] | None = None
) -> tuple[Finding, ...]:
    """An error for each file or folder that everybody may write, a warning for a group that is not trusted.

    Trusted groups are root's and, unless told otherwise, our own. What lies on a read-only file system passes: a
    Kubernetes mount is a folder of mode 0777 that nobody can write.
    """
    trusted = Trusted() if trusted_groups is None else Trusted(groups=trusted_groups)
    findings: dict[tuple[int, int] | Path, Finding | None] = {}  # a place that has two names is told once
    for path in _places(root, files):
        try:
            status = path.stat()
            read_only = is_read_only(path)
        except (OSError, ValueError) as error:
            findings[path] = _finding(SourceCode.UNREADABLE, _reason("its mode", error), path)
        else:
            key = status.st_dev, status.st_ino
            if key not in findings:
                findings[key] = None if read_only else _writable(path, status, trusted)
    return tuple(finding for finding in findings.values() if finding is not None)


# Walking: what is there, before anything is opened.


@dataclass(frozen=True, slots=True, kw_only=True, order=True)
class _Entry:
    """A regular file to read, and what tells whether it has changed since."""

    path: str
    identity: tuple[int, ...]


@dataclass(slots=True, kw_only=True)
class _Walk:
    entries: list[_Entry] = field(default_factory=list)
    findings: list[Finding] = field(default_factory=list)
    folders: dict[tuple[int, int], str] = field(default_factory=dict)  # by device and inode, where each was first met
    modes: list[tuple[int, ...]] = field(default_factory=list)  # of each folder: device, inode, mode, owner, group
    beside: list[_Entry] = field(default_factory=list)  # regular files that are no policy files
    names: int = 0

    @property
    def seen(self) -> tuple[list[_Entry], list[str]]:
        return self.entries, [str(finding) for finding in self.findings]

    def add(self, code: SourceCode, message: str, path: Path, *, hint: str = "") -> None:
        self.findings.append(_finding(code, message, path, hint=hint))


def _walk(root: Path) -> _Walk:
    """Look at every name once, folders in the order of their paths."""
    walk = _Walk()
    if not _is_folder(root, walk):
        return walk
    waiting = [root]
    while waiting and walk.names <= MAX_ENTRIES:
        folders = [path for path in _list(waiting.pop(), walk) if _look(path, walk)]
        waiting.extend(reversed(folders))
    walk.entries.sort()
    if walk.names > MAX_ENTRIES or len(walk.entries) > MAX_FILES:
        message = f"the folder holds more than {MAX_FILES:,} policy files or {MAX_ENTRIES:,} names"
        walk.add(SourceCode.TOO_MANY_FILES, message, root, hint="name the folder that holds only the policy")
        walk.entries.clear()
    elif not walk.entries and not walk.findings:
        hint = "write one, or name another folder"
        walk.add(SourceCode.NO_FILES, "the folder holds no policy file (*.yaml)", root, hint=hint)
    return walk


def _is_folder(root: Path, walk: _Walk) -> bool:
    hint = "name the folder of the policy, or make one with 'cmdhttp init DIR'"
    try:
        if stat.S_ISDIR(root.stat().st_mode):
            return True
        walk.add(SourceCode.NO_FOLDER, "the policy folder is not a folder", root, hint=hint)
    except FileNotFoundError:
        walk.add(SourceCode.NO_FOLDER, "the policy folder does not exist", root, hint=hint)
    except (OSError, ValueError) as error:
        walk.add(SourceCode.UNREADABLE, _reason("the policy folder", error), root)
    return False


def _list(folder: Path, walk: _Walk) -> list[Path]:
    """The names in one folder that are not hidden, sorted; a finding if it cannot be read, or was met before."""
    try:
        status = folder.stat()
        first = walk.folders.setdefault((status.st_dev, status.st_ino), _shown(folder))
        if first != _shown(folder):
            message, hint = f"this is the same folder as {first}", "remove the symbolic link"
            walk.add(SourceCode.FOLDER_TWICE, message, folder, hint=hint)
            return []
        walk.modes.append((status.st_dev, status.st_ino, status.st_mode, status.st_uid, status.st_gid))
        with os.scandir(folder) as names:
            found = [entry.name for entry in islice(names, MAX_ENTRIES + 1 - walk.names)]
    except (OSError, ValueError) as error:
        walk.add(SourceCode.UNREADABLE, _reason("the folder", error), folder, hint="let the service read it")
        return []
    walk.names += len(found)
    return [folder / name for name in sorted(found) if not name.startswith(".")]


def _look(path: Path, walk: _Walk) -> bool:
    """Take up a policy file; true for a folder, which is to be listed."""
    suffix = path.suffix.lower()
    looks_like_policy = suffix in (".yaml", ".yml")
    try:
        status = path.stat()
    except (OSError, ValueError) as error:
        walk.add(SourceCode.UNREADABLE, _reason("this", error), path, hint="mend or remove it")
        return False
    if stat.S_ISDIR(status.st_mode):
        return True
    if not looks_like_policy:
        if stat.S_ISREG(status.st_mode):
            walk.beside.append(_Entry(path=path.as_posix(), identity=_identity(status)))
        return False
    if not str(path).isprintable():
        message = "the file name holds characters that cannot be shown"
        walk.add(SourceCode.BAD_FILE_NAME, message, path, hint="rename it")
    elif path.suffix != ".yaml":
        walk.add(SourceCode.BAD_SUFFIX, f"'{path.suffix}' files are not read", path, hint="rename it to .yaml")
    elif not stat.S_ISREG(status.st_mode):
        walk.add(SourceCode.NOT_REGULAR, "this is not a regular file", path, hint="remove or rename it")
    else:
        walk.entries.append(_Entry(path=path.as_posix(), identity=_identity(status)))
    return False


def _identity(status: os.stat_result) -> tuple[int, ...]:
    return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns


# Reading: bounded, and never waiting.


def _read_all(walk: _Walk) -> tuple[tuple[SourceFile, ...], list[Finding]]:
    files: list[SourceFile] = []
    findings = list(walk.findings)
    total = 0
    for entry in walk.entries:
        got = _read(entry)
        if isinstance(got, Finding):
            findings.append(got)
            continue
        files.append(SourceFile(path=entry.path, data=got))
        total += len(got)
        if total > MAX_TOTAL_BYTES:
            message = f"the policy files together are larger than {MAX_TOTAL_BYTES >> 20} MiB"
            findings.append(
                _finding(SourceCode.TOO_MANY_FILES, message, Path(entry.path), hint="make the policy smaller")
            )
            break
    return tuple(files), findings


def _read(entry: _Entry) -> bytes | Finding:
    """At most 1 MiB of a regular file; O_NONBLOCK, because it may have become a fifo since it was looked at."""
    path = Path(entry.path)
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
        with os.fdopen(descriptor, "rb") as file:
            if _identity(os.fstat(descriptor)) != entry.identity:
                return _unstable("the file", path)
            data = file.read(MAX_BYTES + 1)
    except (OSError, ValueError) as error:
        return _finding(SourceCode.UNREADABLE, _reason("the file", error), path, hint="let the service read it")
    return too_large(_shown(path)) if len(data) > MAX_BYTES else data


# Permissions.


def _places(root: Path, files: Iterable[SourceFile]) -> list[Path]:
    """The folder, the files and every folder between; then the same for what symbolic links lead to."""
    paths = [Path(file.path) for file in files]
    places = {root, *paths, *(parent for path in paths for parent in _between(path, root))}
    real_root = Path(os.path.realpath(root))
    real_places: set[Path] = set()
    for real in (Path(os.path.realpath(path)) for path in paths):
        real_places.update(_between(real, real_root) if real.is_relative_to(real_root) else (real.parent,))
    return [*sorted(places), *sorted(real_places)]


def _between(path: Path, root: Path) -> Iterator[Path]:
    """The folders above a path, up to the root and without it."""
    return takewhile(lambda parent: parent != root and parent.is_relative_to(root), path.parents)


def _writable(path: Path, status: os.stat_result, trusted: Trusted) -> Finding | None:
    kind = "folder" if stat.S_ISDIR(status.st_mode) else "file"
    who = writer(status, trusted, may_add=False)
    if who == EVERYBODY:
        return _finding(SourceCode.WORLD_WRITABLE, f"everybody may write this {kind}", path, hint="chmod o-w")
    if not who:
        return None
    return Finding(
        code=SourceCode.GROUP_WRITABLE,
        message=f"{who} may write this {kind}",
        at=Position(file=_shown(path)),
        hint="chmod g-w, or give it to root's group",
        severity=Severity.WARNING,
    )


# Messages.


def _finding(code: SourceCode, message: str, path: Path, *, hint: str = "") -> Finding:
    return Finding(code=code, message=message, at=Position(file=_shown(path)), hint=hint)


def _unstable(what: str, path: Path) -> Finding:
    hint = "finish the change, then load again"
    return _finding(SourceCode.UNSTABLE, f"{what} kept changing while it was read", path, hint=hint)


def _reason(what: str, error: OSError | ValueError) -> str:
    reason = error.strerror if isinstance(error, OSError) and error.strerror else "not a usable path"
    return f"{what} cannot be read: {reason}"


def _shown(path: Path) -> str:
    """The path for a message, with what cannot be shown written as escapes."""
    text = path.as_posix()
    return text if text.isprintable() else text.encode("unicode_escape", "surrogatepass").decode("ascii")
