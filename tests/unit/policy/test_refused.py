"""What the format refuses, construct by construct, each with the exact message that an admin reads."""

# ruff: noqa: E501, ISC004 - a message stands as it is printed, and a long one goes on in the next line

import gc
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from types import MappingProxyType

import pytest

from cmdhttp.plan.argv import resolve_argv
from cmdhttp.policy import fields
from cmdhttp.policy.compiled import Command
from cmdhttp.policy.fields import Rate
from cmdhttp.policy.files import SourceFile
from cmdhttp.policy.findings import PolicyError
from cmdhttp.policy.load import Inputs, load, load_policy
from cmdhttp.policy.merge import collect
from cmdhttp.policy.params import Value

HERE = "commands: {c: {on: local, run: [/bin/c], "
INPUTS = Inputs(resolve=resolve_argv, now=datetime(2026, 11, 2, tzinfo=UTC))


def said(text: str | bytes) -> list[str]:
    """Everything that one file gives rise to; `version: 1` is its first line."""
    data = text if isinstance(text, bytes) else ("version: 1\n" + text).encode()
    return [str(finding) for finding in collect([SourceFile(path="a.yaml", data=data)]).findings]


TEXTS: dict[str, tuple[str | bytes, str]] = {
    "a duplicate key": (
        "deny: []\ndeny: []",
        "a.yaml:3:1: P131 the key 'deny' is given twice (first at a.yaml:2:1)\n    hint: keep one of them, or mend the indentation",
    ),
    "an anchor": (
        "hosts: &x {}",
        "a.yaml:2:8: P126 the anchor '&x' is not allowed"
        "\n    hint: write the value out; quote a value that begins with '*' or '&'",
    ),
    "an alias": (
        "hosts: *x",
        "a.yaml:2:8: P126 the alias '*x' is not allowed"
        "\n    hint: write the value out; quote a value that begins with '*' or '&'",
    ),
    "a tag": (
        "hosts: !!map {}",
        "a.yaml:2:8: P127 the tag 'tag:yaml.org,2002:map' is not allowed"
        "\n    hint: remove it: the policy format decides what a value means",
    ),
    "a tag of Python": (
        "hosts: !!python/object/apply:os.system [id]",
        "a.yaml:2:8: P127 the tag 'tag:yaml.org,2002:python/object/apply:os.system' is not allowed"
        "\n    hint: remove it: the policy format decides what a value means",
    ),
    "a merge key": (
        "hosts: {<<: {}}",
        "a.yaml:2:9: P128 the merge key '<<' is not allowed\n    hint: write the entries out",
    ),
    "a second document": (
        "hosts: {}\n---\nhosts: {}",
        "a.yaml:3:1: P130 a second document is not allowed\n    hint: move it to a file of its own",
    ),
    "a directive": (
        b"%YAML 1.1\n---\nversion: 1",
        "a.yaml:1:1: P129 a YAML directive is not allowed\n    hint: remove this line",
    ),
    "a NUL": (
        "hosts: {a\0: {}}",
        "a.yaml:2:10: P122 the hidden character U+0000 (a control character) is not allowed"
        "\n    hint: remove it, also where it is written as an escape",
    ),
    "an escaped NUL": (
        'hosts: {"a\\0": {}}',
        "a.yaml:2:9: P122 the hidden character U+0000 (a control character) is not allowed"
        "\n    hint: remove it, also where it is written as an escape",
    ),
    "a bidirectional override": (
        "hosts: {} # \u202e",
        "a.yaml:2:13: P122 the hidden character U+202E (RIGHT-TO-LEFT OVERRIDE) is not allowed"
        "\n    hint: remove it, also where it is written as an escape",
    ),
    "a zero-width space": (
        "hosts: {} # \u200b",
        "a.yaml:2:13: P122 the hidden character U+200B (ZERO WIDTH SPACE) is not allowed"
        "\n    hint: remove it, also where it is written as an escape",
    ),
    "a key that is a list": (
        "hosts: {[a]: {}}",
        "a.yaml:2:9: P132 a key must be text\n    hint: quote a key or value that begins with '{' or '['",
    ),
    "a tab": (
        "hosts:\n\ta: {}",
        "a.yaml:3:1: P123 a tab is not allowed here"
        "\n    hint: indent and separate with spaces; quote a value that holds a tab",
    ),
    "not UTF-8": (
        b"version: 1\n# \xff",
        "a.yaml:2:3: P121 the byte 0xff is not UTF-8\n    hint: save it as UTF-8 without a byte order mark",
    ),
    "a byte order mark": (
        b"\xef\xbb\xbfversion: 1",
        "a.yaml: P121 the file starts with a byte order mark\n    hint: save it as UTF-8 without a byte order mark",
    ),
    "an empty file": (b"", "a.yaml: P124 the file is empty\n    hint: begin with `version: 1`"),
    "a list": (
        b"- version: 1",
        "a.yaml:1:1: P125 the top level must be a mapping of `key: value`\n    hint: begin with `version: 1`",
    ),
    "2 MiB": (
        b"version: 1\n#" + b"x" * (2 << 20),
        "a.yaml: P120 the file is larger than 1 MiB\n    hint: split it: any number of files in the folder is one policy",
    ),
    "41 levels": (
        "hosts: " + "[" * 40 + "]" * 40,
        "a.yaml:2:47: P134 this is more than 40 levels deep\n    hint: no part of a policy needs so many",
    ),
    "`no` for a switch": (
        HERE + "params: {p: {type: int, required: no}}}}",
        "a.yaml:2:76: P201 p.required: must be true or false, written so",
    ),
    "`yes` for a switch": (
        HERE + "params: {p: {type: int, required: yes}}}}",
        "a.yaml:2:76: P201 p.required: must be true or false, written so",
    ),
    "an octal": (
        HERE + "params: {p: {type: int, max: 0644}}}}",
        "a.yaml:2:71: P201 p.max: must be a whole number in plain decimals, like 30 (no leading zero, no other base)",
    ),
    "a sexagesimal": (
        HERE + "success_codes: [22:22]}}",
        "a.yaml:2:58: P201 c.success_codes: must be a whole number in plain decimals, like 30 (no leading zero, no other base)",
    ),
    "a hexadecimal": (
        HERE + "max_parallel: 0x10}}",
        "a.yaml:2:56: P201 c.max_parallel: must be a whole number in plain decimals, like 30 (no leading zero, no other base)",
    ),
    "a float for a whole number": (
        HERE + "max_parallel: 1.10}}",
        "a.yaml:2:56: P201 c.max_parallel: must be a whole number in plain decimals, like 30 (no leading zero, no other base)",
    ),
    "a batch of nothing": (
        HERE + "batch: 0}}",
        "a.yaml:2:49: P201 c.batch: must be a count of hosts, like 10, or a share of all hosts of a job, like 25%, and over zero",
    ),
    "a batch of more than all": (
        HERE + "batch: 101%}}",
        "a.yaml:2:49: P201 c.batch: must be a count of hosts, like 10, or a share of all hosts of a job, like 25%, and over zero",
    ),
    "half a failure": (
        HERE + "max_failures: 0.5}}",
        "a.yaml:2:56: P201 c.max_failures: must be a count of runs, like 3, or a share of all runs of a job, like 25%",
    ),
    "a list of failures": (
        HERE + "max_failures: [1]}}",
        "a.yaml:2:56: P201 c.max_failures: must be a count of runs, like 3, or a share of all runs of a job, like 25%",
    ),
    "an exponent": (
        HERE + "params: {p: {type: number, max: 1e3}}}}",
        "a.yaml:2:74: P201 p.max: must be a number in plain decimals, like 0.5",
    ),
    "a time without a unit": (
        HERE + "timeout: 30}}",
        "a.yaml:2:51: P201 c.timeout: must be a duration with its unit, like 500ms, 30s, 2m or 1h30m",
    ),
    "a time of nothing": (HERE + "timeout: 0s}}", "a.yaml:2:51: P201 c.timeout: must be longer than zero"),
    "a time without an end": (HERE + "timeout: 8d}}", "a.yaml:2:51: P201 c.timeout: must be at most 604800"),
    "a size without a unit": (
        HERE + "output: {max: 1024}}}",
        "a.yaml:2:56: P201 output.max: must be a size with its unit, like 512B, 64KiB or 1MiB",
    ),
    "a size in another unit": (
        HERE + "output: {max: 1MB}}}",
        "a.yaml:2:56: P201 output.max: must be a size with its unit, like 512B, 64KiB or 1MiB",
    ),
    "a date in another order": (
        "deny: [{why: w, until: 03.01.2027}]",
        "a.yaml:2:24: P201 deny.until: must be a date (2026-12-20) or a time with its offset (2026-12-20T08:00:00Z)",
    ),
    "a day that is none": (
        "deny: [{why: w, until: 2027-02-30}]",
        "a.yaml:2:24: P201 deny.until: must be a date (2026-12-20) or a time with its offset (2026-12-20T08:00:00Z)",
    ),
    "a time without its offset": (
        "deny: [{why: w, until: '2027-01-03T08:00:00'}]",
        "a.yaml:2:24: P201 deny.until: must carry its offset from UTC, like 2026-12-20T08:00:00Z",
    ),
    "look-around": (
        HERE + "params: {p: {type: string, pattern: '(?=a)b'}}}}",
        "a.yaml:2:78: P201 p.pattern: look-around is refused: patterns run in a linear-time engine",
    ),
    "a back-reference": (
        HERE + r"params: {p: {type: string, pattern: '(a)\1'}}}}",
        "a.yaml:2:78: P201 p.pattern: back-references are refused: patterns run in a linear-time engine",
    ),
    "a string without a pattern": (
        HERE + "params: {p: {type: string}}}}",
        "a.yaml:2:54: P202 the key 'pattern' is missing",
    ),
    "a command in one text": (
        "commands: {c: {on: local, run: /bin/df -h}}",
        "a.yaml:2:32: P201 c.run: must be a list\n    hint: write [/bin/df, -h]",
    ),
    "an effect that is none": (
        HERE + "effect: write}}",
        "a.yaml:2:50: P201 c.effect: must be 'read', 'change' or 'destroy'",
    ),
    "a secret's value": (
        "ssh_profiles: {p: {user: u, auth: {password: hunter2}, host_keys: {known_hosts: k}}}",
        "a.yaml:2:46: P201 auth.password: must be a reference to a secret, like file:ops_ed25519 (in the secrets folder)"
        " or env:NAME",
    ),
    "a timeout beyond all numbers": (
        HERE + f"timeout: {'9' * 400}d}}}}",
        "a.yaml:2:51: P201 c.timeout: must be a duration with its unit, like 500ms, 30s, 2m or 1h30m",
    ),
    "an instant before the calendar": (
        "deny: [{why: w, until: '0001-01-01T00:00:00+14:00'}]",
        "a.yaml:2:24: P201 deny.until: must lie in the years 1 to 9999 of UTC",
    ),
    "an instant after the calendar": (
        "deny: [{why: w, from: '9999-12-31T23:59:59-14:00'}]",
        "a.yaml:2:23: P201 deny.from: must lie in the years 1 to 9999 of UTC",
    ),
    "a key of two lines": (
        '"a\\nb": {}',
        "a.yaml:2:1: P203 unknown key 'a\\nb'",
    ),
    "no check of host keys": (
        "ssh_profiles: {p: {user: u, auth: {key: file:k}, host_keys: none}}",
        "a.yaml:2:61: P201 p.host_keys: must be a mapping",
    ),
}


