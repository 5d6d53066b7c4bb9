"""Every parameter type against a table: what it makes of good values, and with which code it refuses bad ones."""

from itertools import count
from typing import Any

import pytest
from pydantic import TypeAdapter

from cmdhttp.errors import BadValue
from cmdhttp.policy.params import AnyParam, ParamSpec, Secret

_ADAPTER: TypeAdapter[Any] = TypeAdapter(AnyParam)
_SHA = "ab" * 32
_UUID = "123e4567-e89b-42d3-a456-426614174000"


def param(**spec: object) -> ParamSpec:
    read: ParamSpec = _ADAPTER.validate_python(spec)
    return read


def code_of(spec: ParamSpec, value: object) -> str:
    with pytest.raises(BadValue) as refused:
        spec.normalise(value)
    return refused.value.code


ENUM = {"type": "enum", "values": ["nginx", "22", "app-worker"]}
INT = {"type": "int", "min": "1", "max": "10"}
NUMBER = {"type": "number", "max": "100"}
STRING = {"type": "string", "pattern": "[a-z ]+", "max_length": "8"}
UNICODE = {"type": "string", "pattern": r"\pL+", "unicode": "true"}
IP = {"type": "ip", "not_in": ["10.0.0.0/8", "fd00::/8"]}
CIDR = {"type": "cidr", "not_in": ["10.0.0.0/8"], "min_prefix": "8"}
HOSTNAME = {"type": "hostname"}
UNDER = {"type": "hostname", "under": ["example.com"]}
EMAIL = {"type": "email", "under": ["example.com"]}
DATE = {"type": "date", "min": "2020-01-01", "max": "2029-12-31"}
DATETIME = {"type": "datetime", "min": "2020-01-01"}
DURATION = {"type": "duration", "min": "1s", "max": "1h"}
PATH = {"type": "path", "under": ["/var", "/opt/s/"]}
FILENAME = {"type": "filename"}
URL = {"type": "url", "hosts": ["api.example.com", "*.internal.example", "192.0.2.1", "2001:db8::1"]}
JSON = {"type": "json", "max": "1KiB", "max_depth": "3"}
LIST = {"type": "list", "of": {"type": "int", "max": "9"}, "max_items": "3", "unique": "true"}
SECRET = {"type": "secret", "min_length": "2", "max": "16B"}

GOOD: list[tuple[dict[str, Any], object, object]] = [
    (ENUM, "nginx", "nginx"),
    (ENUM, 22, "22"),
    (INT, 7, 7),
    (INT, "7", 7),
    (INT, 7.0, 7),
    ({"type": "int", "leading_dash": "true"}, "-5", -5),
    (NUMBER, "0.10", 0.1),
    (NUMBER, 3, 3.0),
    (NUMBER, -0.0, 0.0),
    ({"type": "bool"}, "true", True),
    ({"type": "bool"}, False, False),
    (STRING, "a b", "a b"),
    (UNICODE, "cafe\u0301", "café"),
    (UNICODE, "\u212a", "K"),
    (IP, "192.0.2.1", "192.0.2.1"),
    (IP, "2001:DB8:0:0:0:0:0:1", "2001:db8::1"),
    (IP, "::ffff:192.0.2.1", "192.0.2.1"),
    (CIDR, "192.0.2.0/24", "192.0.2.0/24"),
    (CIDR, "::ffff:192.0.2.0/120", "192.0.2.0/24"),
    (CIDR, "2001:DB8::/32", "2001:db8::/32"),
    (HOSTNAME, "Web1.Example.COM.", "web1.example.com"),
    (HOSTNAME, "xn--bcher-kva.example", "xn--bcher-kva.example"),
    (UNDER, "example.com", "example.com"),
    (UNDER, "a.example.com", "a.example.com"),
    ({"type": "port"}, "443", 443),
    ({"type": "username"}, "_www-data", "_www-data"),
    (EMAIL, "Alice.B+x@Mail.Example.COM", "Alice.B+x@mail.example.com"),
    ({"type": "uuid"}, _UUID.upper(), _UUID),
    ({"type": "hash"}, _SHA.upper(), _SHA),
    (DATE, "2024-02-29", "2024-02-29"),
    (DATETIME, "2026-12-20T08:00:00Z", "2026-12-20T08:00:00Z"),
    (DATETIME, "2026-12-20T08:00:00.999+02:00", "2026-12-20T06:00:00Z"),
    (DURATION, "1m30s", "90s"),
    (DURATION, "1500ms", "1.5s"),
    (DURATION, "1.5s", "1.5s"),
    (PATH, "/var//log/./x/", "/var/log/x"),
    (PATH, "/opt/s", "/opt/s"),
    ({"type": "path"}, "/", "/"),
    ({"type": "path", "under": ["/"]}, "/etc", "/etc"),
    (FILENAME, "backup-1.tar.gz", "backup-1.tar.gz"),
    ({"type": "filename", "hidden": "true"}, ".profile", ".profile"),
    (URL, "HTTPS://API.example.com:443", "https://api.example.com/"),
    (URL, "https://a.b.internal.example/x?y=%20z", "https://a.b.internal.example/x?y=%20z"),
    (URL, "https://api.example.com/%61%7E%2f%c3%A9?%5A=%26%7b", "https://api.example.com/a~%2F%C3%A9?Z=%26%7B"),
    (URL, "https://api.example.com/%2561", "https://api.example.com/%2561"),
    (URL, "https://192.0.2.1/", "https://192.0.2.1/"),
    (URL, "https://[2001:DB8::1]/", "https://[2001:db8::1]/"),
    ({"type": "url", "ports": ["8443"]}, "https://x.example:8443/", "https://x.example:8443/"),
    (JSON, {"b": [1, 1.5], "a": None}, {"a": None, "b": (1, 1.5)}),
    (JSON, '{"not": "parsed"}', '{"not": "parsed"}'),
    (LIST, [1, "2"], (1, 2)),
    (SECRET, "-pass wörd", Secret("-pass wörd")),
]

