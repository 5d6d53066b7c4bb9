"""What holds for every value and every parameter type, searched for with made-up values."""

import json
import unicodedata
from datetime import UTC, timedelta, timezone
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter

from cmdhttp.errors import BadValue
from cmdhttp.policy.params import PARAM_TYPES, AnyParam, ParamSpec, Secret, Upload, Value

_ADAPTER: TypeAdapter[Any] = TypeAdapter(AnyParam)
_FORBIDDEN = frozenset({"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"})


def param(**spec: object) -> ParamSpec:
    read: ParamSpec = _ADAPTER.validate_python(spec)
    return read


_label = st.from_regex(r"[A-Za-z]([A-Za-z0-9-]{0,6}[A-Za-z0-9])?", fullmatch=True)
_host = st.lists(_label, min_size=2, max_size=4).map(".".join)
_segment = st.text(st.characters(min_codepoint=32, max_codepoint=126, exclude_characters="/\\"), max_size=8)
_scalar = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=12)
_json = st.recursive(
    _scalar,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=8,
)
_offset = st.integers(-14 * 60, 14 * 60).map(lambda minutes: timezone(timedelta(minutes=minutes)))
_prefix = st.one_of(
    st.tuples(st.integers(0, 2**32 - 1).map(IPv4Address), st.integers(0, 32)),
    st.tuples(st.integers(0, 2**128 - 1).map(IPv6Address), st.integers(0, 128)),
)
_address = st.one_of(
    st.ip_addresses().map(str),
    st.ip_addresses(v=4).map(lambda address: f"::ffff:{address}"),
    st.ip_addresses(v=6).map(lambda address: address.exploded.upper()),
)

CASES: dict[str, tuple[ParamSpec, st.SearchStrategy[Any]]] = {
    "enum": (param(type="enum", values=["a", "7", "b c"]), st.sampled_from(["a", "7", 7, "b c"])),
    "int": (param(type="int", leading_dash="true"), st.integers(-(2**53), 2**53)),
    "number": (param(type="number", leading_dash="true"), st.floats(-(2**53), 2**53) | st.integers(-(2**53), 2**53)),
    "bool": (param(type="bool"), st.sampled_from([True, False, "true", "false"])),
    "string": (param(type="string", pattern=".*", unicode="true"), st.text(max_size=40)),
    "ip": (param(type="ip"), _address),
    "cidr": (param(type="cidr"), _prefix.map(lambda pair: str(ip_network(pair, strict=False)))),
    "hostname": (param(type="hostname"), _host | _host.map("{}.".format)),
    "port": (param(type="port"), st.integers(1, 65535) | st.integers(1, 65535).map(str)),
    "username": (param(type="username"), st.from_regex(r"[a-z_][a-z0-9_-]{0,31}", fullmatch=True)),
    "email": (param(type="email"), _host.map("Some.One+tag@{}".format)),
    "uuid": (param(type="uuid"), st.uuids().map(lambda uuid: str(uuid).upper())),
    "hash": (param(type="hash"), st.binary(min_size=20, max_size=20).map(lambda raw: raw.hex().upper())),
    "date": (param(type="date"), st.dates().map(str)),
    "datetime": (param(type="datetime"), st.datetimes(timezones=_offset | st.just(UTC)).map(lambda at: at.isoformat())),
    "duration": (
        param(type="duration"),
        st.integers(1, 10**9 - 1).map("{}ms".format) | st.integers(1, 999).map("{}d1h2m3s4ms".format),
    ),
    "path": (param(type="path"), st.lists(_segment, max_size=5).map(lambda parts: "/" + "/".join(parts))),
    "filename": (param(type="filename", hidden="true", leading_dash="true"), _segment),
    "url": (
        param(type="url", schemes=["https", "http"]),
        st.tuples(_host, _segment).map("HTTPS://{0[0]}/{0[1]}".format),
    ),
    "json": (param(type="json", leading_dash="true"), _json),
    "list": (param(type="list", of={"type": "ip"}), st.lists(_address, max_size=4)),
    "secret": (param(type="secret"), st.text(max_size=40)),
    "file": (param(type="file"), st.just({"name": "a", "base64": "eA=="})),
}
_hostile = st.text(max_size=30) | st.text(st.characters(max_codepoint=127), max_size=30) | _json


def test_every_type_has_a_case() -> None:
    """No type is left out of the search."""
    assert set(CASES) == set(PARAM_TYPES)


