"""What a person reads of a refusal."""

from cmdhttp.cli.calls.telling import lines_of
from cmdhttp.client.failures import Problem, Refused, Unreachable


def test_a_problem_as_text() -> None:
    """Title and detail, each fault by its parameter with its hint, the problem's own hint, and the request."""
    document = {
        "title": "The request has invalid fields",
        "detail": "3 fields cannot be used.",
        "hint": "Look at the command.",
        "request_id": "req_1",
        "errors": [
            {"pointer": "/params/a~1b", "code": "too_large", "detail": "must be at most 9", "hint": "9."},
            {"pointer": "/params/units", "code": "type", "detail": "must be a list"},
            {"pointer": "/hosts", "code": "type", "detail": "must be a list"},
            {"pointer": "?since", "code": "query", "detail": "must be a time"},
            "nonsense",
        ],
    }
    assert lines_of(Refused(Problem(status=422, document=document))) == [
        "cmdhttp: The request has invalid fields: 3 fields cannot be used.",
        "    a/b: must be at most 9",
        "        hint: 9.",
        "    units: must be a list",
        "        hint: A list of one is units:='[\"a\"]', a file is units@FILE, other JSON units:=JSON.",
        "    hosts: must be a list",
        "    ?since: must be a time",
        "    hint: Look at the command.",
        "    request: req_1",
    ]


def test_no_answer_as_text() -> None:
    """What went wrong on the way is one line."""
    assert lines_of(Unreachable("the service cannot be reached: refused")) == [
        "cmdhttp: the service cannot be reached: refused"
    ]


def test_odd_problems() -> None:
    """A problem whose members are of other types is shown as far as it can be."""
    assert lines_of(Refused(Problem(status=400, document={"title": "T", "detail": 7, "errors": "x"}))) == ["cmdhttp: T"]
