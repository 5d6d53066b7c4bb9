"""What holds for parameter types together: the guard, the codes, defaults, arguments, schemas, secrets and uploads."""

import base64
import hashlib
import json
import re
from ipaddress import IPv4Network, IPv6Network
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from pydantic import TypeAdapter, ValidationError

from cmdhttp.errors import BadValue
from cmdhttp.policy import params
from cmdhttp.policy.params import CODES, PARAM_TYPES, AnyParam, ParamSpec, Upload, networks

_ADAPTER: TypeAdapter[Any] = TypeAdapter(AnyParam)


def param(**spec: object) -> ParamSpec:
    read: ParamSpec = _ADAPTER.validate_python(spec)
    return read


def code_of(spec: ParamSpec, value: object) -> str:
    with pytest.raises(BadValue) as refused:
        spec.normalise(value)
    return refused.value.code


def load_error(**spec: object) -> str:
    with pytest.raises(ValidationError) as refused:
        param(**spec)
    return str(refused.value)


ENUM = {"type": "enum", "values": ["nginx", "22", "app-worker"]}
INT = {"type": "int", "min": "1", "max": "10"}
STRING = {"type": "string", "pattern": "[a-z ]+", "max_length": "8"}
IP = {"type": "ip", "not_in": ["10.0.0.0/8", "fd00::/8"]}


@pytest.mark.parametrize(
    ("char", "code"),
    [
        ("\0", "control_character"),
        ("\t", "control_character"),
        ("\n", "control_character"),
        ("\r", "control_character"),
        ("\x1b", "control_character"),
        ("\x7f", "control_character"),
        ("\x85", "control_character"),
        ("\x9b", "control_character"),
        ("\u2028", "control_character"),
        ("\u2029", "control_character"),
        ("\u00a0", "invisible_character"),
        ("\u00ad", "invisible_character"),
        ("\u034f", "invisible_character"),
        ("\u061c", "invisible_character"),
        ("\u115f", "invisible_character"),
        ("\u180e", "invisible_character"),
        ("\u200b", "invisible_character"),
        ("\u200f", "invisible_character"),
        ("\u202e", "invisible_character"),
        ("\u2066", "invisible_character"),
        ("\u2800", "invisible_character"),
        ("\u3000", "invisible_character"),
        ("\u3164", "invisible_character"),
        ("\ufe0f", "invisible_character"),
        ("\ufeff", "invisible_character"),
        ("\uffa0", "invisible_character"),
        ("\U000e0041", "invisible_character"),
        ("\U000e0100", "invisible_character"),
        ("\ud800", "lone_surrogate"),
        (chr(0xDFFF), "lone_surrogate"),
        ("\ue000", "unassigned_character"),
        ("\U0010fffd", "unassigned_character"),
        ("\uffff", "unassigned_character"),
        ("\u0378", "unassigned_character"),
    ],
    ids=ascii,
)
def test_no_type_takes_a_forbidden_character(char: str, code: str) -> None:
    """Every type that takes text refuses the character, says where it is, and does not repeat the text."""
    for spec in every_spec():
        if spec.type in ("list", "file"):
            continue
        with pytest.raises(BadValue) as refused:
            spec.normalise(f"canary{char}x")
        assert (refused.value.code, refused.value.detail[:11]) == (code, "character 7")
        assert "canary" not in refused.value.detail + refused.value.hint


def every_spec() -> list[ParamSpec]:
    extra: dict[str, dict[str, Any]] = {
        "enum": {"values": ["a"]},
        "string": {"pattern": ".*", "unicode": "true"},
        "list": {"of": {"type": "int"}},
    }
    return [param(type=name, **extra.get(name, {})) for name in PARAM_TYPES]


def test_every_code_is_in_the_table_and_used() -> None:
    """The table of codes holds exactly the codes that the types raise."""
    source = "".join(file.read_text() for file in Path(params.__file__).parent.glob("*.py"))
    used = set(re.findall(r'BadValue\(\s*"([a-z0-9_]+)"', source)) | set(
        re.findall(r'\(\s*"([a-z_]+_character|lone_surrogate)", "', source)
    )
    assert used == set(CODES)