@pytest.mark.parametrize("name", TEXTS)
def test_each_refused_construct(name: str) -> None:
    """One construct, one message: its place, its code, what is wrong, and how to mend it where that is not plain."""
    text, message = TEXTS[name]
    assert said(text) == [message]


# The folder.


def folder_says(folder: Path) -> list[str]:
    return [str(finding).replace(str(folder), "POLICIES") for finding in load(folder, INPUTS).findings]


def test_a_folder_that_is_not_there(tmp_path: Path) -> None:
    """A folder that has disappeared is one finding, and nothing is loaded."""
    assert folder_says(tmp_path / "gone") == [
        "POLICIES: P101 the policy folder does not exist\n    hint: name the folder of the policy, or make one with 'cmdhttp init DIR'"
    ]


def test_an_unreadable_file(tmp_path: Path) -> None:
    """A file that cannot be opened is named; root may read everything, so a link to itself stands in for a mode."""
    (tmp_path / "a.yaml").symlink_to("a.yaml")
    assert folder_says(tmp_path) == [
        "POLICIES/a.yaml: P102 this cannot be read: Too many levels of symbolic links\n    hint: mend or remove it"
    ]


def test_everything_wrong_with_a_folder_comes_at_once(tmp_path: Path) -> None:
    """Text, shape and references of several files, and a warning, in one list by file and line."""
    tmp_path.chmod(0o755)
    for name, text in {
        "a.yaml": "version: 1\ncommands: {c: {on: local, run: [c]}}\ncallbacks: {x: {url: file:u}}\n",
        "b.yaml": "version: 1\nroles: {r: [{commands: d, hosts: local}]}\n",
        "c.yaml": "version: 1\ngrants: [{to: p, role: r}]\n",
    }.items():
        (tmp_path / name).write_text(text)
        (tmp_path / name).chmod(0o644)
    loaded = load(tmp_path, INPUTS)
    assert [(finding.code, finding.severity.value) for finding in loaded.findings] == [
        ("P301", "error"),
        ("P216", "warning"),
        ("P205", "error"),
        ("P203", "error"),
    ]
    assert ([len(loaded.errors), len(loaded.warnings)], loaded.policy, loaded.outcomes) == ([3, 1], None, ())
    with pytest.raises(PolicyError) as caught:
        load_policy(tmp_path, INPUTS)
    assert caught.value.findings == loaded.errors


