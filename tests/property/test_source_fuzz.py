"""Whatever bytes are in a policy file, reading it ends in a tree or in a PolicyError.

`CMDHTTP_FUZZ=N` mutates N files instead of 10,000; `make test LONG=1`, 20,000. A failure prints the seed and the bytes.
"""

import json
import os
import random
from collections.abc import Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cmdhttp.policy import source, yaml_events
from cmdhttp.policy.findings import PolicyError
from cmdhttp.policy.source import MAX_FINDINGS, Mapping, Node, Scalar, Sequence, locate, read_source, to_plain
from tests.support.damage import damaged_text

FILES = int(os.environ.get("CMDHTTP_FUZZ", "10000"))
PARTS = 2

POLICIES = (
    b"""\
# hosts.yaml
version: 1
ssh_profiles:
  linux:
    user: cmdhttp
    auth: {certificate: {ca: main, ttl: 60s, principal: cmdhttp-<account>}}   # or {key: file:ops_ed25519}
    host_keys: {cert_authority: keys/host_ca.pub}
    jump: bastion
    shell: posix
hosts:
  bastion: {address: 10.0.0.5, ssh: linux, labels: {role: bastion, env: prod}}
  web2:    {address: 10.0.1.12, port: 2222, ssh: linux, labels: {role: web, env: staging}}
groups: {web-all: {role: web}, prod: {env: prod}}
""",
    b"""\
version: 1
commands:
  log.search:
    summary: Search the journal of a unit
    effect: read
    run:
      - /usr/bin/journalctl
      - [--since, <since>]                            # left out whole when its value is absent
      - --unit=<unit>.service
    params:
      unit:  {type: enum, values: [nginx, redis, app-worker]}
      text:  {type: string, pattern: "[A-Za-z0-9 ._:/-]{1,80}", required: false}
    on: {role: [web, db]}
    output: {max: 1MiB, redact: ["(?i)bearer [a-z0-9._-]+"]}
""",
    b"""\
version: 1
commands:
  db.rotate-password:
    summary: >-
      Set a new password,
      read from stdin
    script: |
      set -eu
      exec /usr/local/sbin/db-passwd --user "$P_ACCOUNT" --stdin
    interpreter: sh
    params: {account: {type: string, pattern: '[a-z][a-z0-9_]{2,15}'}}
    limits: {memory: 256MiB, cpu: 20s, processes: 32, files: 256}
    approval: {needed: 1, by: [role:dba-oncall], not_self: true, within: 15m}
""",
    b"""\
version: 1
principals:
  tines-prod:
    tokens:
      - {id: k7Qm2ZpA, sha256: "9f2c...", expires: 2027-01-31}
    from: [198.51.100.0/24]
roles:
  web-operator:
    - {commands: [service.restart], hosts: {role: web}, params: {unit: [nginx, app-worker]}}
    - {commands: [log.search, disk.usage], hosts: "*"}
grants:
  - {to: [tines-prod], roles: [web-operator]}
deny:
  - {why: year-end freeze, to: "*", commands: {effect: change}, hosts: {env: prod}, from: 2026-12-20}
""",
)


def mutated(chance: random.Random) -> bytes:
    return damaged_text(chance, POLICIES)


def outcome(data: bytes) -> Mapping | PolicyError:
    try:
        return read_source(data, file="fuzz.yaml")
    except PolicyError as error:
        return error


def nodes(root: Node) -> Iterator[Node]:
    waiting = [root]
    while waiting:
        node = waiting.pop()
        yield node
        if isinstance(node, Sequence):
            waiting.extend(node.items)
        elif isinstance(node, Mapping):
            waiting.extend(part for entry in node.entries for part in entry)


def check(data: bytes) -> None:
    """What holds for every file: a sound tree, or findings that can be shown, inside the file."""
    result = outcome(data)
    if isinstance(result, PolicyError):
        lines = data.count(b"\n") + 1
        assert 0 < len(result.findings) <= MAX_FINDINGS + 1
        for finding in result.findings:
            assert finding.code.startswith("P1")
            assert finding.message.isprintable()
            assert 0 <= finding.at.line <= lines + 1
        return
    for node in nodes(result):
        if isinstance(node, Scalar):
            assert not source._HIDDEN_VALUE.search(node.text)
        elif isinstance(node, Mapping):
            names = [name.text for name, _ in node.entries]
            assert len(set(names)) == len(names)
            assert "" not in names
    to_plain(result)
    locate(result, ("commands", 0, "run", "[key]"))


def bare(root: Node) -> list[tuple[object, ...]]:
    """The tree, but for the places of empty values, where the parsers differ."""
    return [
        (type(node), node.text and node.at, node.text, node.quoted)
        if isinstance(node, Scalar)
        else (type(node), node.at)
        for node in nodes(root)
    ]


@pytest.mark.timeout(120 if FILES <= 20_000 else 0)
@pytest.mark.parametrize("part", range(PARTS))
def test_mutated_policies_end_in_a_tree_or_a_policy_error(part: int) -> None:
    """Ten thousand damaged policies: no other exception, no broken tree, no message that cannot be shown."""
    chance = random.Random(part)
    for number in range(FILES // PARTS):
        data = mutated(chance)
        try:
            check(data)
        except BaseException as error:
            error.add_note(f"seed {part}, file {number}: {data!r}")
            raise


@pytest.mark.timeout(120 if FILES <= 20_000 else 0)
def test_both_parsers_never_make_two_trees(monkeypatch: pytest.MonkeyPatch) -> None:
    """With or without the C library, a file gives the same tree, or one of the two refuses it."""
    chance = random.Random(PARTS)
    agreed = 0
    for number in range(FILES // 10):
        data = mutated(chance)
        results = []
        for parser in (yaml_events.PARSER, yaml_events.PythonParser):
            with monkeypatch.context() as patch:
                patch.setattr(yaml_events, "PARSER", parser)
                results.append(outcome(data))
        trees = [bare(result) for result in results if isinstance(result, Mapping)]
        assert len(trees) < 2 or trees[0] == trees[1], f"seed {PARTS}, file {number}: {data!r}"
        agreed += len(trees) == 2
    assert agreed > FILES // 100


@settings(deadline=None)
@given(st.binary(max_size=300) | st.text(max_size=300).map(lambda text: text.encode("utf-8", "surrogatepass")))
def test_any_bytes_end_in_a_tree_or_a_policy_error(data: bytes) -> None:
    """Bytes that were never a policy do no harm either."""
    check(data)


shown = st.characters(exclude_categories=["C"]) | st.sampled_from(" \t\n'\"\\:#-?")
visible = st.text(shown.filter(lambda char: not source._HIDDEN_VALUE.match(char)), max_size=12)
values = st.recursive(
    visible,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(visible.filter(bool), inner, max_size=4),
    max_leaves=20,
)


@settings(deadline=None)
@given(st.dictionaries(visible.filter(bool), values, min_size=1, max_size=4), st.sampled_from([None, 1]))
def test_json_is_read_as_it_stands(data: dict[str, object], indent: int | None) -> None:
    """Every JSON document of texts, lists and objects is a policy text with exactly that content."""
    text = json.dumps(data, ensure_ascii=False, indent=indent)
    assert to_plain(read_source(text.encode(), file="a.yaml")) == data
