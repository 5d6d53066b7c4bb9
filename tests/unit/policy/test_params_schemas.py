"""What each type tells callers to send: its JSON Schema, whole."""

from itertools import count
from typing import Any

import pytest

from cmdhttp.policy.params import PARAM_TYPES
from tests.unit.policy.test_params_values import param

SCHEMAS: list[tuple[dict[str, Any], dict[str, Any]]] = [
    (
        {"type": "enum", "values": ["a", "22"]},
        {"enum": ["a", "22", 22]},
    ),
    (
        {"type": "int", "min": "1", "max": "9"},
        {"type": ["integer", "string"], "minimum": 1, "maximum": 9, "pattern": "^(0|-?[1-9][0-9]*)$"},
    ),
    (
        {"type": "int", "leading_dash": "true"},
        {
            "type": ["integer", "string"],
            "minimum": -9007199254740992,
            "maximum": 9007199254740992,
            "pattern": "^(0|-?[1-9][0-9]*)$",
        },
    ),
    (
        {"type": "number", "min": "1", "max": "2.5"},
        {"type": ["number", "string"], "minimum": 1.0, "maximum": 2.5, "pattern": "^-?(0|[1-9][0-9]*)(\\.[0-9]+)?$"},
    ),
    (
        {"type": "number"},
        {
            "type": ["number", "string"],
            "minimum": 0,
            "maximum": 9007199254740992,
            "pattern": "^-?(0|[1-9][0-9]*)(\\.[0-9]+)?$",
        },
    ),
    (
        {"type": "number", "leading_dash": "true"},
        {
            "type": ["number", "string"],
            "minimum": -9007199254740992,
            "maximum": 9007199254740992,
            "pattern": "^-?(0|[1-9][0-9]*)(\\.[0-9]+)?$",
        },
    ),
    (
        {"type": "bool"},
        {"enum": [True, False, "true", "false"]},
    ),
    (
        {"type": "string", "pattern": "[a-z]+", "min_length": "2", "max_length": "8"},
        {"type": "string", "minLength": 2, "maxLength": 8, "pattern": "^(?:[a-z]+)$"},
    ),
    (
        {"type": "string", "pattern": "(?i)a", "unicode": "true"},
        {"type": "string"},
    ),
    (
        {"type": "ip"},
        {"type": "string", "anyOf": [{"format": "ipv4"}, {"format": "ipv6"}]},
    ),
    (
        {"type": "cidr"},
        {"type": "string"},
    ),
    (
        {"type": "hostname"},
        {"type": "string", "maxLength": 254},
    ),
    (
        {"type": "port", "min": "1024"},
        {"type": ["integer", "string"], "minimum": 1024, "maximum": 65535, "pattern": "^(0|-?[1-9][0-9]*)$"},
    ),
    (
        {"type": "username"},
        {"type": "string", "pattern": "^[a-z_][a-z0-9_-]{0,31}$"},
    ),
    (
        {"type": "email"},
        {"type": "string", "maxLength": 254},
    ),
    (
        {"type": "uuid"},
        {"type": "string", "pattern": "^[0-9A-Fa-f]{8}-[0-9A-Fa-f]{4}-[0-9A-Fa-f]{4}-[0-9A-Fa-f]{4}-[0-9A-Fa-f]{12}$"},
    ),
    (
        {"type": "hash"},
        {"type": "string", "pattern": "^([0-9A-Fa-f]{32}|[0-9A-Fa-f]{40}|[0-9A-Fa-f]{64})$"},
    ),
    (
        {"type": "hash", "algorithms": ["sha256"]},
        {"type": "string", "pattern": "^([0-9A-Fa-f]{64})$"},
    ),
    (
        {"type": "date", "min": "2026-01-01"},
        {"type": "string", "format": "date"},
    ),
    (
        {"type": "datetime"},
        {"type": "string", "format": "date-time"},
    ),
    (
        {"type": "duration"},
        {
            "type": "string",
            "pattern": "^(([0-9]+d)?([0-9]+h)?([0-9]+m)?([0-9]+s)?([0-9]+ms)?|[0-9]+(\\.[0-9]{1,3})?s)$",
        },
    ),
    (
        {"type": "path", "under": ["/var"]},
        {"type": "string", "pattern": "^/"},
    ),
    (
        {"type": "filename"},
        {"type": "string", "minLength": 1, "maxLength": 255, "pattern": "^[^/\\\\]+$"},
    ),
    (
        {"type": "url"},
        {"type": "string", "format": "uri"},
    ),
    (
        {"type": "json"},
        {},
    ),
    (
        {"type": "json", "default": "null"},
        {"default": None},
    ),
    (
        {"type": "list", "of": {"type": "port"}, "min_items": "2", "max_items": "5"},
        {
            "type": "array",
            "items": {"type": ["integer", "string"], "minimum": 1, "maximum": 65535, "pattern": "^(0|-?[1-9][0-9]*)$"},
            "minItems": 2,
            "maxItems": 5,
        },
    ),
    (
        {"type": "list", "of": {"type": "uuid"}, "required": "false"},
        {
            "type": "array",
            "items": {
                "type": "string",
                "pattern": "^[0-9A-Fa-f]{8}-[0-9A-Fa-f]{4}-[0-9A-Fa-f]{4}-[0-9A-Fa-f]{4}-[0-9A-Fa-f]{12}$",
            },
            "minItems": 0,
            "maxItems": 32,
        },
    ),
    (
        {"type": "secret", "min_length": "8"},
        {"type": "string", "format": "password", "writeOnly": True, "minLength": 8, "maxLength": 8192},
    ),
    (
        {"type": "file", "max": "2MiB"},
        {
            "type": "object",
            "properties": {
                "name": {"type": "string", "minLength": 1, "maxLength": 255},
                "base64": {"type": "string", "contentEncoding": "base64", "maxLength": 2796204},
                "sha256": {"type": "string", "pattern": "^[0-9A-Fa-f]{64}$"},
            },
            "required": ["name", "base64"],
            "additionalProperties": False,
        },
    ),
    (
        {"type": "int", "summary": "How many", "default": "3"},
        {
            "type": ["integer", "string"],
            "minimum": 0,
            "maximum": 9007199254740992,
            "pattern": "^(0|-?[1-9][0-9]*)$",
            "description": "How many",
            "default": 3,
        },
    ),
    (
        {"type": "date", "default": "2026-01-01"},
        {"type": "string", "format": "date", "default": "2026-01-01"},
    ),
]


@pytest.mark.parametrize(("spec", "schema"), SCHEMAS, ids=count())
def test_the_schema_of_a_type(spec: dict[str, Any], schema: dict[str, Any]) -> None:
    """The schema holds the shape and the bounds that JSON Schema can say, and nothing that the type would refuse."""
    assert param(**spec).json_schema() == schema


def test_every_type_has_its_schema_here() -> None:
    """No type is left out of the table."""
    assert {spec["type"] for spec, _ in SCHEMAS} == set(PARAM_TYPES)