BAD: list[tuple[dict[str, Any], object, str]] = [
    (ENUM, "Nginx", "not_in_values"),
    (ENUM, "nginx\n", "control_character"),
    (ENUM, True, "type"),
    (ENUM, 22.0, "type"),
    (ENUM, 10**5000, "type"),
    (INT, True, "type"),
    (INT, None, "type"),
    (INT, [1], "type"),
    (INT, 0, "too_small"),
    (INT, "11", "too_large"),
    (INT, 10**5000, "too_large"),
    (INT, "9" * 5000, "format"),
    (INT, 1.5, "format"),
    (INT, 1e300, "format"),
    (INT, float("nan"), "format"),
    (INT, float("inf"), "format"),
    (INT, "07", "format"),
    (INT, "0x7", "format"),
    (INT, "1_0", "format"),
    (INT, " 7", "format"),
    (INT, "+7", "format"),
    (INT, "", "format"),
    (INT, "7\n", "control_character"),
    (INT, "\uff17", "not_ascii"),
    (INT, "\u0667", "not_ascii"),
    (INT, "-5", "leading_dash"),
    (INT, -5, "leading_dash"),
    (NUMBER, "-1", "leading_dash"),
    (NUMBER, -1.5, "leading_dash"),
    (NUMBER, "1e5", "format"),
    (NUMBER, "1.", "format"),
    (NUMBER, ".5", "format"),
    (NUMBER, "NaN", "format"),
    (NUMBER, 1e-300, "format"),
    (NUMBER, float("nan"), "not_finite"),
    (NUMBER, float("inf"), "not_finite"),
    (NUMBER, 100.5, "too_large"),
    (NUMBER, 10**400, "too_large"),
    (NUMBER, False, "type"),
    ({"type": "bool"}, 1, "type"),
    ({"type": "bool"}, "True", "format"),
    ({"type": "bool"}, "yes", "format"),
    (STRING, 5, "type"),
    (STRING, "", "pattern"),
    (STRING, "a1", "pattern"),
    (STRING, "a\u00e9", "not_ascii"),
    (STRING, "a\u212a", "not_ascii"),
    (STRING, "a" * 9, "too_long"),
    (STRING, "a" * 9000, "too_long"),
    (STRING, "-a", "leading_dash"),
    (STRING, "a\nb", "control_character"),
    ({**STRING, "min_length": "2"}, "a", "too_short"),
    ({"type": "string", "pattern": r"\d"}, "\u0661", "not_ascii"),
    ({"type": "string", "pattern": "(?i)k"}, "\u212a", "not_ascii"),
    ({"type": "string", "pattern": "a|b"}, "ax", "pattern"),
    ({"type": "string", "pattern": "^a$"}, "ba", "pattern"),
    ({"type": "string", "pattern": "(?m)^a$"}, "a\n", "control_character"),
    (UNICODE, "a\u200db", "invisible_character"),
    (UNICODE, "\U0001f600" * 2100, "too_long"),
    (IP, "10.0.0.1", "excluded"),
    (IP, "::ffff:10.0.0.1", "excluded"),
    (IP, "::FFFF:0a00:0001", "excluded"),
    (IP, "::10.0.0.1", "excluded"),
    (IP, "::ffff:0:10.0.0.1", "excluded"),
    (IP, "64:ff9b::10.0.0.1", "excluded"),
    (IP, "64:ff9b:1::1", "excluded"),
    (IP, "2002:a00:1::", "excluded"),
    (IP, "2001:0:1::1", "excluded"),
    (IP, "fd00::1", "excluded"),
    (IP, "010.0.0.1", "format"),
    (IP, "::ffff:010.0.0.1", "format"),
    (IP, "10.1", "format"),
    (IP, "0x0a000001", "format"),
    (IP, "167772161", "format"),
    (IP, 167772161, "type"),
    (IP, "fe80::1%eth0", "format"),
    (IP, "[::1]", "format"),
    (IP, "192.0.2.1/32", "format"),
    (IP, "\uff11.1.1.1", "not_ascii"),
    ({"type": "ip", "version": "6"}, "::ffff:192.0.2.1", "version"),
    ({"type": "ip", "version": "4"}, "2001:db8::1", "version"),
    ({"type": "ip", "in": ["192.0.2.0/24"]}, "192.0.3.1", "outside"),
    ({"type": "ip", "in": ["::/0"]}, "::ffff:192.0.2.1", "outside"),
    (CIDR, "192.0.2.1/24", "host_bits"),
    (CIDR, "192.0.2.1", "format"),
    (CIDR, "192.0.2.0/255.255.255.0", "format"),
    (CIDR, "192.0.2.0/024", "format"),
    (CIDR, "192.0.2.0/33", "format"),
    (CIDR, "192.0.2.0/-1", "format"),
    (CIDR, "0.0.0.0/0", "too_large"),
    (CIDR, "10.1.0.0/16", "excluded"),
    (CIDR, "::ffff:10.0.0.0/104", "excluded"),
    ({"type": "cidr", "not_in": ["10.0.0.0/8"]}, "::/0", "excluded"),
    ({"type": "cidr", "not_in": ["10.0.0.0/8"]}, "0.0.0.0/0", "excluded"),
    ({"type": "cidr", "max_prefix": "24"}, "192.0.2.1/32", "too_small"),
    ({"type": "cidr", "in": ["192.0.2.0/24"]}, "192.0.0.0/16", "outside"),
    (HOSTNAME, "a_b.example", "format"),
    (HOSTNAME, "a..example", "format"),
    (HOSTNAME, ".", "format"),
    (HOSTNAME, "", "format"),
    (HOSTNAME, "a.example..", "format"),
    (HOSTNAME, "127.1", "format"),
    (HOSTNAME, "192.0.2.1", "format"),
    (HOSTNAME, "0x7f000001", "format"),
    (HOSTNAME, "2130706433", "format"),
    (HOSTNAME, "a-.example", "format"),
    (HOSTNAME, "a" * 64, "format"),
    (HOSTNAME, ".".join(["a" * 60] * 5), "format"),
    (HOSTNAME, "web 1", "format"),
    (HOSTNAME, "bücher.example", "not_ascii"),
    (HOSTNAME, "-oProxyCommand=x", "leading_dash"),
    (UNDER, "notexample.com", "not_under"),
    (UNDER, "example.com.evil.org", "not_under"),
    ({"type": "port"}, 0, "too_small"),
    ({"type": "port"}, 65536, "too_large"),
    ({"type": "port"}, "22:22", "format"),
    ({"type": "port"}, True, "type"),
    ({"type": "username"}, "Root", "format"),
    ({"type": "username"}, "0day", "format"),
    ({"type": "username"}, "a" * 33, "format"),
    ({"type": "username"}, "a$", "format"),
    ({"type": "username"}, "-l", "leading_dash"),
    ({"type": "username", "pattern": "app_.*"}, "root", "pattern"),
    (EMAIL, "alice@evil.org", "not_under"),
    (EMAIL, "a@b@example.com", "format"),
    (EMAIL, '"a b"@example.com', "format"),
    (EMAIL, "a..b@example.com", "format"),
    (EMAIL, ".a@example.com", "format"),
    (EMAIL, "a.@example.com", "format"),
    (EMAIL, "a@com", "format"),
    (EMAIL, "a@[192.0.2.1]", "format"),
    (EMAIL, "-a@example.com", "leading_dash"),
    (EMAIL, "abcde@" + "b." * 120 + "example.com", "too_long"),
    ({"type": "uuid"}, "{" + _UUID + "}", "format"),
    ({"type": "uuid"}, _UUID.replace("-", ""), "format"),
    ({"type": "hash"}, "ab", "format"),
    ({"type": "hash"}, "g" * 64, "format"),
    ({"type": "hash", "algorithms": ["sha256"]}, "ab" * 16, "algorithm"),
    (DATE, "2023-02-29", "format"),
    (DATE, "20240101", "format"),
    (DATE, "2024-W01-1", "format"),
    (DATE, "2019-12-31", "too_small"),
    (DATE, "2030-01-01", "too_large"),
    (DATETIME, "2026-11-20T08:00:00", "format"),
    (DATETIME, "2026-12-20 08:00:00Z", "format"),
    (DATETIME, "2026-12-20T25:00:00Z", "format"),
    (DATETIME, "2026-12-20T08:00:60Z", "format"),
    (DATETIME, "2026-12-20T08:00:00+99:00", "format"),
    (DATETIME, "9999-12-31T23:59:59-01:00", "format"),
    (DATETIME, "2019-12-31T23:59:59Z", "too_small"),
    (DURATION, 30, "type"),
    (DURATION, "30", "format"),
    (DURATION, "0s", "format"),
    (DURATION, "", "format"),
    (DURATION, "30s1m", "format"),
    (DURATION, "1.5h", "format"),
    (DURATION, "9" * 10 + "d", "format"),
    (DURATION, "999ms", "too_small"),
    (DURATION, "1h1ms", "too_large"),
    (PATH, "var/log", "not_absolute"),
    (PATH, "~/x", "not_absolute"),
    (PATH, "", "not_absolute"),
    (PATH, "/var/../etc/shadow", "dot_segment"),
    (PATH, "/var/..", "dot_segment"),
    (PATH, "/opt/s-evil", "not_under"),
    (PATH, "/etc/shadow", "not_under"),
    (PATH, "/", "not_under"),
    (PATH, "/var/log\0/x", "control_character"),
    (PATH, "/var/" + "a" * 256, "too_long"),
    (PATH, "/var" + "/aaaaaaa" * 600, "too_long"),
    (FILENAME, "..", "format"),
    (FILENAME, ".", "format"),
    (FILENAME, "", "format"),
    (FILENAME, "a/b", "format"),
    (FILENAME, "..\\a", "format"),
    (FILENAME, "a ", "format"),
    (FILENAME, ".ssh", "hidden"),
    (FILENAME, "-rf", "leading_dash"),
    (FILENAME, "a" * 256, "too_long"),
    (URL, "http://api.example.com/", "scheme"),
    (URL, "file:///etc/passwd", "scheme"),
    (URL, "javascript:alert(1)", "format"),
    (URL, "//api.example.com/", "format"),
    (URL, "https://evil.org/", "host"),
    (URL, "https://internal.example/", "host"),
    (URL, "https://eviinternal.example/", "host"),
    (URL, "https://api.example.com.evil.org/", "host"),
    (URL, "https://192.0.2.2/", "host"),
    (URL, "https://api.example.com@evil.org/", "userinfo"),
    (URL, "https://user:pw@api.example.com/", "userinfo"),
    (URL, "https://evil.org\\@api.example.com/", "userinfo"),
    (URL, "https://api.example.com\\evil/", "format"),
    (URL, "https://api.example.com/\\evil", "format"),
    (URL, "https://api.example.com/a b", "format"),
    (URL, "https://api.example.com/{a,b}", "format"),
    (URL, "https://api.example.com/%zz", "format"),
    (URL, "https://api.example.com/%0d%0aX", "control_character"),
    (URL, "https://api.example.com/%00", "control_character"),
    (URL, "https://api.example.com/\tx", "control_character"),
    (URL, "https://api.example.com/a/../b", "dot_segment"),
    (URL, "https://api.example.com/a/%2e%2E/b", "dot_segment"),
    (URL, "https://api.example.com/a/.%2e", "dot_segment"),
    (URL, "https://api.example.com/#x", "fragment"),
    (URL, "https://api.example.com:8443/", "port"),
    (URL, "https://api.example.com:80/", "port"),
    (URL, "https://api.example.com:99999/", "port"),
    (URL, "https://api.example.com:0443/", "format"),
    (URL, "https://api.example.com:/", "format"),
    (URL, "https:///x", "format"),
    (URL, "https://2130706433/", "format"),
    (URL, "https://0x7f.1/", "format"),
    (URL, "https://[::1", "format"),
    (URL, "https://[fe80::1%25eth0]/", "format"),
    (URL, "https://api.example.com/" + "a" * 2048, "too_long"),
    ({"type": "url"}, "https://127.0.0.1/", "host"),
    ({"type": "url"}, "https://[::1]/", "host"),
    ({"type": "url", "ports": ["8443"]}, "https://x.example/", "port"),
    ({"type": "url", "schemes": ["s3"], "ports": ["9"]}, "s3://x.example/", "port"),
    (JSON, [[[[1]]]], "too_deep"),
    (JSON, {"a": "x" * 2000}, "too_long"),
    (JSON, ["x" * 600] * 2, "too_long"),
    (JSON, [float("nan")], "not_finite"),
    (JSON, 10**5000, "too_large"),
    (JSON, {"a\0": 1}, "control_character"),
    (JSON, ["\ud800"], "lone_surrogate"),
    (JSON, {1: 2}, "type"),
    (JSON, b"x", "type"),
    (JSON, -5, "leading_dash"),
    (LIST, "1,2", "type"),
    (LIST, "[1]", "type"),
    (LIST, {"1": 1}, "type"),
    (LIST, [], "too_few_items"),
    (LIST, [1, 2, 3, 4], "too_many_items"),
    (LIST, [1, "1"], "duplicate_item"),
    (LIST, [1, 10], "too_large"),
    (LIST, [[1]], "type"),
    (SECRET, "a", "too_short"),
    (SECRET, "ä" * 9, "too_long"),
    (SECRET, "two\nlines", "control_character"),
    (SECRET, 12345, "type"),
]


@pytest.mark.parametrize(("spec", "value", "normal"), GOOD, ids=count())
def test_a_good_value_has_one_normal_form(spec: dict[str, Any], value: object, normal: object) -> None:
    """A good value becomes its normal form, of the same Python type, and that form becomes itself."""
    read = param(**spec)
    found = read.normalise(value)
    assert found == normal
    assert type(found) is type(normal)
    assert read.normalise(found) == found


@pytest.mark.parametrize(("spec", "value", "code"), BAD, ids=count())
def test_a_bad_value_is_refused_with_its_code(spec: dict[str, Any], value: object, code: str) -> None:
    """A bad value is refused, and the code says why."""
    assert code_of(param(**spec), value) == code


def test_no_refusal_repeats_the_value() -> None:
    """Neither the text nor the hint of a refusal holds the value, whatever is wrong with it."""
    for spec, value, _ in BAD:
        if isinstance(value, str) and len(value) > 3:
            with pytest.raises(BadValue) as refused:
                param(**spec).normalise(value)
            assert value not in refused.value.detail


def test_equal_specs_are_equal() -> None:
    """Two readings of one text compare equal, so that policies can be compared."""
    for spec, _, _ in GOOD:
        assert param(**spec) == param(**spec)
