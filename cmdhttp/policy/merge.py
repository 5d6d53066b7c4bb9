"""Files become one set of definitions, each with the place where it stands.

The order and the names of files never matter. A name that is defined twice is an error that shows both places.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from types import UnionType
from typing import Annotated, Any, Generic, TypeVar, Union, get_args, get_origin

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from cmdhttp.policy import source
from cmdhttp.policy.files import SourceFile
from cmdhttp.policy.findings import Finding, PolicyError, Position, suggestion
from cmdhttp.policy.model import (
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
    """All definitions of a policy folder, by section."""

    ssh_profiles: dict[str, Defined[SshProfile]] = field(default_factory=dict)
    hosts: dict[str, Defined[HostSpec]] = field(default_factory=dict)
    groups: dict[str, Defined[Any]] = field(default_factory=dict)
    commands: dict[str, Defined[CommandSpec]] = field(default_factory=dict)
    principals: dict[str, Defined[PrincipalSpec]] = field(default_factory=dict)
    roles: dict[str, Defined[list[RoleLine]]] = field(default_factory=dict)
    grants: list[Defined[GrantSpec]] = field(default_factory=list)
    deny: list[Defined[DenySpec]] = field(default_factory=list)
    tests: list[Defined[CaseSpec]] = field(default_factory=list)


_KINDS = {
    "model_type": "must be a mapping",
    "model_attributes_type": "must be a mapping",
    "dict_type": "must be a mapping",
    "list_type": "must be a list",
    "string_type": "must be text",
}
_NAMED = ("ssh_profiles", "hosts", "groups", "commands", "principals", "roles")
_LISTED = ("grants", "deny", "tests")


def merge(files: Iterable[SourceFile]) -> Merged:
    """Read, validate and merge. Raises PolicyError with everything that is wrong in any of the files."""
    merged = Merged()
    findings: list[Finding] = []
    for file in files:
        try:
            root = source.read_source(file.data, file=file.path)
        except PolicyError as error:
            findings += error.findings
            continue
        try:
            parsed = PolicyFile.model_validate(source.to_plain(root))
        except ValidationError as error:
            findings += [_finding(detail, root) for detail in error.errors(include_url=False)]
            continue
        findings += _add(merged, root, parsed)
    if findings:
        raise PolicyError(findings)
    return merged


def _add(merged: Merged, root: source.Mapping, parsed: PolicyFile) -> list[Finding]:
    findings: list[Finding] = []
    for section in _NAMED:
        node = root.get(section)
        table: dict[str, Defined[Any]] = getattr(merged, section)
        for key, value in node.entries if isinstance(node, source.Mapping) else ():
            if key.text in table:
                first = table[key.text].at
                message = f"'{key.text}' is defined twice in {section} (first at {first})"
                findings.append(Finding(code="P204", message=message, at=key.at, hint="rename or remove one of them"))
            else:
                table[key.text] = Defined(spec=getattr(parsed, section)[key.text], node=value, at=key.at)
    for section in _LISTED:
        node = root.get(section)
        items = node.items if isinstance(node, source.Sequence) else ()
        getattr(merged, section).extend(
            Defined(spec=spec, node=item, at=item.at)
            for spec, item in zip(getattr(parsed, section), items, strict=True)
        )
    return findings


def _finding(detail: ErrorDetails, root: source.Node) -> Finding:
    loc = detail["loc"]
    last = str(loc[-1]) if loc else ""
    if detail["type"] == "extra_forbidden":
        hint = suggestion(last, _known_keys(PolicyFile, loc[:-1]))
        return Finding(code="P203", message=f"unknown key '{last}'", at=source.locate(root, loc, key=True), hint=hint)
    at = source.locate(root, loc)
    if detail["type"] == "missing":
        return Finding(code="P202", message=f"the key '{last}' is missing", at=at)
    if detail["type"] in ("union_tag_invalid", "union_tag_not_found"):
        return _unknown_type(detail, root)
    message = _KINDS.get(detail["type"], detail["msg"].removeprefix("Value error, "))
    name = ".".join(str(part) for part in loc[-2:] if isinstance(part, str))
    return Finding(code="P201", message=f"{name}: {message[0].lower()}{message[1:]}", at=at)


def _unknown_type(detail: ErrorDetails, root: source.Node) -> Finding:
    tag = str(detail.get("ctx", {}).get("tag", ""))
    at = source.locate(root, (*detail["loc"], "type"))
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
