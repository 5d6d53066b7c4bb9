"""Documents of a job that are not what they should be."""

import random
from typing import Any

from cmdhttp.cli.calls.canceling import exit_of_cancel
from cmdhttp.cli.calls.ends import exit_of, said_of
from cmdhttp.cli.calls.fetching import _files
from cmdhttp.cli.jobs.listing import lines_of_page
from cmdhttp.cli.jobs.show import lines_of_job
from cmdhttp.client.documents import has_ended

KEYS = (
    *("id", "state", "ok", "host", "exit_code", "signal", "error", "runs", "counts", "artefacts", "artefacts_left_out"),
    *("sha256", "stopped", "truncated", "queue", "params", "labels", "jobs", "name", "bytes", "code", "detail", "hint"),
)


def odd(rng: random.Random, depth: int = 0) -> Any:
    """Any JSON, mostly with keys that mean something."""
    kinds = ["text", "number", "none", "truth", "object", "list"] if depth < 4 else ["text", "number"]
    match rng.choice(kinds):
        case "text":
            return rng.choice(["", "failed", "lost", "succeeded", "\x1b[2J", "../x", "TERM"])
        case "number":
            return rng.choice([0, 1, -1, 2**70, 1.5])
        case "none":
            return None
        case "truth":
            return rng.random() < 0.5
        case "list":
            return [odd(rng, depth + 1) for _ in range(rng.randrange(4))]
        case _:
            return {rng.choice(KEYS): odd(rng, depth + 1) for _ in range(rng.randrange(8))}


def test_no_document_breaks_a_reader() -> None:
    """Whatever a document holds, every reader comes to an end and an exit code is one."""
    rng = random.Random(3)
    for _ in range(3000):
        job = {key: odd(rng) for key in rng.sample(KEYS, rng.randrange(len(KEYS)))}
        assert 0 <= exit_of(job) <= 255
        assert 0 <= exit_of_cancel(job) <= 255
        assert all(isinstance(line, str) for line in [*said_of(job), *lines_of_job(job), *lines_of_page(job)])
        assert all(isinstance(file.name, str) for file in _files(job, "job_1", only=None))
        assert has_ended(job) in (True, False)
