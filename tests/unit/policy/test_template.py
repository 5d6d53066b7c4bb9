"""The `run` list, taken apart."""

from typing import Any

import pytest
from pydantic import TypeAdapter

from cmdhttp.policy.params import AnyParam, ParamSpec
from cmdhttp.policy.template import Argument, Group, Ref, Spread, Text, names, parse

_ADAPTER: TypeAdapter[Any] = TypeAdapter(AnyParam)


def param(**spec: object) -> ParamSpec:
    read: ParamSpec = _ADAPTER.validate_python(spec)
    return read


PARAMS = {
    "a": param(type="int"),
    "b": param(type="int"),
    "many": param(type="list", of={"type": "int"}),
    "maybe": param(type="int", required="false"),
    "maybe_many": param(type="list", of={"type": "int"}, required="false"),
    "set": param(type="int", default="1"),
    "verbose": param(type="bool", flag="-v"),
    "maybe_verbose": param(type="bool", flag="-v", required="false"),
    "plain": param(type="bool"),
    "password": param(type="secret"),
    "body": param(type="json"),
}


@pytest.mark.parametrize(
    ("item", "parsed"),
    [
        ("", Argument((Text(""),))),
        ("--", Argument((Text("--"),))),
        ("<a>", Argument((Ref("a"),))),
        ("<a>.service", Argument((Ref("a"), Text(".service")))),
        ("--x=<a>:<b>", Argument((Text("--x="), Ref("a"), Text(":"), Ref("b")))),
        ("<a><b>", Argument((Ref("a"), Ref("b")))),
        ("<many...>", Spread("many")),
        (("--since", "<maybe>"), Group((Argument((Text("--since"),)), Argument((Ref("maybe"),))))),
        (("<maybe_many...>",), Group((Spread("maybe_many"),))),
        ("<verbose>", Argument((Ref("verbose"),))),
        ("<plain>", Argument((Ref("plain"),))),
        ("--x=<set>", Argument((Text("--x="), Ref("set")))),
        ("<maybe_verbose>", Argument((Ref("maybe_verbose"),))),
        ("<maybe_many...>", Spread("maybe_many")),
        ("<>", Argument((Text("<>"),))),
        ("a < b > c", Argument((Text("a < b > c"),))),
        ("$(id) `id` ${a} {a} %s \\<", Argument((Text("$(id) `id` ${a} {a} %s \\<"),))),
    ],
)
def test_each_form(item: str | tuple[str, ...], parsed: object) -> None:
    """An item is constant text, placeholders within text, a spread or a group; everything else means itself."""
    assert parse([item], PARAMS) == ((parsed,), [])


@pytest.mark.parametrize(
    ("item", "message", "hint"),
    [
        ("<nothing>", "unknown placeholder '<nothing>'", ""),
        ("<A>", "unknown placeholder '<A>'", ""),
        ("x<many...>", "unknown placeholder '<many...>'", ""),
        ("<a...>", "'<a...>' spreads a list, and 'a' is of type int", "Write <a>."),
        ("<many>", "'many' is a list and must stand alone as '<many...>'", "Write <many...>."),
        ("-x<many>", "'many' is a list and must stand alone as '<many...>'", "Write <many...>."),
        ("x<verbose>", "'verbose' has a flag and must stand alone as '<verbose>'", ""),
        (
            "<maybe>",
            "'maybe' may be absent, and then this argument would be incomplete",
            "Give 'maybe' a default, or put the argument into an inner list: [...].",
        ),
        (
            ("--data", "<body>"),
            "'body' is of type json, which may not stand in an argument",
            "Arguments can be read by others; hand it over by stdin.",
        ),
    ],
)
def test_each_misuse(item: str | tuple[str, ...], message: str, hint: str) -> None:
    """A placeholder that cannot be filled as it stands is an error at its item."""
    _, errors = parse(["/bin/c", item], PARAMS)
    assert [(error.index, error.message, error.hint, str(error)) for error in errors] == [(1, message, hint, message)]


def test_all_errors_come_together() -> None:
    """Every wrong placeholder of every item is told."""
    _, errors = parse(["<x>", ("<y>", "<a...>"), "<z>-<a>"], PARAMS)
    assert [(error.index, error.name) for error in errors] == [(0, "x"), (1, "y"), (1, ""), (2, "z")]


def test_names_in_order() -> None:
    """The parameters of a template come in order, with repetitions, out of groups too."""
    template, _ = parse(["<a>", ("--x", "<b>=<a>"), "<many...>"], PARAMS)
    assert list(names(template)) == ["a", "b", "a", "many"]


def test_only_an_argument_without_parameters_is_constant() -> None:
    """The program's text can be read off an argument of constant text, and off no other."""
    (program, part, empty), _ = parse(["/bin/c", "/bin/<a>", ""], PARAMS)
    assert [item.constant for item in (program, part, empty) if isinstance(item, Argument)] == ["/bin/c", None, ""]
