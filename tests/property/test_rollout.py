"""Which runs start, beside a model that keeps every run apart."""

from dataclasses import dataclass, field

from hypothesis import given
from hypothesis import strategies as st

from cmdhttp.jobs.rollout import Rollout


@dataclass
class Model:
    """Every run by itself, and the rules as the reference page has them."""

    total: int
    at_once: int
    batch: int
    most: int | None
    states: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.states = ["waits"] * self.total

    def may_start(self) -> int | None:
        """The number of the next run, if it may start."""
        if "waits" not in self.states or self.states.count("runs") >= self.at_once:
            return None
        if self.most is not None and self.states.count("bad") > self.most:
            return None
        run = self.states.index("waits")
        before = self.states[: run // self.batch * self.batch]
        return run if all(state in ("ok", "bad") for state in before) else None


@given(data=st.data())
def test_it_agrees_with_the_model(data: st.DataObject) -> None:
    """Whatever ends in whatever order: the same runs may start, in the order of the hosts, and it always comes to an end."""
    total = data.draw(st.integers(1, 12))
    at_once, batch = data.draw(st.integers(1, 13)), data.draw(st.integers(1, 13))
    most = data.draw(st.none() | st.integers(0, 12))
    made = Rollout(total=total, max_parallel=at_once, batch=batch, max_failures=most)
    model = Model(total=total, at_once=at_once, batch=batch, most=most)
    for _ in range(2 * total):
        run, running = model.may_start(), [i for i, state in enumerate(model.states) if state == "runs"]
        assert bool(made.room) == (run is not None)
        assert made.over == (run is None and not running)
        if made.over:
            break
        if run is not None and (not running or data.draw(st.booleans())):
            assert run == made.started
            model.states[run], made = "runs", made.start()
        else:
            ends = data.draw(st.sampled_from(running))
            failed = data.draw(st.booleans())
            model.states[ends], made = "bad" if failed else "ok", made.end(failed=failed)
    assert model.may_start() is None
    assert "runs" not in model.states
    unstarted = model.states.count("waits")
    assert made.total - made.started == unstarted
    assert (unstarted > 0) <= (most is not None and model.states.count("bad") > most)