@pytest.mark.parametrize(
    ("may_switch", "fields", "codes"),
    [
        (True, "as: www, ", []),
        (True, "", ["P324"]),
        (None, "as: www, ", []),
        (None, "", []),
        (False, "as: www, ", ["P208"]),
    ],
)
def test_whether_accounts_can_be_switched_is_known_by_who_loads(
    tmp_path: Path, may_switch: bool | None, fields: str, codes: list[str]
) -> None:
    """The same folder loads for a service that runs as root, for a check that cannot know, and not for any other service."""
    tmp_path.chmod(0o755)
    (tmp_path / "a.yaml").write_text(
        f"version: 1\ncommands: {{c: {{on: local, run: [/bin/true], effect: read, {fields}timeout: 5s}}}}\n"
    )
    (tmp_path / "a.yaml").chmod(0o644)
    loaded = load(tmp_path, replace(INPUTS, may_switch=may_switch))
    found = [finding.code for finding in loaded.findings]
    assert [code for code in found if code in ("P208", "P324")] == codes
    assert (loaded.policy is None) is ("P208" in codes)


def test_a_failed_test_keeps_a_policy_out(tmp_path: Path) -> None:
    """A policy that does not pass its own tests does not load, though it is there to be looked at."""
    text = (
        "version: 1\ncommands: {c: {on: local, run: [/bin/c]}}\nprincipals: {p: {}}\n"
        "tests: [{as: p, run: c, on: local, expect: allow}]\n"
    )
    path = tmp_path / "a.yaml"
    path.write_text(text)
    tmp_path.chmod(0o755)
    path.chmod(0o644)
    loaded = load(tmp_path, INPUTS)
    assert loaded.policy is None
    assert loaded.compiled is not None
    assert [finding.code for finding in loaded.errors] == ["P501"]
    path.write_text(text.replace("expect: allow", "expect: deny"))
    assert load_policy(tmp_path, INPUTS).commands.keys() == {"c"}


