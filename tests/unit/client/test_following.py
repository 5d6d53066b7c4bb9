"""Following where nothing answers."""

from typing import Any, NoReturn

import pytest

from cmdhttp.client.exchange import Caller, NoSuchHost, Request
from cmdhttp.client.failures import Unreachable
from cmdhttp.client.following import Following
from cmdhttp.client.patience import Patience


class Nameless(Caller):
    """A service whose name means no address."""

    def __init__(self) -> None:
        pass

    def open(self, request: Request, **_: Any) -> NoReturn:
        raise NoSuchHost("no such name")


def following(slept: list[float]) -> Following:
    patience = Patience(5, clock=lambda: sum(slept), sleep=slept.append, chance=lambda: 1.0)
    return Following(Nameless(), patience=patience, clock=lambda: 0.0)


def test_a_name_that_never_meant_anything() -> None:
    """A slip in the URL is said at once."""
    slept: list[float] = []
    with pytest.raises(NoSuchHost):
        list(following(slept).run("stamp", body=b"{}", key="k"))
    assert slept == []


def test_a_name_that_is_gone() -> None:
    """Once there was an answer, the name may come back, so it is asked for again."""
    slept: list[float] = []
    with pytest.raises(Unreachable):
        list(following(slept).follow("job_01M8D100000000000000000000", after=3))
    assert len(slept) > 3