def test_every_type_of_the_format_exists() -> None:
    """The types are those that the format document names."""
    assert set(PARAM_TYPES) == {
        *("enum", "int", "number", "bool", "string", "ip", "cidr", "hostname", "port", "username", "email", "uuid"),
        *("hash", "date", "datetime", "duration", "path", "filename", "url", "json", "list", "secret", "file"),
    }


@pytest.mark.parametrize(
    ("spec", "value", "arguments"),
    [
        (INT, "7", ("7",)),
        ({"type": "number"}, 1e15, ("1000000000000000",)),
        ({"type": "number"}, 0.00001, ("0.00001",)),
        ({"type": "number"}, "5.0", ("5",)),
        ({"type": "number", "leading_dash": "true"}, -2.5, ("-2.5",)),
        ({"type": "bool"}, False, ("false",)),
        ({"type": "bool", "flag": "--human"}, True, ("--human",)),
        ({"type": "bool", "flag": "--human"}, False, ()),
        ({"type": "list", "of": IP}, ["192.0.2.1", "2001:DB8::1"], ("192.0.2.1", "2001:db8::1")),
        ({"type": "list", "of": {"type": "bool"}}, [True, "false"], ("true", "false")),
    ],
    ids=count(),
)
def test_a_value_becomes_arguments(spec: dict[str, Any], value: object, arguments: tuple[str, ...]) -> None:
    """The argv items of a value are the exact texts, one for each item of a list and none for a flag that is off."""
    read = param(**spec)
    assert read.arguments(read.normalise(value)) == arguments


def test_a_list_in_the_environment_is_canonical_json() -> None:
    """One text stands for a list where there is only one place for it."""
    read = param(type="list", of={"type": "int"})
    assert read.render(read.normalise(["1", 2])) == "[1,2]"


def test_json_is_one_canonical_text() -> None:
    """Equal JSON is the same bytes, and `1`, `1.0` and `true` are not equal."""
    read = param(type="json")
    assert read.payload(read.normalise({"b": "é", "a": [1, 1.0, True]})) == b'{"a":[1,1.0,true],"b":"\\u00e9"}'
    assert not read.argv_allowed


def test_a_secret_shows_itself_nowhere() -> None:
    """Only `payload` gives a secret away."""
    read = param(type="secret")
    value = read.normalise("canary-4711")
    assert read.payload(value) == b"canary-4711"
    shown = f"{value} {value!r} {read.render(value)} {read.recorded(value)} {[value]}"
    assert shown == "*** *** *** *** [***]"
    assert (read.staged, read.env_allowed, read.secret) == (True, False, True)
    with pytest.raises(TypeError):
        json.dumps(value)


def upload(content: bytes, **more: object) -> dict[str, object]:
    return {"name": "a.txt", "base64": base64.b64encode(content).decode(), **more}


def test_an_upload_is_decoded_and_summed() -> None:
    """An upload becomes its name, bytes, size and sum; its record holds no content."""
    read = param(type="file", max="8B")
    sha256 = hashlib.sha256(b"canary").hexdigest()
    value = read.normalise(upload(b"canary", sha256=sha256.upper()))
    assert value == Upload(name="a.txt", sha256=sha256, size=6, content=b"canary")
    assert read.recorded(value) == {"name": "a.txt", "sha256": sha256, "size": 6}
    assert read.normalise(value) == value
    assert "canary" not in repr(value)
    with pytest.raises(TypeError):
        read.render(value)


def test_every_form_of_an_excluded_ipv4_network() -> None:
    """What is excluded by IPv4 is excluded in each IPv6 form that leads to it, and where nobody can tell."""
    assert networks._images(IPv4Network("192.0.2.0/24")) == [
        IPv6Network("::ffff:192.0.2.0/120"),
        IPv6Network("::192.0.2.0/120"),
        IPv6Network("::ffff:0:192.0.2.0/120"),
        IPv6Network("64:ff9b::192.0.2.0/120"),
        IPv6Network("2002:c000:200::/40"),
        IPv6Network("64:ff9b:1::/48"),
        IPv6Network("2001::/32"),
    ]


