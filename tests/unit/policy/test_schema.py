"""The JSON Schema for editors: complete, explained, and in accord with the loader."""

import re
from collections.abc import Iterator
from pathlib import Path
from textwrap import dedent
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from cmdhttp.policy.findings import Severity
from cmdhttp.policy.model import PolicyFile
from cmdhttp.policy.params import PARAM_TYPES
from cmdhttp.policy.schema import _RULES, policy_schema
from tests.support.editor import plain_value, read_as_editor
from tests.unit.policies import judged

ROOT = Path(__file__).parents[3]
SCHEMA = policy_schema()
VALIDATOR = Draft202012Validator(SCHEMA)
RUN = "run: [/bin/x], on: local"


def complaints(text: str) -> list[str]:
    """What an editor says of a file; `version: 1` is put before the text."""
    document = read_as_editor("version: 1\n" + dedent(text))
    return [f"{error.json_path}: {error.message}" for error in VALIDATOR.iter_errors(document)]


def refused(text: str) -> list[str]:
    """The errors of the loader."""
    made, found = judged(text)
    warnings = {str(finding) for finding in made.findings if finding.severity is Severity.WARNING}
    return [finding for finding in found if finding not in warnings]


def nodes(node: Any) -> Iterator[dict[str, Any]]:
    """Every mapping of the schema, with those that hold properties by name."""
    if isinstance(node, dict):
        yield node
        for below in node.values():
            yield from nodes(below)
    elif isinstance(node, list):
        for below in node:
            yield from nodes(below)


def properties() -> Iterator[tuple[str, Any]]:
    """Every property with its schema, but not those of conditions."""
    for node in nodes(SCHEMA):
        for name, each in node.get("properties", {}).items():
            if "const" not in each:
                yield name, each


def command(text: str) -> str:
    return f"commands: {{c: {{{RUN}, {text}}}}}"


def param(text: str) -> str:
    return f"commands: {{c: {{run: [/bin/x], on: local, params: {{a: {{{text}}}}}}}}}"


def test_it_is_json_schema() -> None:
    """It is a JSON Schema of 2020-12, with a name."""
    Draft202012Validator.check_schema(SCHEMA)
    assert SCHEMA["$schema"] == "https://json-schema.org/draft/2020-12/schema"
    assert SCHEMA["$id"] == "urn:cmdhttp:policy:1"
    assert SCHEMA["title"] == "cmdhttp policy"


def test_every_property_is_explained() -> None:
    """Every key that a file may have is described in one sentence."""
    found = dict(properties())
    assert set(found) >= set(PolicyFile.model_fields) | {"run", "under", "per_host", "min"}
    assert {name for name, each in properties() if not re.fullmatch(r"\S.*\.", each.get("description", ""))} == set()


def test_every_reference_leads_somewhere() -> None:
    """No reference is dead, and no definition is left over."""
    used = {node["$ref"] for node in nodes(SCHEMA) if isinstance(node.get("$ref"), str)}
    assert used == {f"#/$defs/{name}" for name in SCHEMA["$defs"]}
    assert set(_RULES) <= set(SCHEMA["$defs"])


def test_every_mapping_is_closed() -> None:
    """A mapping with known keys takes no others, and one with names says what a name is."""
    for node in nodes({name: each for name, each in SCHEMA.items() if name != "properties"}):
        if node.get("type") == "object" and "properties" in node and "allOf" not in node:
            assert node["additionalProperties"] is False
        if isinstance(node.get("propertyNames"), dict):
            assert set(node["propertyNames"]) == {"pattern", "errorMessage"}
    assert SCHEMA["additionalProperties"] is False


def test_it_says_nothing_of_python() -> None:
    """No title but its own, no null, and no pattern that ECMA 262 does not have."""
    assert [node for node in nodes(SCHEMA) if isinstance(node.get("title"), str)] == [SCHEMA]
    assert [node for node in nodes(SCHEMA) if node.get("type") == "null"] == []
    patterns = [node["pattern"] for node in nodes(SCHEMA) if isinstance(node.get("pattern"), str)]
    assert len(patterns) > 20
    assert [text for text in patterns if re.search(r"\\[AZz]|\(\?P|\(\?[a-z]+\)", text)] == []
    assert [text for text in patterns if not text.startswith("^")] == []


def test_words_to_choose_from_read_as_they_stand() -> None:
    """Each value of an enumeration is what an editor reads where it stands without quotes, or has such a twin."""
    for node in nodes(SCHEMA):
        values = node["enum"] if isinstance(node.get("enum"), list) else []
        assert [value for value in values if plain_value(str(value)) not in values] == []


