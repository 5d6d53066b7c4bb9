"""Paths and file names, by their text alone: nothing here looks at a disk.

A path is absolute and POSIX; `//` and `/./` collapse, a trailing slash goes, and `..` is refused, not resolved,
because only the file system knows where it leads. `under` holds on segment boundaries: `/opt/s` does not allow
`/opt/s-evil`. Who opens the path checks again: a symbolic link can still lead elsewhere.
"""

from typing import Annotated, ClassVar, Literal

from pydantic import BeforeValidator, Field, WithJsonSchema

from cmdhttp.errors import BadValue
from cmdhttp.policy.fields import Bool
from cmdhttp.policy.params.base import ParamSpec, wrong_format
from cmdhttp.policy.params.patterns import PatternText
from cmdhttp.policy.params.values import Json
from cmdhttp.policy.params.words import check_pattern

_MAX_PATH = 4095  # PATH_MAX of Linux, less the NUL
_MAX_SEGMENT = 255  # NAME_MAX of Linux


def _tidy(text: str) -> str:
    if not text.startswith("/"):
        raise BadValue("not_absolute", "must be an absolute path, starting with '/'")
    segments = [segment for segment in text.split("/") if segment not in ("", ".")]
    if ".." in segments:
        raise BadValue("dot_segment", "must not have a '..' segment", hint="Send the path that is meant.")
    if any(len(segment) > _MAX_SEGMENT for segment in segments):
        raise BadValue("too_long", f"must not have a segment of more than {_MAX_SEGMENT} characters")
    path = "/" + "/".join(segments)
    if len(path) > _MAX_PATH:
        raise BadValue("too_long", f"must be at most {_MAX_PATH} characters long")
    return path


def _read_prefix(value: object) -> str:
    if not isinstance(value, str):
        raise ValueError("must be an absolute path")  # noqa: TRY004 - pydantic reports ValueError
    return _tidy(value)


PathPrefix = Annotated[str, BeforeValidator(_read_prefix), WithJsonSchema({"type": "string", "pattern": "^/"})]


class PathParam(ParamSpec):
    """An absolute path; `under` are directories, each with itself and all below it."""

    narrow_by: ClassVar = ("under",)

    type: Literal["path"]
    under: tuple[PathPrefix, ...] | None = Field(default=None, description="Folders, each with all below it.")

    def check(self) -> None:
        if self.under is not None and not self.under:
            raise ValueError("under: an empty list allows nothing")

    def normalise(self, value: object) -> str:
        path = _tidy(self.ascii_of(value, "a path, as text"))
        if self.under is not None and not any(_below(path, prefix) for prefix in self.under):
            raise BadValue("not_under", "lies outside the directories that are allowed")
        return path

    def input_schema(self) -> dict[str, Json]:
        return {"type": "string", "pattern": "^/"}


def _below(path: str, prefix: str) -> bool:
    return path == prefix or path.startswith(prefix.removesuffix("/") + "/")


def read_filename(text: str, *, hidden: bool) -> str:
    """The name itself. Raises `BadValue` unless it is one segment on POSIX and Windows alike."""
    if text in ("", ".", "..") or "/" in text or "\\" in text or text != text.strip():
        raise wrong_format("one file name: not '.' or '..', no '/' or '\\', no space at either end")
    if text.startswith(".") and not hidden:
        raise BadValue("hidden", "must not start with a dot")
    if len(text) > _MAX_SEGMENT:
        raise BadValue("too_long", f"must be at most {_MAX_SEGMENT} characters long")
    return text


class FilenameParam(ParamSpec):
    """One file name without a directory; `pattern` may say more, `hidden: true` allows a leading dot."""

    narrow_by: ClassVar = ("pattern",)

    type: Literal["filename"]
    hidden: Bool = Field(default=False, description="Whether the name may begin with a dot.")
    pattern: PatternText | None = Field(default=None, description="A pattern that the whole name must match.")

    def normalise(self, value: object) -> str:
        name = read_filename(self.ascii_of(value, "a file name, as text"), hidden=self.hidden)
        check_pattern(self.pattern, name)
        return name

    def input_schema(self) -> dict[str, Json]:
        return {"type": "string", "minLength": 1, "maxLength": _MAX_SEGMENT, "pattern": r"^[^/\\]+$"}
