"""Whatever an admin writes, the schema refuses nothing that the loader takes, and lets pass only what it cannot know.

`CMDHTTP_FUZZ=N` mutates N / 100 policies instead of 200. A failure prints the seed and the file.
"""

import copy
import json
import os
import random
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from cmdhttp.policy.compile import Folders, compile_all
from cmdhttp.policy.files import SourceFile
from cmdhttp.policy.findings import Finding, Severity
from cmdhttp.policy.merge import collect
from cmdhttp.policy.schema import policy_schema
from tests.support.editor import plain_value, read_with

FILES = int(os.environ.get("CMDHTTP_FUZZ", "10000")) // 50
PARTS = 4
SCHEMA = policy_schema()
VALIDATOR = Draft202012Validator(SCHEMA)
EXAMPLE = Path(__file__).parents[2] / "docs" / "reference" / "policy.md"

TYPES = """\
version: 1
commands:
  types:
    run: [/bin/echo, <enum>, <int>, <number>, <bool>, <string>, <ip>, <cidr>, <hostname>, <port>, <username>, <email>, <uuid>,
      <hash>, <date>, <datetime>, <duration>, <path>, <filename>, <url>, "<list...>"]
    params:
      enum: {type: enum, values: [a, 7, true], default: 7, summary: one of them}
      int: {type: int, min: 1, max: "9", default: 5}
      number: {type: number, min: 0.5, max: 9, default: 1.5}
      bool: {type: bool, default: false}
      string: {type: string, pattern: "[a-z0-9]+", min_length: 1, max_length: 9, unicode: false, default: 7}
      ip: {type: ip, version: 4, in: [10.0.0.0/8], not_in: [10.1.0.0/16], default: 10.0.0.1}
      cidr: {type: cidr, version: 6, min_prefix: 8, max_prefix: 64, default: "2001:db8::/32"}
      hostname: {type: hostname, under: [example.com], default: a.example.com}
      port: {type: port, min: 1024, max: 2048, default: 1025}
      username: {type: username, pattern: "[a-z]+", default: root}
      email: {type: email, under: [example.com], default: a@example.com}
      uuid: {type: uuid, default: 123e4567-e89b-42d3-a456-426614174000}
      hash: {type: hash, algorithms: [md5, sha1], default: "11111111111111111111111111111111"}
      date: {type: date, min: 2026-01-01, max: 2026-12-31, default: 2026-05-05}
      datetime: {type: datetime, min: 2026-01-01, max: "2026-12-31T00:00:00Z", default: "2026-05-05T10:00:00+02:00"}
      duration: {type: duration, min: 500ms, max: 1h30m, default: 1m}
      path: {type: path, under: [/var, /srv], default: /var}
      filename: {type: filename, hidden: true, pattern: ".*", default: .a}
      url: {type: url, schemes: [https, http], hosts: ["*.example.com"], ports: [443, "8443"], max_length: 99,
        default: "https://a.example.com/"}
      list: {type: list, of: {type: int, min: 1}, min_items: 1, max_items: 5, unique: true, default: [1, "2"]}
    on: local
    max_parallel: 3
    rate: 5/s
  rich:
    script: "true"
    interpreter: sh
    args: [<flag>, [<maybe>]]
    params:
      json: {type: json, max: 1KiB, max_depth: 4, default: '{"a": 1}'}
      secret: {type: secret, min_length: 2, max_length: 9, max: 1KiB}
      file: {type: file, max: 1KiB, hidden: true}
      flag: {type: bool, flag: --verbose, required: true}
      maybe: {type: int, required: false, leading_dash: true}
    concurrency: {per_host: 1, total: 2, when_busy: queue}
    output: {max: 1MiB, when_full: keep_ends}
    effect: destroy
    tags: [one, 2]
    on: [local]
principals:
  p: {}
roles:
  r:
    - commands: types
      hosts: local
      params: {int: {max: 5, values: [1, 2]}, ip: {in: [10.2.0.0/16]}, enum: [a, 7], list: {max_items: 2}}
    - {commands: [{tag: one}, {effect: read}], hosts: [[local], web-all]}
deny:
  - {why: 7, to: [p, "role:r"], commands: {effect: destroy}, hosts: {role: [web, db]}, params: {flag: true}, until: 2026-12-20}
"""