@pytest.mark.parametrize("path", sorted((ROOT / "policies").rglob("*.yaml")), ids=lambda path: path.name)
def test_the_example_policies_pass(path: Path) -> None:
    """An editor says nothing of the policies that newcomers copy."""
    assert list(VALIDATOR.iter_errors(read_as_editor(path.read_text()))) == []


@pytest.mark.parametrize(
    "text",
    [
        "commands: {c: {run: [/bin/sleep, 30, true, ~, 1.5, 0x1f], on: local}}",
        "commands: {c: {run: [/bin/x, [1, true]], on: [[local], local]}}",
        command("summary: 5, description: null, tags: [1, true, null]"),
        command("summary: "),
        command("env: {A: 1, TRUE: true, NULL: null}, success_codes: ['0', 1], max_parallel: '5'"),
        command("batch: 10, max_failures: 0"),
        command("batch: '1', max_failures: 100%"),
        command("batch: 100%, max_failures: '0%'"),
        command("timeout: 1h30m, rate: 5/min, output: {max: 1KiB, redact: [7]}, reason: required"),
        command("approval: {by: [p, p], needed: '1', not_self: 'false', within: 10m}") + "\nprincipals: {p: {}}",
        "commands: {c: {script: 5, interpreter: sh, args: [5, [6]], on: local}}",
        param("type: int, min: '1', max: 9, default: 5, summary: 5, required: false, leading_dash: 'true'"),
        param("type: bool, default: true, flag: -v"),
        param("type: enum, values: [1, true, 1.5, nginx], default: 1"),
        param("type: number, min: 1, max: 1.5"),
        param("type: string, pattern: 5, max_length: '9'"),
        param("type: ip, version: 4") + "\n",
        param("type: cidr, version: '6', in: ['::/0']"),
        param("type: date, min: 2026-01-01, max: 2026-12-31"),
        param("type: datetime, min: 2026-01-01, max: '2026-12-31T10:00:00+01:00'"),
        param("type: duration, min: 500ms, max: 1d2h3m4s5ms"),
        param("type: list, of: {type: int}, default: [1, '2']"),
        param("type: json, default: '{}', max: 1KiB"),
        param("type: json, default: 7"),
        """
        hosts: {1: {address: 1.5, ssh: 7, port: '22', labels: {1: 2, a: true}}}
        ssh_profiles: {7: {user: null, auth: {key: file:k}, host_keys: {known_hosts: 5}, port: 22, jump: none}}
        """,
        """
        ssh_profiles: {a: {user: true, auth: {certificate: {ca: 1, ttl: 1m, principal: 5}}, host_keys: {known_hosts: k}}}
        ssh_authorities: {1: {key: file:5}, b: {agent: /a, public_key: 5}}
        """,
        """
        ssh_profiles:
          a: {user: u, auth: {certificate: {ca: b, source_address: 10.0.0.0/8}}, host_keys: {cert_authority: 5}}
          c: {inherit: a, auth: {certificate: {ca: b, source_address: ['::1', 1.2.3.4]}}}
          d: {inherit: a, auth: {certificate: {ca: b, source_address: none}}}
        ssh_authorities: {b: {key: env:K}}
        """,
        "groups: {g: local}",
        "principals: {p: {tokens: [{id: 12345678, sha256: "
        + "7" * 64
        + ", expires: 2027-01-31}], from: 10.0.0.0/8, limits: {rate: 5/s, queue: '0'}}}",
        "principals: {p: {tokens: [{id: 1234e567, sha256: '" + "a" * 64 + "', expires: 2027-01-31T00:00:00Z}]}}",
        "principals: {p: {oidc: {issuer: 'https://a.b', aud: 7, email: true}}}",
        command("params: {a: {type: int}}") + "\nroles: {r: [{commands: c, hosts: local, params: {a: 5}}]}",
        command("params: {a: {type: int}}")
        + "\nroles: {r: [{commands: [c], hosts: '*', params: {a: {max: 5, values: [1]}}}]}",
        command("tags: [1]") + "\ndeny: [{why: 5, commands: {tag: 1}, hosts: local, from: 2026-01-01}]",
        command("effect: read") + "\ndeny: [{why: x, commands: [{effect: read}, c], to: '*'}]",
        "callbacks: {c: {url: file:u, sign: env:K}}",
        command("tags: []")
        + "\nprincipals: {1: {}}\ntests: [{as: 1, run: c, on: local, expect: deny, argv: [1], name: 5}]",
        "grants: []\ndeny: []\ntests: []\nroles: {}",
    ],
)
def test_what_the_loader_takes_passes(text: str) -> None:
    """What an admin may write without quotes, and what with, is right for both."""
    assert refused(text) == []
    assert complaints(text) == []