@pytest.mark.parametrize("collecting", [True, False])
def test_the_collector_rests_during_a_load(collecting: bool, tmp_path: Path) -> None:
    """The garbage collector rests during a load and is then as it was before, also when the load fails."""
    rested: list[bool] = []

    def resolve(command: Command, values: Mapping[str, Value]) -> tuple[str, ...]:
        rested.append(not gc.isenabled())
        return resolve_argv(command, values)

    text = "tests: [{as: p, run: c, on: local, expect: deny, argv: [/bin/c]}]\n"
    (tmp_path / "a.yaml").write_text(
        "version: 1\ncommands: {c: {on: local, run: [/bin/c]}}\nprincipals: {p: {}}\n" + text
    )
    was = gc.isenabled()
    try:
        (gc.enable if collecting else gc.disable)()
        for folder in (tmp_path, tmp_path / "missing"):
            load(folder, replace(INPUTS, resolve=resolve))
            assert gc.isenabled() is collecting
    finally:
        (gc.enable if was else gc.disable)()
    assert rested == [True]


# Values of fields, one by one: what a field makes of a value that is one already.


@pytest.mark.parametrize(
    ("read", "value", "result"),
    [
        (fields.read_int, 5, 5),
        (fields.read_number, 5, 5.0),
        (fields.read_number, "-0.5", -0.5),
        (fields.read_bool, True, True),
        (fields.read_bool, "false", False),
        (fields.read_duration, 1.5, 1.5),
        (fields.read_duration, "1d2h3m4s5ms", 93784.005),
        (fields.read_size, 7, 7),
        (fields.read_size, "2TiB", 2 << 40),
        (fields.read_rate, Rate(count=1, seconds=1), Rate(count=1, seconds=1)),
        (fields.read_instant, datetime(2026, 1, 1, tzinfo=UTC), datetime(2026, 1, 1, tzinfo=UTC)),
        (fields.read_instant, "2026-12-20T08:00:00+02:00", datetime(2026, 12, 20, 6, tzinfo=UTC)),
        (fields.read_instant, "9999-12-31T23:59:59+14:00", datetime(9999, 12, 31, 9, 59, 59, tzinfo=UTC)),
        (fields.read_duration, "999999999d", 999999999 * 86400.0),
    ],
)
def test_values_of_fields(read: object, value: object, result: object) -> None:
    """Text becomes the value; a value that was read before stays as it is."""
    assert callable(read)
    assert read(value) == result


@pytest.mark.parametrize(
    ("read", "message"),
    [
        (fields.read_int, "must be a whole number, like 30"),
        (fields.read_number, "must be a number, like 0.5"),
        (fields.read_bool, "must be true or false"),
        (fields.read_duration, "must be a duration, like 30s, 2m or 1h30m"),
        (fields.read_size, "must be a size, like 1MiB"),
        (fields.read_rate, "must be a rate, like 30/h"),
        (fields.read_instant, "must be a date, like 2026-12-20"),
        (fields.read_name, "must be a name"),
        (fields.read_param_name, "must be a parameter name"),
    ],
)
@pytest.mark.parametrize("value", [[], MappingProxyType({}), None])
def test_a_field_that_is_no_text(read: object, message: str, value: object) -> None:
    """A list or a mapping where a plain value belongs is told what belongs there."""
    assert callable(read)
    with pytest.raises(ValueError, match="must be") as caught:
        read(value)
    assert str(caught.value) == message


def test_a_name_of_a_parameter() -> None:
    """Parameter names become variables and placeholders, so they are small letters, digits and '_'."""
    assert fields.read_param_name("a_1") == "a_1"
    with pytest.raises(ValueError, match="must be a parameter name: a small letter"):
        fields.read_param_name("A")