LAXER = (
    "default: ",  # whether it fits the rest of the parameter
    "drop 'required|say it of the |cannot be an item",  # keys that do not go together
    "no value could pass|negative number starts",  # bounds that do not go together
    "longer than zero",
    "must be 1 to 65535",
    "empty list allows nothing|at least one|listed twice|value [0-9]+(:| is empty)|flag: must not be empty",
    "the pattern |look-around is|back-references are|verbose mode",  # the grammar of patterns
    "must be a (network|host|domain name), like",  # the grammar of a text
)
"""What only the loader knows, by the words of its message; beside these, how a number or switch is spelled (007, True)."""

_LAXER = re.compile("|".join(LAXER))


@dataclass(frozen=True, slots=True)
class Leaf:
    text: str
    quoted: bool


def example() -> list[Any]:
    blocks = re.findall(r"^```yaml\n(version: 1.*?)^```$", EXAMPLE.read_text(), re.MULTILINE | re.DOTALL)
    return [read_with(text, Leaf) for text in (*blocks, TYPES)]


def written(node: Any) -> str:
    """YAML of a tree. Only what an editor would not read as text is written without quotes."""
    if isinstance(node, dict):
        return "{" + ", ".join(f"{json.dumps(key)}: {written(value)}" for key, value in node.items()) + "}"
    if isinstance(node, list):
        return "[" + ", ".join(map(written, node)) + "]"
    plain = not node.quoted and not isinstance(plain_value(node.text), str)
    return (node.text or "~") if plain else json.dumps(node.text)


def seen(node: Any, *, quoted: bool = False) -> Any:
    """What an editor sees of a tree; `quoted` as if all its values stood in quotes."""
    if isinstance(node, dict):
        return {key: seen(value, quoted=quoted) for key, value in node.items()}
    if isinstance(node, list):
        return [seen(item, quoted=quoted) for item in node]
    return node.text if quoted or node.quoted else plain_value(node.text)


def as_file(number: int, tree: Any) -> SourceFile:
    return SourceFile(path=f"{number}.yaml", data=written(tree).encode())


def places(node: Any) -> Iterator[tuple[Any, Any]]:
    """Every container with each of its keys or indexes."""
    if isinstance(node, Leaf):
        return
    for key, value in list(node.items() if isinstance(node, dict) else enumerate(node)):
        yield node, key
        yield from places(value)


PLAIN = ("true", "false", "True", "7", "-1", "0", "007", "0x1f", "1.5", "1e3", ".inf", "~", "null", "99999", "none")
QUOTED = ("7", "true", "", "x", "local", "30s", "1MiB", "5/s", "2026-12-20", "2026-13-40", "*", "a b", "[", "/x", "-x")


def other(chance: random.Random, value: Any, trees: list[Any]) -> Any:
    """A value to stand in place of another."""
    match chance.randrange(8):
        case 0 | 1:
            return Leaf(chance.choice(PLAIN), quoted=False)
        case 2:
            return Leaf(chance.choice(QUOTED), quoted=True)
        case 3:
            return [] if chance.random() < 0.3 else [Leaf(chance.choice(PLAIN), quoted=False)]
        case 4:
            return {} if chance.random() < 0.3 else {"a": Leaf("7", quoted=False)}
        case 5:
            return [value]
        case 6:
            return value[0] if isinstance(value, list) and value else Leaf("local", quoted=True)
        case _:
            holder, key = chance.choice(list(places(chance.choice(trees))))
            return copy.deepcopy(holder[key])


