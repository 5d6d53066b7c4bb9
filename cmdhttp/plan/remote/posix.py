r"""The line for every login shell of a Unix: the POSIX family, fish and csh.

No quoting style is right in all of them. So the line is a constant wrapper plus items in which every byte outside a small
safe set is spelled `\0ooo`, in single quotes. Every shell hands those items over untouched; `/bin/sh` decodes them with
`printf %b` and replaces itself with the program. No byte of a value is ever read as syntax, by either shell.

Decoding costs a process each time, so it is done once for all items: each is printed with a mark behind it, a character
that none of them holds, and the text is parted at the marks. If the parts are not as many as the items (zsh as /bin/sh sees
one more), or there is no such character, or a control character, which some shells mistreat when they part a text, each
item is decoded by itself.
"""

import string

from cmdhttp.plan.remote.fit import fitting

MAX_LINE = 120_000
"""Bytes. Linux gives one argument of execve at most 131,072 bytes, and sshd passes the line as one argument."""

_SAFE = frozenset((string.ascii_letters + string.digits + "_./:,=@+-").encode())
_SPELLED = {byte: f"\\0{byte:03o}" for byte in range(256) if byte not in _SAFE}
_AS_THEY_ARE = 'exec "$@"'
_EACH = 'for h do case $h in *"\\0"*) v=$(printf %b "${h}x"); h=${v%x};; esac; set -- "$@" "$h"; shift; done; exec "$@"'
_AT_ONCE = 'n=$#; x() { set +f; unset IFS; [ $# = $n ] && exec "$@"; }; set -f; IFS=Z; x $(printf %bZ "$@"); ' + _EACH
_MARKS = string.ascii_uppercase[::-1] + string.ascii_lowercase[::-1]
_CONTROL = frozenset((*range(0x20), 0x7F)) - frozenset(b"\t\n")


def posix_line(argv: tuple[str, ...]) -> str:
    """Return the command line that makes any Unix login shell run exactly `argv`.

    Raises BadValue (`argv_too_long`) if the line would not fit into one argument of the login shell.
    """
    data = [item.encode() for item in argv]
    items = " ".join(f"'{item.decode('latin-1').translate(_SPELLED)}'" for item in data)
    return fitting(f"exec /bin/sh -c '{_unwrap(b''.join(data))}' sh {items}", most=MAX_LINE)


def _unwrap(data: bytes) -> str:
    """Return what `/bin/sh` is to do with its items; `data` are the bytes of all of them."""
    used = frozenset(data)
    if used <= _SAFE:
        return _AS_THEY_ARE
    mark = next((mark for mark in _MARKS if ord(mark) not in used), None)
    if mark is None or used & _CONTROL:
        return _EACH
    return _AT_ONCE.replace("Z", mark)
