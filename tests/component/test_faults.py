"""Killed with `kill -9` at random moments under load, the service tells no job's story wrong.

Each round kills the front, the broker or both. `CMDHTTP_FAULT_ROUNDS` asks for more rounds, `CMDHTTP_FAULT_SEED` for the same
choices again: what was chosen is the same then, the moments are what the machine makes of them.
"""

import os
import random
import time
from pathlib import Path

import pytest

from tests.support.faults import Killed, Load, collect, processes_of
from tests.support.history import contradictions
from tests.support.service import wait_until

ROUNDS = int(os.environ.get("CMDHTTP_FAULT_ROUNDS", "50"))
SEED = int(os.environ.get("CMDHTTP_FAULT_SEED", "0")) or random.SystemRandom().randrange(1, 1 << 32)
_ROUNDS_OF_A_LOAD = 50
"""So many rounds share a service and a history, so that thousands of rounds need no more memory than these."""


@pytest.mark.timeout(120 + 10 * min(ROUNDS, _ROUNDS_OF_A_LOAD))
@pytest.mark.parametrize("part", range(-(-ROUNDS // _ROUNDS_OF_A_LOAD)))
def test_killed_again_and_again(tmp_path: Path, part: int) -> None:
    """Every acknowledged job has one end, ran at most once, and nothing of it is missing, repeated or left over."""
    seed = SEED + part
    rounds = min(_ROUNDS_OF_A_LOAD, ROUNDS - part * _ROUNDS_OF_A_LOAD)
    chance, name = random.Random(seed), f"t{seed}"
    said = f"CMDHTTP_FAULT_SEED={seed}"
    with Killed.under_fire(tmp_path / "service") as service:
        load = Load(service, seed=seed, name=name)
        descriptors = service.descriptors()
        load.start()
        try:
            for number in range(rounds):
                time.sleep(chance.uniform(0.02, 0.25))
                front = number % 8 == 7
                service.shoot(front=front, broker=not front or chance.random() < 0.5)
        finally:
            load.finish()
        history = load.history
        collect(service, history, descriptors=descriptors)
        wait_until(lambda: not processes_of(name), f"no process of a run is left ({said})")
        service.stderr.write_text("")  # a broker that is killed is an error in the log
    assert load.trouble == [], said
    assert contradictions(history)[:20] == [], said
    states = {job["state"] for job in history.jobs.values()}
    assert len(history.jobs) > rounds, said
    assert {"succeeded", "lost"} <= states, f"{states} {said}"
    assert len(history.readings) > 5, said
