"""Whether a line fits into what a host takes as one command line."""

from cmdhttp.errors import BadValue


def fitting(line: str, *, most: int) -> str:
    """Return `line`. Raises BadValue (`argv_too_long`) if it is over `most` characters, and repeats none of it."""
    if len(line) > most:
        raise BadValue(
            "argv_too_long",
            f"the command line for SSH would be {len(line)} bytes, and {most} fit",
            hint="Send long values by stdin.",
        )
    return line
