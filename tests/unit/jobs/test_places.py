"""Who gets the next place."""

from dataclasses import dataclass, field

import pytest

from cmdhttp.jobs.places import Places


@dataclass(eq=False)
class Job:
    """Wants places, and counts those it was given after it had waited."""

    name: str
    given: list[str] = field(default_factory=list)

    def place_given(self) -> None:
        self.given.append(self.name)


def jobs(*names: str) -> list[Job]:
    """Jobs that write down in one list who was given a place."""
    given_to: list[str] = []
    return [Job(name, given_to) for name in names]


def test_places_run_out() -> None:
    """There are as many as there are, and one that is given back can be taken again."""
    places, (a, b) = Places(2), jobs("a", "b")
    assert [places.take(a), places.take(b), places.take(a)] == [True, True, False]
    places.give_back(b)
    assert (places.free, places.take(a), places.free) == (1, True, 0)


def test_who_holds_fewest_is_next() -> None:
    """A job on many hosts lets one that came later go first, and takes its turn after it."""
    places, (many, one, late) = Places(3), jobs("many", "one", "late")
    assert all(places.take(many) for _ in range(3))
    places.wait(many)
    places.wait(one)
    places.wait(late)
    for _ in range(3):
        places.give_back(many)
    assert many.given == ["one", "late", "many"]


def test_among_equals_the_first_is_next() -> None:
    """Those that hold equally many are served in the order in which they came."""
    places, (holder, a, b) = Places(1), jobs("holder", "a", "b")
    places.take(holder)
    places.wait(a)
    places.wait(b)
    places.wait(a)
    places.give_back(holder)
    places.give_back(a)
    assert a.given == ["a", "b"]


def test_who_has_withdrawn_gets_none() -> None:
    """A place that nobody waits for any more is free."""
    places, (holder, a) = Places(1), jobs("holder", "a")
    places.take(holder)
    places.wait(a)
    places.withdraw(a)
    places.withdraw(holder)
    places.give_back(holder)
    assert (a.given, places.free) == ([], 1)


def test_none_is_given_back_twice() -> None:
    """A place that is not held cannot be given back."""
    places, (a,) = Places(1), jobs("a")
    with pytest.raises(ValueError, match="held"):
        places.give_back(a)


@pytest.mark.parametrize(("total", "most"), [(1, 1), (3, 3), (4, 3), (8, 6), (64, 48)])
def test_several_hosts_leave_a_quarter(total: int, most: int) -> None:
    """One job never has all places, unless there are too few to share."""
    assert Places(total).most_for_several == most
