"""Files become one set of definitions, each with the place where it stands.

The order and the names of files never matter. A name that is defined twice is an error that shows both places. Each
definition is read by itself: one that is wrong is reported and left out, and its name stays known, so that it neither
hides what else is wrong nor makes others look wrong.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from types import UnionType
from typing import Annotated, Any, Generic, TypeVar, Union, get_args, get_origin

from pydantic import BaseModel, TypeAdapter, ValidationError
from pydantic_core import ErrorDetails

from cmdhttp.policy import source
from cmdhttp.policy.fields import read_name
from cmdhttp.policy.files import SourceFile
from cmdhttp.policy.findings import Finding, PolicyError, Position, suggestion
from cmdhttp.policy.model import (
    LISTED,
    NAMED,
    AuthoritySpec,
    CallbackSpec,
    CaseSpec,
    CommandSpec,
    DenySpec,
    GrantSpec,
    HostSpec,
    PolicyFile,
    PrincipalSpec,
    RoleLine,
    SshProfile,
)
from cmdhttp.policy.params import PARAM_TYPES

T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class Defined(Generic[T]):
    """One definition: what it says, its nodes, and where its name stands."""

    spec: T
    node: source.Node
    at: Position

    def where(self, *loc: str | int) -> Position:
        return source.locate(self.node, loc)


@dataclass(frozen=True, slots=True, kw_only=True)
class Merged:
    """All definitions of a policy folder, by section, and what is wrong with the rest.

    `broken` holds the names of definitions that are wrong; `complete` is false if a file could not be read as YAML, and
    then a name that is missing here may stand there.
    """

    ssh_profiles: dict[str, Defined[SshProfile]] = field(default_factory=dict)
    ssh_authorities: dict[str, Defined[AuthoritySpec]] = field(default_factory=dict)
    hosts: dict[str, Defined[HostSpec]] = field(default_factory=dict)
    groups: dict[str, Defined[Any]] = field(default_factory=dict)
    commands: dict[str, Defined[CommandSpec]] = field(default_factory=dict)
    principals: dict[str, Defined[PrincipalSpec]] = field(default_factory=dict)
    roles: dict[str, Defined[list[RoleLine]]] = field(default_factory=dict)
    callbacks: dict[str, Defined[CallbackSpec]] = field(default_factory=dict)
    grants: list[Defined[GrantSpec]] = field(default_factory=list)
    deny: list[Defined[DenySpec]] = field(default_factory=list)
    tests: list[Defined[CaseSpec]] = field(default_factory=list)
    broken: dict[str, set[str]] = field(default_factory=lambda: {section: set() for section in NAMED})
    findings: list[Finding] = field(default_factory=list)
    complete: bool = True


_KINDS = {
    "model_type": "must be a mapping",
    "model_attributes_type": "must be a mapping",
    "dict_type": "must be a mapping",
    "list_type": "must be a list",
    "tuple_type": "must be a list",
    "string_type": "must be text",
    "too_short": "must have at least {min_length}",
    "too_long": "must have at most {max_length}",
    "string_too_short": "must not be empty",
    "less_than_equal": "must be at most {le:g}",
    "greater_than_equal": "must be at least {ge:g}",
    "literal_error": "must be {expected}",
    "enum": "must be {expected}",
}


def merge(files: Iterable[SourceFile]) -> Merged:
    """Read, validate and merge. Raises PolicyError with everything that is wrong in any of the files."""
    merged = collect(files)
    if merged.findings:
        raise PolicyError(merged.findings)
    return merged


def collect(files: Iterable[SourceFile]) -> Merged:
    """Read, validate and merge what can be; the rest is in the findings."""
    roots: list[source.Mapping] = []
    findings: list[Finding] = []
    complete = True
    for file in files:
        try:
            roots.append(source.read_source(file.data, file=file.path))
        except PolicyError as error:
            findings += error.findings
            complete = False
    merged = Merged(findings=findings, complete=complete)
    for root in roots:
        _add_file(merged, root)
    return merged


def _add_file(merged: Merged, root: source.Mapping) -> None:
    known = PolicyFile.model_fields
    for name, node in root.entries:
        if name.text not in known:
            _say(merged, "P203", f"unknown key '{name.text}'", name.at, suggestion(name.text, known))
        elif name.text in NAMED:
            _add_named(merged, name.text, node)
        elif name.text in LISTED:
            _add_listed(merged, name.text, node)
    version = root.get("version")
    if version is None:
        _say(merged, "P202", "the key 'version' is missing", root.at, "begin the file with `version: 1`")
    elif not isinstance(version, source.Scalar) or version.text != "1":
        _say(merged, "P201", "version: must be 1", version.at, "this program reads version 1 of the format")


def _say(merged: Merged, code: str, message: str, at: Position, hint: str = "") -> None:
    merged.findings.append(Finding(code=code, message=message, at=at, hint=hint))


def _add_named(merged: Merged, section: str, node: source.Node) -> None:
    if not isinstance(node, source.Mapping):
        _say(merged, "P201", f"{section}: must be a mapping", node.at, "write `name: definition` lines below it")
        return
    table: dict[str, Defined[Any]] = getattr(merged, section)
    for name, value in node.entries:
        try:
            read_name(name.text)
        except ValueError as error:
            _say(merged, "P201", f"{section}: {error}", name.at)
            continue
        if name.text in table:  # from another file: one mapping holds no key twice
            message = f"'{name.text}' is defined twice in {section} (first at {table[name.text].at})"
            _say(merged, "P204", message, name.at, "rename or remove one of them")
        elif (read := _read(merged, section, value, name=name.text)) is not _WRONG:
            table[name.text] = Defined(spec=read, node=value, at=name.at)
        else:
            merged.broken[section].add(name.text)


def _add_listed(merged: Merged, section: str, node: source.Node) -> None:
    if not isinstance(node, source.Sequence):
        _say(merged, "P201", f"{section}: must be a list", node.at, "write `- ` before each entry")
        return
    for item in node.items:
        if (read := _read(merged, section, item, name=section)) is not _WRONG:
            getattr(merged, section).append(Defined(spec=read, node=item, at=item.at))


_WRONG = object()
_SHOWN = 80
_MEANT = re.compile("'(.+)'")


@cache
def _reader(section: str) -> TypeAdapter[Any]:
    return TypeAdapter({**NAMED, **LISTED}[section])


def _read(merged: Merged, section: str, node: source.Node, *, name: str) -> Any:
    """Return the definition, or `_WRONG` when findings say why not."""
    try:
        return _reader(section).validate_python(source.to_plain(node))
    except ValidationError as error:
        kind = {**NAMED, **LISTED}[section]
        details = error.errors(include_url=False)
        meant = {loc for detail in details if (loc := _meant(detail, kind))}
        merged.findings.extend(
            _finding(detail, node, kind=kind, name=name) for detail in details if detail["loc"] not in meant
        )
        return _WRONG


def _meant(detail: ErrorDetails, kind: Any) -> tuple[str | int, ...] | None:
    """Where the key belongs for which an unknown key was probably meant; that it is missing there is no second mistake."""
    if detail["type"] != "extra_forbidden":
        return None
    *above, last = detail["loc"]
    found = _MEANT.search(suggestion(str(last), _known_keys(kind, above)))
    return (*above, found[1]) if found else None


def _finding(detail: ErrorDetails, root: source.Node, *, kind: Any, name: str) -> Finding:
    loc = detail["loc"]
    last = str(loc[-1]) if loc else ""
    if detail["type"] == "extra_forbidden":
        hint = suggestion(last, _known_keys(kind, loc[:-1]))
        return Finding(code="P203", message=f"unknown key '{last}'", at=source.locate(root, loc, key=True), hint=hint)
    at = source.locate(root, loc)
    if detail["type"] == "missing":
        return Finding(code="P202", message=f"the key '{last}' is missing", at=at)
    if detail["type"] in ("union_tag_invalid", "union_tag_not_found"):
        return _unknown_type(detail, root)
    message = _KINDS.get(detail["type"], "").format(**detail.get("ctx", {})) or detail["msg"].removeprefix(
        "Value error, "
    )
    shown = ".".join([name, *source.steps(root, loc)][-2:])
    hint = _hint(detail["type"], detail["input"])
    return Finding(code="P201", message=f"{shown}: {message[0].lower()}{message[1:]}", at=at, hint=hint)


def _hint(kind: str, given: object) -> str:
    """How a plain value is written as the list that was wanted."""
    if kind not in ("list_type", "tuple_type") or not isinstance(given, str) or len(given) > _SHOWN:
        return ""
    return f"write [{', '.join(given.replace(',', ' ').split())}]"


def _unknown_type(detail: ErrorDetails, root: source.Node) -> Finding:
    tag = str(detail.get("ctx", {}).get("tag", ""))
    at = source.locate(root, (*detail["loc"], "type"))
    if tag in PARAM_TYPES:  # a type of parameters, and none of the items of a list
        hint = "write one parameter for each value"
        return Finding(code="P201", message=f"the items of a list cannot be of type {tag}", at=at, hint=hint)
    hint = suggestion(tag, PARAM_TYPES) or f"the types are: {', '.join(sorted(PARAM_TYPES))}"
    message = f"unknown parameter type '{tag}'" if tag else "the key 'type' is missing"
    return Finding(code="P201" if tag else "P202", message=message, at=at, hint=hint)


def _known_keys(annotation: Any, loc: Sequence[str | int]) -> list[str]:
    """The keys that the model at `loc` knows; empty where it cannot be told."""
    for step in loc:
        annotation = _child(annotation, step)
    models = [model for model in _alternatives(annotation) if isinstance(model, type) and issubclass(model, BaseModel)]
    return [info.alias or name for model in models for name, info in model.model_fields.items()]


def _child(annotation: Any, step: str | int) -> Any:
    for option in _alternatives(annotation):
        if isinstance(option, type) and issubclass(option, BaseModel):
            if option in PARAM_TYPES.values() and PARAM_TYPES.get(str(step)) is option:
                return option
            for name, info in option.model_fields.items():
                if step in (name, info.alias):
                    return info.annotation
        origin, args = get_origin(option), get_args(option)
        if origin in (dict, Mapping):
            return args[1]
        if origin in (list, tuple, Sequence):
            return args[0]
    return None


def _alternatives(annotation: Any) -> list[Any]:
    origin = get_origin(annotation)
    if origin is Annotated:
        return _alternatives(get_args(annotation)[0])
    if origin in (Union, UnionType):
        return [option for part in get_args(annotation) for option in _alternatives(part)]
    return [annotation]