@pytest.mark.parametrize("name", CASES)
@given(data=st.data())
def test_a_normal_form_is_its_own_normal_form(name: str, data: st.DataObject) -> None:
    """Reading is idempotent, and still so after the value went through a JSON record."""
    spec, good = CASES[name]
    value = _read(spec, data.draw(good | _hostile))
    if value is None:
        return
    assert _same(spec, spec.normalise(value), value)
    if not isinstance(value, Secret | Upload):
        stored = json.loads(json.dumps(spec.recorded(value)))
        assert _same(spec, spec.normalise(stored), value)


@pytest.mark.parametrize("name", CASES)
@given(data=st.data())
def test_a_rendered_value_holds_no_forbidden_character(name: str, data: st.DataObject) -> None:
    """No control, invisible or unassigned character and no stray option reaches an argument."""
    spec, good = CASES[name]
    value = _read(spec, data.draw(good | _hostile))
    if value is None or isinstance(value, Upload):
        return
    for text in (spec.render(value), *spec.arguments(value)):
        assert not {unicodedata.category(char) for char in text} & _FORBIDDEN
        assert spec.leading_dash or not text.startswith("-")
        text.encode("utf-8")


@pytest.mark.parametrize(
    "name", [name for name, (spec, _) in CASES.items() if spec.argv_allowed and not spec.staged and name != "list"]
)
@given(data=st.data())
def test_a_rendered_value_reads_back_as_itself(name: str, data: st.DataObject) -> None:
    """Text is accepted for every scalar, so what ran can be sent again and is the same value."""
    spec, good = CASES[name]
    value = _read(spec, data.draw(good | _hostile))
    if value is not None:
        assert _same(spec, spec.normalise(spec.render(value)), value)


@pytest.mark.parametrize(
    "name", [name for name in CASES if name not in ("string", "path", "filename", "url", "json", "secret", "list")]
)
@given(data=st.data())
def test_a_good_value_is_taken(name: str, data: st.DataObject) -> None:
    """The values made for a type are ones it takes; otherwise the other properties would hold of nothing."""
    spec, good = CASES[name]
    value = data.draw(good)
    if isinstance(value, float) and 0 < abs(value) < 1e-15:
        return
    spec.normalise(value)


@given(
    address=st.ip_addresses(v=4, network="10.0.0.0/8"),
    form=st.sampled_from(["{}", "::ffff:{}", "::{}", "64:ff9b::{}", "::ffff:0:{}"]),
)
def test_an_excluded_address_has_no_other_spelling(address: IPv4Address, form: str) -> None:
    """Whatever IPv6 form carries an excluded IPv4 address is excluded as well, upper case and exploded too."""
    spec = param(type="ip", not_in=["10.0.0.0/8"])
    spelled = form.format(address)
    for text in (spelled, ip_address(spelled).exploded.upper()):
        with pytest.raises(BadValue) as refused:
            spec.normalise(text)
        assert refused.value.code == "excluded"


@given(pair=_prefix)
def test_a_network_passes_only_if_it_touches_no_excluded_address(pair: tuple[IPv4Address | IPv6Address, int]) -> None:
    """A network that passes `not_in` shares no IPv4 address with it, mapped ones included."""
    spec = param(type="cidr", not_in=["10.0.0.0/8"])
    value = _read(spec, str(ip_network(pair, strict=False)))
    if isinstance(value, str):
        network = ip_network(value)
        assert not network.overlaps(ip_network("10.0.0.0/8"))
        assert not network.overlaps(ip_network("::ffff:10.0.0.0/104"))


@given(parts=st.lists(st.sampled_from(["var", "log", "..", ".", "", "var-evil", "etc"]), max_size=6))
def test_a_path_never_leaves_its_directories(parts: list[str]) -> None:
    """Whatever its segments, a path that passes is the directory or stands below it."""
    value = _read(param(type="path", under=["/var"]), "/" + "/".join(parts))
    assert value is None or value == "/var" or str(value).startswith("/var/")


def _read(spec: ParamSpec, value: object) -> Value:
    """The normal form, or nothing for a value that is refused; any other exception is the bug we look for."""
    try:
        return spec.normalise(value)
    except BadValue:
        return None


def _same(spec: ParamSpec, first: Value, second: Value) -> bool:
    return spec.identity(first) == spec.identity(second) and first.__class__ is second.__class__