def test_a_text_is_no_default_for_a_list() -> None:
    """One text is never split, not even by the policy itself."""
    assert "default: must be a list" in load_error(type="list", of={"type": "int"}, default="12")


@pytest.mark.parametrize(("size", "limit"), [(8, 8), (0, 8), (9, 9), (7, 7), (1, 1)])
def test_an_upload_may_be_as_large_as_the_limit(size: int, limit: int) -> None:
    """The limit counts bytes of the content, whatever its base64 takes."""
    assert param(type="file", max=f"{limit}B").normalise(upload(b"x" * size)) == Upload(
        name="a.txt", sha256=hashlib.sha256(b"x" * size).hexdigest(), size=size, content=b"x" * size
    )


def test_the_largest_integers_of_json() -> None:
    """An integer may have 63 bits and a sign, so that every reader of JSON takes it for the same number."""
    read = param(type="json", leading_dash="true")
    for number in (2**63 - 1, 1 - 2**63):
        assert read.normalise([number]) == (number,)
    for number in (2**63, -(2**63)):
        assert code_of(read, [number]) == "too_large"


@pytest.mark.parametrize(
    ("default", "message"),
    [
        ({"a": "1"}, "must be JSON text in quotes, because YAML's own scalars are read as text"),
        ('{"a":1,"a":2}', "must be JSON text, with each key once, like '{\"a\": 1}'"),
        ("NaN", "must be JSON text, with each key once, like '{\"a\": 1}'"),
        ("[" * 100000, "must be JSON text that is nested less deeply"),
    ],
    ids=count(),
)
def test_a_default_that_is_no_json(default: object, message: str) -> None:
    """The author of a policy reads how JSON is written in it."""
    assert f"default: {message}" in load_error(type="json", default=default)


BAD_UPLOADS: list[tuple[object, str]] = [
    ("text", "type"),
    (upload(b"x" * 9), "too_large"),
    (upload(b"x" * 900), "too_large"),
    (upload(b"x", mode="0777"), "unknown_key"),
    ({"name": "a"}, "missing_key"),
    (upload(b"x", name="../a"), "format"),
    (upload(b"x", name="a\0"), "control_character"),
    (upload(b"x", name=".a"), "hidden"),
    (upload(b"x", name=5), "type"),
    (upload(b"x", sha256="ab"), "format"),
    (upload(b"x", sha256="ab" * 32), "sha256_mismatch"),
    ({"name": "a", "base64": 5}, "type"),
    ({"name": "a", "base64": "eA"}, "base64"),
    ({"name": "a", "base64": "eB=="}, "base64"),
    ({"name": "a", "base64": "eA==\n"}, "base64"),
    ({"name": "a", "base64": "é"}, "base64"),
    ({"name": "a", "base64": "eA=-"}, "base64"),
]


@pytest.mark.parametrize(("value", "code"), BAD_UPLOADS, ids=count())
def test_a_bad_upload_is_refused(value: object, code: str) -> None:
    """An upload that is too large, misnamed, garbled or not what its sum says is refused."""
    assert code_of(param(type="file", max="8B"), value) == code


