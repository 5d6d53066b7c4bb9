"""The JSON Schema of one policy file, for editors.

It is made from the models, and then fitted to what an editor sees: its YAML parser makes numbers, switches and nothing of
unquoted `30`, `true` and `null`, where the loader reads text. The schema takes them wherever their text would pass, and
quoted text where the loader wants a number. It may take more than the loader, never less, so an editor raises no false
alarm (but for the narrowing of a rule that takes in no command, which no command can judge). What other definitions
decide, such as whether a name exists or a value fits its parameter, is left to `cmdhttp check`.

`errorMessage`, which yaml-language-server shows, and `enumDescriptions` are no words of JSON Schema; others ignore them.
"""

import re
from collections.abc import Iterable, Mapping
from typing import Any, TypeAlias

from cmdhttp.policy.fields import QUOTED
from cmdhttp.policy.model import PolicyFile
from cmdhttp.policy.model.kinds import Effect
from cmdhttp.policy.params import PARAM_TYPES, ListParam

Schema: TypeAlias = dict[str, Any]

_UNQUOTED: Mapping[str, tuple[str, ...]] = {
    "number": (*("7" * length for length in range(1, 65)), "-7", "7.7", ".7"),
    "boolean": ("true", "True", "TRUE", "false", "False", "FALSE"),
    "null": ("", "~", "null", "Null", "NULL"),
}
"""By JSON type: text that an editor reads as such a value when it is not quoted. Of numbers, one of each shape."""

_RULES: Mapping[str, Schema] = {
    "AuthSpec": {"minProperties": 1, "maxProperties": 1},
    "AuthoritySpec": {
        "oneOf": [
            {"required": ["key"], "maxProperties": 1},
            {"required": ["agent", "public_key"], "maxProperties": 2},
        ]
    },
    "HostKeysSpec": {"minProperties": 1},
    "OidcSpec": {"oneOf": [{"required": ["email"]}, {"required": ["common_name"]}]},
    "ConcurrencySpec": {"anyOf": [{"required": ["per_host"]}, {"required": ["total"]}]},
    "CommandSpec": {
        "oneOf": [
            {"required": ["run"]},
            {"required": ["script", "interpreter"]},
            {"required": ["script_file", "interpreter"]},
        ]
    },
    "RoleLine": {"dependentRequired": {"of": ["jobs"]}},
    "CaseSpec": {
        "oneOf": [
            {"required": ["run"], "not": {"required": ["of"]}},
            {"required": ["read", "of"]},
            {"required": ["cancel", "of"]},
        ]
    },
}
"""What validators and the compiler say of a definition as a whole."""


def policy_schema() -> Schema:
    """JSON Schema 2020-12 of one policy file."""
    raw = PolicyFile.model_json_schema(mode="validation", by_alias=True)
    definitions = raw.pop("$defs")
    mended = {name: {**_mended(node), **_RULES.get(name, {})} for name, node in definitions.items()}
    _mend_defaults(mended)
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": "urn:cmdhttp:policy:1",
        "title": "cmdhttp policy",
        **_mended(raw),
        "$defs": dict(sorted({**mended, **_shared()}.items())),
    }


def _ref(name: str) -> Schema:
    return {"$ref": f"#/$defs/{name}"}


def _mended(node: Schema) -> Schema:
    """The schema without titles and defaults, and right for what an editor sees."""
    return _noted(_shape(node), node)


def _noted(shape: Schema, node: Schema) -> Schema:
    return {**shape, **_kept(node, "description", "examples")}


def _shape(node: Schema) -> Schema:
    match node:
        case {"$comment": name}:
            return _ref(name)
        case {"$ref": target}:
            return {"$ref": target}
        case {"discriminator": {"mapping": kinds}}:
            return _by_type(kinds)
        case {"anyOf": options}:
            return _either([_mended(option) for option in options if option != {"type": "null"}])
        case {"const": value}:
            return {"enum": [1, "1"]} if value == "1" else {"const": value}
        case {"enum": values}:
            return {"enum": [*values, *(str(value) for value in values if isinstance(value, int))]}
        case _:
            return _typed(node)


def _typed(node: Schema) -> Schema:
    match node.get("type"):
        case "string":
            return _text(_kept(node, "type", "pattern", "minLength", "maxLength", "errorMessage"))
        case "integer" | "number" | "boolean" as kind:
            return _number(node, kind)
        case "array":
            return {**_list_of(_mended(node["items"])), **_kept(node, "minItems", "maxItems")}
        case "object":
            return _object(node)
        case _:
            return {}  # anything


def _kept(node: Schema, *keys: str) -> Schema:
    return {key: node[key] for key in keys if key in node}


def _either(options: list[Schema]) -> Schema:
    return options[0] if len(options) == 1 else {"anyOf": options}


