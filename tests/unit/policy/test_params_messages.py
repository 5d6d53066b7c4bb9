"""What callers read when a value is refused: every text and hint of every type, word for word.

The values are those of the tables of bad values, so a row there that says something new fails here.
"""

from collections.abc import Iterator

import pytest

from cmdhttp.errors import BadValue
from cmdhttp.policy.params import PARAM_TYPES
from tests.unit.policy.test_params import BAD_UPLOADS
from tests.unit.policy.test_params_values import BAD, param

VISIBLE = " | Send one line of visible characters."
ASCII = " | Use ASCII characters only."
DASH = (
    "leading_dash: must not start with '-', because a program could take it for an option"
    " | If such values are meant, the command's author sets 'leading_dash: true' on this parameter."
)

SAID = {
    "bool": {
        "format: must be true or false",
        "type: must be true or false",
    },
    "cidr": {
        "excluded: lies in a network that is excluded",
        "format: must be a network with its prefix length, like 192.0.2.0/24 or 2001:db8::/32",
        "host_bits: must not have bits set after the prefix | Send the network's own address.",
        "outside: lies outside the networks that are allowed",
        "too_large: must have a prefix of /8 or longer",
        "too_small: must have a prefix of /24 or shorter",
    },
    "date": {
        "format: must be a date, like 2026-12-20",
        "too_large: must be at most 2029-12-31",
        "too_small: must be at least 2020-01-01",
    },
    "datetime": {
        "format: must be a date and time with its offset, like 2026-12-20T08:00:00Z",
        "too_small: must be at least 2020-01-01 00:00:00+00:00",
    },
    "duration": {
        "format: must be a duration longer than zero with its unit, like 500ms, 30s, 2m or 1h30m",
        "too_large: must be at most 3600s",
        "too_small: must be at least 1s",
        "type: must be a duration with its unit, as text",
    },
    "email": {
        "format: must be a mail address, like alice@example.com, of letters, digits and . _ + - before the @",
        DASH,
        "not_under: lies outside the domains that are allowed",
        "too_long: must be at most 254 characters long",
    },
    "enum": {
        "control_character: character 6 is a control character" + VISIBLE,
        "not_in_values: is not one of the listed values | Send one of: nginx, 22, app-worker.",
        "type: must be one of the listed values, as text",
    },
    "file": {
        "base64: must have plain base64 with its padding, without line breaks",
        "control_character: character 2 is a control character" + VISIBLE,
        "format: must be an object whose 'sha256' is 64 hexadecimal digits",
        "format: must be one file name: not '.' or '..', no '/' or '\\', no space at either end",
        "hidden: must not start with a dot",
        "missing_key: must have the keys 'name' and 'base64'",
        "sha256_mismatch: the content does not have the given sha256 | Send the file again.",
        "too_large: must be at most 8 bytes",
        "type: must be an object whose 'base64' is text",
        "type: must be an object whose 'name' is text",
        "type: must be an object with 'name' and 'base64'",
        "unknown_key: may have the keys 'name', 'base64' and 'sha256' only",
    },
    "filename": {
        "format: must be one file name: not '.' or '..', no '/' or '\\', no space at either end",
        "hidden: must not start with a dot",
        DASH,
        "too_long: must be at most 255 characters long",
    },
    "hash": {
        "algorithm: must be a sum by sha256",
        "format: must be a sum of 32, 40 or 64 hexadecimal digits",
    },
    "hostname": {
        "format: must be a host name, like web1.example.com (an IP address is not one)",
        DASH,
        "not_ascii: character 2 is not ASCII" + ASCII,
        "not_under: lies outside the domains that are allowed",
    },
    "int": {
        "control_character: character 2 is a control character" + VISIBLE,
        "format: must be a whole number",
        "format: must be a whole number in plain decimals, without a leading zero",
        DASH,
        "not_ascii: character 1 is not ASCII" + ASCII,
        "too_large: must be at most 10",
        "too_small: must be at least 1",
        "type: must be a whole number",
    },
    "ip": {
        "excluded: lies in a network that is excluded",
        "format: must be an IP address in plain form, like 192.0.2.1 or 2001:db8::1",
        "not_ascii: character 1 is not ASCII" + ASCII,
        "outside: lies outside the networks that are allowed",
        "type: must be an IP address, as text",
        "version: must be IPv4",
        "version: must be IPv6",
    },
    "json": {
        "control_character: character 2 is a control character" + VISIBLE,
        DASH,
        "lone_surrogate: character 1 is half of a surrogate pair" + VISIBLE,
        "not_finite: must not hold an infinite number or NaN",
        "too_deep: must be nested at most 3 levels deep",
        "too_large: must not hold an integer of more than 63 bits",
        "too_long: must be at most 1024 bytes as JSON",
        "too_long: must be at most 1024 bytes in UTF-8",
        "type: must be JSON",
        "type: must be JSON with text for keys",
    },
    "list": {
        "duplicate_item: item 2 is already in the list",
        "too_few_items: must have at least 1 items",
        "too_large: item 2: must be at most 9",
        "too_many_items: must have at most 3 items",
        "type: item 1: must be a whole number",
        "type: must be a list (a JSON array)",
    },
    "number": {
        "format: must be a number in plain decimals, without an exponent or a leading zero",
        "format: must be zero, or at least 0.000000000000001 away from it",
        DASH,
        "not_finite: must be a finite number",
        "too_large: must be at most 100",
        "type: must be a number",
    },
    "path": {
        "control_character: character 9 is a control character" + VISIBLE,
        "dot_segment: must not have a '..' segment | Send the path that is meant.",
        "not_absolute: must be an absolute path, starting with '/'",
        "not_under: lies outside the directories that are allowed",
        "too_long: must be at most 4095 characters long",
        "too_long: must not have a segment of more than 255 characters",
    },
    "port": {
        "format: must be a whole number in plain decimals, without a leading zero",
        "too_large: must be at most 65535",
        "too_small: must be at least 1",
        "type: must be a whole number",
    },
    "secret": {
        "control_character: character 4 is a control character" + VISIBLE,
        "too_long: must be at most 16 bytes in UTF-8",
        "too_short: must be at least 2 characters long",
        "type: must be text",
    },
    "string": {
        "control_character: character 2 is a control character" + VISIBLE,
        "invisible_character: character 2 is an invisible or direction-changing character" + VISIBLE,
        DASH,
        "not_ascii: character 1 is not ASCII" + ASCII,
        "not_ascii: character 2 is not ASCII" + ASCII,
        "pattern: does not match the parameter's pattern",
        "too_long: must be at most 8 characters long",
        "too_long: must be at most 8192 bytes in UTF-8",
        "too_short: must be at least 2 characters long",
        "type: must be text",
    },
    "url": {
        "control_character: character 25 is a control character" + VISIBLE,
        "control_character: holds an encoded control character",
        "dot_segment: must not have a '.' or '..' segment | Send the path that is meant.",
        "format: must be a URL whose path and query hold only the characters of RFC 3986, others %-encoded",
        "format: must be a URL with a plain host name or address, like https://example.com/path",
        "format: must be a URL, like https://example.com/path",
        "fragment: must not have a fragment | Leave out '#' and what follows it.",
        "host: goes to a host that is not allowed",
        "port: goes to a port that is not allowed",
        "port: has a port above 65535",
        "scheme: must start with https://",
        "too_long: must be at most 2048 characters long",
        "userinfo: must not carry a user name or password",
    },
    "username": {
        "format: must be a small letter or '_', then small letters, digits, '_' or '-', at most 32 in all",
        DASH,
        "pattern: does not match the parameter's pattern",
    },
    "uuid": {
        "format: must be a UUID, like 123e4567-e89b-42d3-a456-426614174000",
    },
}


def said(kind: str) -> Iterator[str]:
    """What each bad value of the type is told: code, text, and the hint if there is one."""
    uploads = [({"type": "file", "max": "8B"}, value) for value, _ in BAD_UPLOADS]
    for spec, value in [*((spec, value) for spec, value, _ in BAD), *uploads]:
        if spec["type"] == kind:
            with pytest.raises(BadValue) as refused:
                param(**spec).normalise(value)
            error = refused.value
            yield f"{error.code}: {error.detail}" + (f" | {error.hint}" if error.hint else "")


@pytest.mark.parametrize("kind", PARAM_TYPES)
def test_every_refusal_word_for_word(kind: str) -> None:
    """A refusal says what the value must be and how to send it; no type says anything else."""
    assert set(said(kind)) == SAID[kind]
