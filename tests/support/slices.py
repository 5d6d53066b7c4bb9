"""Small policies that load, cut out of the real ones: one command each, with all that it needs and all that speaks of it.

The real ones are the blocks of `docs/reference/policy.md` and the folder `policies/`.
"""

import re
from functools import cache
from pathlib import Path
from typing import Any

from cmdhttp.policy.files import read_folder
from cmdhttp.policy.source import read_source, to_plain

ROOT = Path(__file__).parents[2]
POLICIES = ROOT / "policies"
PAGE = ROOT / "docs" / "reference" / "policy.md"

Doc = dict[str, Any]

_BLOCK = re.compile(r"^```yaml\n(version: 1.*?)^```$", re.MULTILINE | re.DOTALL)


@cache
def slices() -> tuple[Doc, ...]:
    """Every slice of every real policy, in plain text, lists and maps, as a file says them."""
    page = [block.encode() for block in _BLOCK.findall(PAGE.read_text())]
    folder = [file.data for file in read_folder(POLICIES)]
    return tuple(_slice(doc, name) for doc in (_merged(page), _merged(folder)) for name in doc["commands"])


def _merged(texts: list[bytes]) -> Doc:
    merged: Doc = {}
    for text in texts:
        plain: Any = to_plain(read_source(text, file="a.yaml"))
        for section, entries in plain.items():
            if isinstance(entries, list):
                merged[section] = merged.get(section, []) + entries
            elif isinstance(entries, dict):
                merged[section] = merged.get(section, {}) | entries
    return merged


def _slice(doc: Doc, name: str) -> Doc:
    command = doc["commands"][name]
    tests = [test for test in doc["tests"] if test["run"] == name][:2]
    roles = {role: _of(lines, name, command) for role, lines in doc["roles"].items()}
    roles = {role: lines for role, lines in roles.items() if lines}
    cut = {"commands": {name: command}, "roles": roles, "deny": _of(doc["deny"], name, command), "tests": tests}
    named = _words(tests) | roles.keys()
    grants = [{part: [who for who in many(grant[part]) if who in named] for part in grant} for grant in doc["grants"]]
    cut |= {"grants": [grant for grant in grants if grant["to"] and grant["roles"]]}
    return {"version": "1", **cut, **_needed(doc, cut), "callbacks": doc.get("callbacks", {})}


def _needed(doc: Doc, cut: Doc) -> Doc:
    """What the cut names, and what that names in turn; at least one host, for its labels."""
    needed: Doc = {section: {} for section in ("principals", "groups", "hosts", "ssh_profiles", "ssh_authorities")}
    words = _words(cut) | {next(iter(doc["hosts"]))}
    while more := [
        (section, name) for section in needed for name in doc.get(section, {}).keys() & words - needed[section].keys()
    ]:
        for section, name in sorted(more):
            needed[section][name] = doc[section][name]
        words = _words([cut, needed])
    return needed


def _words(tree: Any) -> set[str]:
    if isinstance(tree, str):
        return {tree}
    return {word for part in (tree.values() if isinstance(tree, dict) else tree) for word in _words(part)}


def _of(rules: list[Doc], name: str, command: Doc) -> list[Doc]:
    """The rules that take in the command, without the other commands that they name."""
    kept = []
    for rule in rules:
        selector = rule["commands"]
        if isinstance(selector, dict):
            taken = selector.get("effect") == command["effect"] or selector.get("tag") in command.get("tags", [])
        else:
            taken = name in many(selector)
        if taken:
            kept.append({**rule, "commands": selector if isinstance(selector, dict) else [name]})
    return kept


def many(value: Any) -> list[Any]:
    """One or many, as many."""
    return value if isinstance(value, list) else [value]
