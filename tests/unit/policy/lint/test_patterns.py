"""Patterns that take nearly everything."""

import pytest

from cmdhttp.policy.lint.patterns import wide_part
from tests.unit.policy.lint.linting import found, shown

WIDE = {
    r".*": ".*",
    r".+": ".+",
    r"[a-z]+.{2,}": ".{",
    r"a(?:.)*": ".)*",
    r"\S+": r"\S",
    r"\W": r"\W",
    r"\D{3}": r"\D",
    r"\P{L}": r"\P{L}",
    r"[^a]": "[^",
    r"[^]a]": "[^",
    r"[a\S]+": r"\S",
    r"[ -~]+": " -~",
    r"[\x20-\x7e]+": r"\x20-\x7e",
    r"[\x{21}-z]": r"\x{21}-z",
    r"[\u0021-~]": r"\u0021-~",
    r"[A-z]+": "A-z",
    r"[[:graph:]]+": "[:graph:]",
    r"[[:^alpha:]]+": "[:^alpha:]",
    r"[a-z[0-z]]": "0-z",
}
TIGHT = [
    r"[A-Za-z0-9 ._:/-]{1,80}",
    r"v[0-9]+\.[0-9]+",
    r"a\.*",
    r"a.b",
    r"a.?",
    r"[.*]+",
    r"[.]*",
    r"[a-z&&[^x]]+",
    r"[]a-z]+",
    r"[+--]",
    r"[à-ÿ]+",
    r"[!-/]",
    r"\d{4}-\d{2}",
    r"\w+",
    r"\s",
    r"\p{L}+",
    r"[[:alpha:]]+",
    r"[a-]",
    r"\[^a\]",
    r"a]",
    r"\x2e",
]


@pytest.mark.parametrize("pattern", WIDE)
def test_wide(pattern: str) -> None:
    """A wide pattern is wide by a part of it, and that part is shown."""
    assert wide_part(pattern) == WIDE[pattern]


@pytest.mark.parametrize("pattern", TIGHT)
def test_tight(pattern: str) -> None:
    """A pattern that names what it takes is none of lint's business."""
    assert wide_part(pattern) == ""


def test_where_patterns_stand() -> None:
    """In parameters, in the items of lists and in the narrowing of a role line; in a deny, wide is right."""
    text = """\
        commands:
          c:
            run: [/bin/a, <x>, <i>, "<y...>"]
            params:
              x: {type: string, pattern: ".*"}
              y: {type: list, of: {type: string, pattern: '\\S+'}}
              i: {type: int}
            on: local
        principals: {p: {}}
        roles:
          r:
            - {commands: c, hosts: local, params: {x: {pattern: '[^a]+'}, i: {min: 3}, y: a}}
            - {commands: c, hosts: local, params: {x: {pattern: '[a-z]+'}}}
        grants: [{to: p, roles: r}]
        deny:
          - {why: never, commands: c, params: {x: {pattern: ".*rm.*"}}}
        """
    assert shown(found(text), "P322") == [
        "a.yaml:6:34: P322 warning: the pattern of 'x' is wide: '.*' takes nearly everything",
        "a.yaml:7:51: P322 warning: the pattern of 'y' is wide: in '\\S+', '\\S' takes nearly everything",
        "a.yaml:13:57: P322 warning: 'x' is hardly narrowed by '[^a]+', which takes nearly everything",
    ]


NARROWED: dict[str, tuple[str, str, bool]] = {
    # the parameter, the pattern of a role line, and whether that hardly narrows
    "by its beginning": ("{type: string, pattern: '[a-z-]{1,32}'}", "ng.*", False),
    "a wide pattern by its beginning": ("{type: string, pattern: '.*'}", "ng.*", False),
    "by an escaped beginning": ("{type: string, pattern: '.*'}", r"\..*", False),
    "by a beginning that may be left out": ("{type: string, pattern: '.*'}", "n?.*", True),
    "by one of two beginnings": ("{type: string, pattern: '.*'}", "ng|.*", True),
    "by its end": ("{type: string, pattern: '[a-z-]{1,32}'}", ".*ng", False),
    "a wide pattern by its end": ("{type: string, pattern: '.*'}", ".*ng", True),
    "by everything": ("{type: string, pattern: '[a-z-]{1,32}'}", ".*", True),
    "items by their end": ("{type: list, of: {type: string, pattern: '[a-z-]{1,32}'}}", ".*ng", False),
    "wide items by their end": ("{type: list, of: {type: string, pattern: '.*'}}", ".*ng", True),
    "by a tight pattern": ("{type: string, pattern: '.*'}", "[a-z]+", False),
}


@pytest.mark.parametrize("name", NARROWED)
def test_a_narrowing_and_the_pattern_of_its_parameter(name: str) -> None:
    """Both count together; the whole pattern is shown."""
    spec, pattern, hardly = NARROWED[name]
    item = "<x...>" if "list" in spec else "<x>"
    text = f"""\
        commands: {{c: {{run: [/bin/a, {item}], params: {{x: {spec}}}, on: local}}}}
        roles: {{r: [{{commands: c, hosts: local, params: {{x: {{pattern: '{pattern}'}}}}}}]}}
        """
    said = [line for line in shown(found(text), "P322") if line.startswith("a.yaml:3:")]
    assert [line.partition("warning: ")[2] for line in said] == hardly * [
        f"'x' is hardly narrowed by '{pattern}', which takes nearly everything"
    ]