def _text(text: Schema) -> Schema:
    """Text, and what an editor may make of text that passes.

    The other types are said by what they are not: else an editor would offer `true`, `false` and `null` for every text.
    """
    if text == {"type": "string"}:
        return _ref("Text")
    also = [kind for kind, spellings in _UNQUOTED.items() if any(_passes(text, spelling) for spelling in spellings)]
    return {"anyOf": [text, _only(also)]} if also else text


def _passes(text: Schema, spelling: str) -> bool:
    return len(spelling) >= text.get("minLength", 0) and re.search(text.get("pattern", ""), spelling) is not None


def _only(kinds: Iterable[str]) -> Schema:
    return {"not": {"type": ["string", "array", "object", *(kind for kind in _UNQUOTED if kind not in kinds)]}}


def _number(node: Schema, kind: str) -> Schema:
    """A number or switch, also as quoted text; the bounds, which pydantic names `ge` and `le` here, are for the number."""
    bounds = {word: node[key] for key, word in (("ge", "minimum"), ("le", "maximum")) if key in node}
    return {**QUOTED[kind], **bounds, **_kept(node, "minimum", "maximum"), "type": [kind, "string"]}


def _object(node: Schema) -> Schema:
    if "properties" in node:
        properties = {name: _mended(each) for name, each in node["properties"].items()}
        return {"type": "object", "properties": properties, **_kept(node, "additionalProperties", "required")}
    ((pattern, value),) = node["patternProperties"].items()
    names = {"pattern": pattern, "errorMessage": node["propertyNames"]["errorMessage"]}
    return {"type": "object", "propertyNames": names, "additionalProperties": _mended(value)}


def _by_type(kinds: Mapping[str, str]) -> Schema:
    """One of several mappings, told apart by `type`: what is wrong is said of that one only."""
    return {
        "type": "object",
        "properties": {
            "type": {
                "enum": list(kinds),
                "enumDescriptions": [(PARAM_TYPES[kind].__doc__ or "").partition("\n")[0] for kind in kinds],
                "description": "What kind of value it takes.",
            }
        },
        "required": ["type"],
        "allOf": [
            {"if": {"properties": {"type": {"const": kind}}, "required": ["type"]}, "then": {"$ref": target}}
            for kind, target in kinds.items()
        ],
    }


def _mend_defaults(definitions: Mapping[str, Schema]) -> None:
    """A default is written like a value: a list for a list, else text; some types take none."""
    for kind in PARAM_TYPES.values():
        properties = definitions[kind.__name__]["properties"]
        if not kind.default_allowed:
            del properties["default"]
        else:
            shape = _list_of(_ref("Text")) if kind is ListParam else _ref("Text")
            properties["default"] = _noted(shape, properties["default"])


# What several places share.


def _shared() -> dict[str, Schema]:
    text, texts = _ref("Text"), _some("Text")
    effect = {"enum": [effect.value for effect in Effect], "description": "All commands with this effect."}
    kinds = {"effect": effect, "tag": {**text, "description": "All commands with this tag."}}
    words = {
        word: {"anyOf": [text, texts], "description": meaning} for word, meaning in sorted(_narrowing_words().items())
    }
    return {
        "Text": {"anyOf": [{"type": "string"}, _only(_UNQUOTED)]},
        "HostSelector": {
            "description": "A host, a group, local, a map of labels, a list of these, or '*'.",
            "examples": ["local", "*"],
            **_or_mapping(text, _some("HostSelector"), additionalProperties={"anyOf": [text, texts]}),
        },
        "CommandSelector": {
            "description": "A command, {effect: ...}, {tag: ...}, a list of these, or '*'.",
            **_or_mapping(
                text, _some("CommandSelector"), properties=kinds, additionalProperties=False, maxProperties=1
            ),
        },
        "Narrower": {
            "description": "One value, a list of values, or a mapping in the words of the parameter's type.",
            **_or_mapping(text, texts, properties=words, additionalProperties=False),
        },
    }


def _some(name: str) -> Schema:
    return {**_list_of(_ref(name)), "minItems": 1}


def _or_mapping(*others: Schema, **mapping: Any) -> Schema:
    """A mapping or something else. What is wrong with a mapping is said, not that it is none of the others."""
    return {"anyOf": [*others, {"type": "object"}], "if": {"type": "object"}, "then": {"minProperties": 1, **mapping}}


def _list_of(item: Schema) -> Schema:
    return {"type": "array", "items": item}


def _narrowing_words() -> dict[str, str]:
    """By key: what it means in a role line or deny."""
    found = {"values": "The values that are left."}
    for kind in PARAM_TYPES.values():
        for name, info in kind.model_fields.items():
            if (word := info.alias or name) in kind.narrow_by:
                found.setdefault(word, info.description or "")
    return found