def mutate(chance: random.Random, tree: Any, trees: list[Any]) -> None:
    """Change one place: drop it, rename it, copy it, or put another value there."""
    holder, key = chance.choice(list(places(tree)))
    match chance.randrange(6):
        case 0:
            del holder[key]
        case 1 if isinstance(holder, dict):
            name = chance.choice([f"{key}x", str(key)[1:] or "y", str(key).upper(), "local", "a b", "on", "type", "7"])
            holder[name] = holder.pop(key)
        case 2 if isinstance(holder, list):
            holder.append(copy.deepcopy(holder[key]))
        case _:
            holder[key] = other(chance, holder[key], trees)


def loader_says(files: list[SourceFile]) -> tuple[list[Finding], list[Finding]]:
    """The errors of reading, and those of compiling what could be read."""
    merged = collect(files)
    folders = Folders(policies=Path("/nowhere"), secrets=Path("/secrets"), parsers=("df", "json"))
    made = compile_all(merged, folders=folders, digest="sha256:0")
    return merged.findings, [finding for finding in made.findings if finding.severity is Severity.ERROR]


def test_the_policies_to_start_from_are_right() -> None:
    """Neither the loader nor the schema has anything to say before they are changed."""
    trees = example()
    assert loader_says([as_file(number, tree) for number, tree in enumerate(trees)]) == ([], [])
    assert [error.message for tree in trees for error in VALIDATOR.iter_errors(seen(tree))] == []


@pytest.mark.timeout(120 if FILES <= 200 else 0)
@pytest.mark.parametrize("part", range(PARTS))
def test_no_false_alarm(part: int) -> None:
    """What the loader takes passes; what it refuses fails, or is of a kind that the schema cannot know."""
    chance = random.Random(part)
    trees = example()
    files = [as_file(number, tree) for number, tree in enumerate(trees)]
    taken = caught = 0
    for number in range(FILES // PARTS):
        chosen = chance.randrange(len(trees))
        tree = copy.deepcopy(trees[chosen])
        for _ in range(chance.choice((1, 1, 2))):
            mutate(chance, tree, trees)
        unread, uncompiled = loader_says([*files[:chosen], as_file(chosen, tree), *files[chosen + 1 :]])
        passes = VALIDATOR.is_valid(seen(tree))
        told = f"seed {part}, file {number}: {written(tree)}"
        if not unread and not uncompiled:
            assert passes, told
            taken += 1
        elif passes and VALIDATOR.is_valid(seen(tree, quoted=True)):
            assert [finding.message for finding in unread if not _LAXER.search(finding.message)] == [], told
        caught += bool(not passes and unread)
    assert taken > FILES // PARTS // 10
    assert caught > FILES // PARTS // 3


def leaves(node: Any) -> Iterator[tuple[dict[str, Any], dict[str, Any]]]:
    """Every schema of text with a pattern, and the schema around it that says what else may stand there."""
    if isinstance(node, list):
        for below in node:
            yield from leaves(below)
    elif isinstance(node, dict):
        text = node["anyOf"][0] if isinstance(node.get("anyOf"), list) else node
        if text.get("type") == "string" and isinstance(text.get("pattern"), str):
            yield text, node
        else:
            yield from leaves(list(node.values()))


LEAVES = list(leaves(SCHEMA))
numerals = st.from_regex(
    r"[-+]?[0-9]{1,64}|[0-9]{1,20}\.[0-9]{0,9}|\.[0-9]{1,9}|[0-9]{1,5}[eE][0-9]{1,3}|0x[0-9a-f]{1,9}", fullmatch=True
)
words = st.sampled_from(["true", "True", "TRUE", "false", "False", "FALSE", "null", "Null", "NULL", "~", ""])


@settings(max_examples=400, deadline=None)
@given(
    st.text(alphabet="0123456789", min_size=8, max_size=8)
    | st.text(alphabet="0123456789", min_size=64, max_size=64)
    | numerals
    | words
)
def test_unquoted_text_passes_where_its_text_does(text: str) -> None:
    """A number, switch or nothing in an editor passes wherever the same text in quotes would."""
    assert len(LEAVES) > 40
    for leaf, around in LEAVES:
        if len(text) >= leaf.get("minLength", 0) and re.search(leaf["pattern"], text):
            assert Draft202012Validator(around).is_valid(plain_value(text)), leaf["pattern"]
