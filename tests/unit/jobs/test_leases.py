"""Who reads a job, and what may go meanwhile."""

from cmdhttp.jobs.leases import _MOST_ASKED, Leases


class Steady:
    """A monotonic clock that is moved by hand."""

    def __init__(self) -> None:
        self.at = 0.0

    def __call__(self) -> float:
        return self.at


def test_what_nobody_reads_may_go() -> None:
    """Held and just asked for stay; the rest is condemned."""
    steady = Steady()
    leases = Leases(monotonic=steady)
    assert leases.ask("asked")
    with leases.hold("held"), leases.hold("held"):
        assert leases.condemn(["asked", "held", "free"]) == ["free"]
    assert leases.condemn(["held"]) == ["held"]
    steady.at = 60.0
    assert leases.condemn(["asked"]) == ["asked"]


def test_what_is_held_twice_is_held_until_both_have_ended() -> None:
    """One reader that ends does not end the lease of another."""
    leases = Leases(monotonic=Steady())
    with leases.hold("a"):
        with leases.hold("a"):
            pass
        assert leases.condemn(["a"]) == []


def test_a_condemned_job_cannot_be_asked_for() -> None:
    """Until it is spared; others can."""
    leases = Leases(monotonic=Steady())
    leases.condemn(["a"])
    assert not leases.ask("a")
    assert leases.ask("b")
    leases.spare(["a"])
    assert leases.ask("a")


def test_questions_take_bounded_memory() -> None:
    """Of very many only the newest are known."""
    leases = Leases(monotonic=Steady())
    for number in range(_MOST_ASKED + 5):
        leases.ask(str(number))
    leases.ask("5")
    assert leases.condemn(["0", "5", str(_MOST_ASKED)]) == ["0"]
    assert len(leases._asked) == _MOST_ASKED