@pytest.mark.parametrize("spelling", ["1", "'1'", '"1"'])
def test_the_version_passes(spelling: str) -> None:
    """The version may stand with quotes and without."""
    assert VALIDATOR.is_valid(read_as_editor(f"version: {spelling}\n"))


@pytest.mark.parametrize("text", ["", "version: 2", "version: '2'", "version: true", "version: [1]", "version:"])
def test_another_version_fails(text: str) -> None:
    """No other version passes, nor a file without one."""
    assert not VALIDATOR.is_valid(read_as_editor(f"{text}\nhosts: {{}}\n"))


@pytest.mark.parametrize(
    ("text", "at"),
    [
        ("comands: {}", "$"),
        ("commands: []", "$.commands"),
        ("commands:", "$.commands"),
        ("commands: {c: }", "$.commands.c"),
        ("commands: {'a b': {run: [/bin/x], on: local}}", "$.commands"),
        ("commands: {c: {on: local}}", "$.commands.c"),
        ("commands: {c: {run: [/bin/x]}}", "$.commands.c"),
        ("commands: {c: {script: x, on: local}}", "$.commands.c"),
        ("commands: {c: {run: [/bin/x], script: x, interpreter: sh, on: local}}", "$.commands.c"),
        ("commands: {c: {run: [], on: local}}", "$.commands.c.run"),
        ("commands: {c: {run: /bin/x, on: local}}", "$.commands.c.run"),
        ("commands: {c: {run: [/bin/x, []], on: local}}", "$.commands.c.run[1]"),
        ("commands: {c: {run: [/bin/x, {a: b}], on: local}}", "$.commands.c.run[1]"),
        ("commands: {c: {run: [/bin/x], on: []}}", "$.commands.c.on"),
        ("commands: {c: {run: [/bin/x], on: {}}}", "$.commands.c.on"),
        ("commands: {c: {run: [/bin/x], on: {role: []}}}", "$.commands.c.on.role"),
        (command("time_out: 5s"), "$.commands.c"),
        (command("effect: chnage"), "$.commands.c.effect"),
        (command("effect: true"), "$.commands.c.effect"),
        (command("summary: [x]"), "$.commands.c.summary"),
        (command("timeout: 30"), "$.commands.c.timeout"),
        (command("timeout: ''"), "$.commands.c.timeout"),
        (command("timeout: 30 s"), "$.commands.c.timeout"),
        (command("timeout: 1s1m"), "$.commands.c.timeout"),
        (command("rate: 30"), "$.commands.c.rate"),
        (command("output: {max: 64}"), "$.commands.c.output.max"),
        (command("output: {when_full: wait}"), "$.commands.c.output.when_full"),
        (command("success_codes: [256]"), "$.commands.c.success_codes[0]"),
        (command("success_codes: [yes]"), "$.commands.c.success_codes[0]"),
        (command("success_codes: []"), "$.commands.c.success_codes"),
        (command("max_parallel: 1.5"), "$.commands.c.max_parallel"),
        (command("max_parallel: 0"), "$.commands.c.max_parallel"),
        (command("max_parallel: true"), "$.commands.c.max_parallel"),
        (command("batch: 0%"), "$.commands.c.batch"),
        (command("batch: 101%"), "$.commands.c.batch"),
        (command("batch: '25 %'"), "$.commands.c.batch"),
        (command("batch: [1]"), "$.commands.c.batch"),
        (command("batch: true"), "$.commands.c.batch"),
        (command("max_failures: -1%"), "$.commands.c.max_failures"),
        (command("max_failures: half"), "$.commands.c.max_failures"),
        (command("max_failures: 05%"), "$.commands.c.max_failures"),
        (command("concurrency: {when_busy: reject}"), "$.commands.c.concurrency"),
        (command("concurrency: {per_host: 1, when_busy: wait}"), "$.commands.c.concurrency.when_busy"),
        (command("approval: {by: p, not_self: no}") + "\nprincipals: {p: {}}", "$.commands.c.approval.not_self"),
        (command("env: {a: 1}"), "$.commands.c.env"),
        (command("as: 5"), "$.commands.c.as"),
        (param("min: 5"), "$.commands.c.params.a"),
        (param("type: strin"), "$.commands.c.params.a.type"),
        (param("type: int, pattern: x"), "$.commands.c.params.a"),
        (param("type: int, min: x"), "$.commands.c.params.a.min"),
        (param("type: string"), "$.commands.c.params.a"),
        (param("type: ip, version: 5"), "$.commands.c.params.a.version"),
        (param("type: hash, algorithms: [crc]"), "$.commands.c.params.a.algorithms[0]"),
        (param("type: date, min: 5"), "$.commands.c.params.a.min"),
        (param("type: secret, default: x"), "$.commands.c.params.a"),
        (param("type: list, of: {type: list}"), "$.commands.c.params.a.of.type"),
        (param("type: list, of: {type: int}, default: 5"), "$.commands.c.params.a.default"),
        (param("type: int, default: [5]"), "$.commands.c.params.a.default"),
        (param("type: url, schemes: [HTTPS]"), "$.commands.c.params.a.schemes[0]"),
        ("hosts: {h: {address: a, ssh: s, port: 0}}", "$.hosts.h.port"),
        ("hosts: {h: {address: a}}", "$.hosts.h"),
        ("ssh_profiles: {s: {auth: {}}}", "$.ssh_profiles.s.auth"),
        ("ssh_profiles: {s: {auth: {key: file:a, agent: /a}}}", "$.ssh_profiles.s.auth"),
        ("ssh_profiles: {s: {auth: {key: a}}}", "$.ssh_profiles.s.auth.key"),
        ("ssh_profiles: {s: {host_keys: {}}}", "$.ssh_profiles.s.host_keys"),
        ("ssh_authorities: {s: {}}", "$.ssh_authorities.s"),
        ("ssh_authorities: {s: {agent: /a}}", "$.ssh_authorities.s"),
        ("ssh_authorities: {s: {public_key: a}}", "$.ssh_authorities.s"),
        ("ssh_authorities: {s: {key: file:a, public_key: a}}", "$.ssh_authorities.s"),
        ("ssh_authorities: {s: {key: file:a, agent: /a, public_key: a}}", "$.ssh_authorities.s"),
        ("ssh_authorities: {s: {key: a}}", "$.ssh_authorities.s.key"),
        ("ssh_profiles: {s: {shell: bash}}", "$.ssh_profiles.s.shell"),
        ("ssh_profiles: {s: {become: su}}", "$.ssh_profiles.s.become"),
        ("principals: {p: {tokens: [{id: short, sha256: '" + "a" * 64 + "'}]}}", "$.principals.p.tokens[0].id"),
        ("principals: {p: {tokens: [{id: k7Qm2ZpA}]}}", "$.principals.p.tokens[0]"),
        ("principals: {p: {oidc: {issuer: 'https://a.b', aud: c}}}", "$.principals.p.oidc"),
        ("principals: {p: {oidc: {issuer: 'http://a.b', aud: c, email: d}}}", "$.principals.p.oidc.issuer"),
        ("principals: {p: {from: []}}", "$.principals.p.from"),
        ("roles: {r: {commands: '*', hosts: '*'}}", "$.roles.r"),
        ("roles: {r: [{commands: '*'}]}", "$.roles.r[0]"),
        (command("tags: [x]") + "\nroles: {r: [{commands: {efect: read}, hosts: '*'}]}", "$.roles.r[0].commands"),
        (command("tags: [x]") + "\nroles: {r: [{commands: {}, hosts: '*'}]}", "$.roles.r[0].commands"),
        (
            command("params: {a: {type: int}}") + "\nroles: {r: [{commands: c, hosts: '*', params: {a: {maxx: 5}}}]}",
            "$.roles.r[0].params.a",
        ),
        (
            command("params: {a: {type: int}}") + "\nroles: {r: [{commands: c, hosts: '*', params: {a: []}}]}",
            "$.roles.r[0].params.a",
        ),
        ("grants: [{to: p}]", "$.grants[0]"),
        ("deny: [{commands: '*'}]", "$.deny[0]"),
        ("deny: [{why: ''}]", "$.deny[0].why"),
        ("deny: [{why: x, from: tomorrow}]", "$.deny[0].from"),
        ("callbacks: {c: {url: 'https://a.b'}}", "$.callbacks.c.url"),
        ("tests: [{as: p, run: c, on: local, expect: allowed}]", "$.tests[0].expect"),
        ("tests: [{as: p, run: c, expect: deny}]", "$.tests[0]"),
    ],
)
def test_what_the_loader_refuses_fails(text: str, at: str) -> None:
    """A mistake in one definition shows in the editor, at the place where it is, as it shows in `check`."""
    assert refused(text) != []
    assert {said.partition(": ")[0] for said in complaints(text)} == {at}


@pytest.mark.parametrize("kind", PARAM_TYPES)
def test_a_parameter_is_judged_by_its_own_type(kind: str) -> None:
    """A key that its type does not have is the only complaint about a parameter of any type."""
    needed = {"enum": "values: [a]", "string": "pattern: a", "list": "of: {type: int}"}.get(kind, "summary: x")
    good, bad = param(f"type: {kind}, {needed}"), param(f"type: {kind}, {needed}, colour: red")
    assert complaints(good) == []
    (said,) = complaints(bad)
    assert "colour" in said