@pytest.mark.parametrize(
    ("spec", "text"),
    [
        ({"type": "enum", "values": []}, "at least one"),
        ({"type": "enum", "values": ["a", "a"]}, "listed twice"),
        ({"type": "enum", "values": ["-a"]}, "must not start with '-'"),
        ({"type": "enum", "values": ["a\u202e"]}, "invisible"),
        ({"type": "enum", "values": [""]}, "is empty"),
        ({"type": "int", "min": "5", "max": "4"}, "min is above max"),
        ({"type": "int", "min": "-5"}, "leading_dash: true"),
        ({"type": "int", "min": "05"}, "leading zero"),
        ({"type": "number", "max": "-1"}, "no value could pass|leading_dash"),
        ({"type": "string"}, "pattern"),
        ({"type": "string", "pattern": "a", "max_length": "9000"}, "max_length is above 8192"),
        ({"type": "ip", "in": []}, "allows nothing"),
        ({"type": "ip", "in": ["10.0.0.1/8"]}, "bits set"),
        ({"type": "ip", "version": "5"}, "4 or 6"),
        ({"type": "cidr", "min_prefix": "9", "max_prefix": "8"}, "min_prefix is above max_prefix"),
        ({"type": "hostname", "under": ["*.example.com"]}, "no wildcard"),
        ({"type": "hostname", "under": ["\u212aube.example"]}, "must be a domain name"),
        ({"type": "port", "max": "70000"}, "above 65535"),
        ({"type": "hash", "algorithms": ["crc32"]}, "md5"),
        ({"type": "path", "under": ["/a/../b"]}, r"'\.\.' segment"),
        ({"type": "path", "under": []}, "allows nothing"),
        ({"type": "url", "hosts": ["*.1.2.3.4"]}, "must be a host"),
        ({"type": "url", "schemes": ["HTTPS"]}, "lower case"),
        ({"type": "url", "ports": ["0"]}, "1 to 65535"),
        ({"type": "json", "max_depth": "99"}, "max_depth is above 40"),
        ({"type": "list", "of": {"type": "list", "of": {"type": "int"}}}, "list"),
        ({"type": "list", "of": {"type": "secret"}}, "secret"),
        ({"type": "list", "of": {"type": "bool", "flag": "-v"}}, "cannot be an item"),
        ({"type": "list", "of": {"type": "int", "default": "1"}}, "of: an item"),
        ({"type": "secret", "default": "x"}, "takes no default"),
        ({"type": "file", "default": "x"}, "takes no default"),
        ({"type": "int", "default": "x"}, "default: must be a whole number"),
        ({"type": "int", "default": "1", "required": "true"}, "is not required"),
        ({"type": "json", "default": {"a": "1"}}, "JSON text"),
        ({"type": "json", "default": '{"a":1,"a":2}'}, "JSON text"),
        ({"type": "json", "default": "NaN"}, "JSON text"),
        ({"type": "json", "default": "[" * 100000}, "nested|JSON text"),
        ({"type": "int", "maxx": "5"}, "maxx"),
        ({"type": "int", "required": "yes"}, "true or false"),
    ],
    ids=count(),
)
def test_a_spec_that_makes_no_sense_does_not_load(spec: dict[str, Any], text: str) -> None:
    """A mistake in a spec is an error at load, and the text says what is wrong."""
    assert re.search(text, load_error(**spec))


def test_a_default_is_normalised_and_makes_the_parameter_optional() -> None:
    """The default stands in its normal form from the load on."""
    read = param(type="path", under=["/var"], default="/var//log/")
    assert (read.default, read.required, read.has_default) == ("/var/log", False, True)
    assert param(type="list", of={"type": "int"}, default=["1"]).default == (1,)
    assert param(type="json", default='{"a": 1}').default == {"a": 1}


def test_the_json_schema_tells_what_to_send() -> None:
    """The schema carries the shape, the description and the default, and is plain JSON for every type."""
    assert param(type="int", min="1", max="9", summary="How many", default="3").json_schema() == {
        "type": ["integer", "string"],
        "minimum": 1,
        "maximum": 9,
        "pattern": "^(0|-?[1-9][0-9]*)$",
        "description": "How many",
        "default": 3,
    }
    assert param(**ENUM).json_schema() == {"enum": ["nginx", "22", "app-worker", 22]}
    assert param(**STRING).json_schema()["pattern"] == "^(?:[a-z ]+)$"
    assert param(type="secret").json_schema()["writeOnly"] is True
    for spec in every_spec():
        json.dumps(spec.json_schema())
