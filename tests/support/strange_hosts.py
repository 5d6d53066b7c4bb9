"""Runs on SSH hosts that are down or strange: how they ended, in time or not at all."""

import time

from tests.support.service import Document, Service

BOUND = 45.0
"""Seconds in which a run must have ended that never got anywhere: 5 to connect, 10 to log in, 10 to start, and the rest for
a busy machine. A run that waits for its own time limit ends after 60."""

QUICK = 20.0
"""Seconds in which a run on a good host must have ended: an instant, and the rest for a busy machine. One that waits for
what a bad host takes to fail, one attempt after the other, ends later or in the wrong order."""

HERE = {"params": {"code": 0}}


def verdict(job: Document) -> tuple[str, str | None]:
    """A job's state and error code. Raises AssertionError for an error that does not say how to mend it."""
    error = job["error"]
    if error is None:
        return job["state"], None
    assert error["detail"]
    assert error["hint"], error
    return job["state"], error["code"]


def run_on(service: Service, host: str, command: str = "exit", **body: object) -> Document:
    """Run a command on a host to its end, which must come in time."""
    answer = service.run(command, {**(HERE if command == "exit" else {}), **body, "hosts": [host], "wait": 0})
    assert answer.status_code in (200, 202), answer.text
    return service.finished(answer.json()["id"], seconds=BOUND)


def check_good(service: Service) -> None:
    """A run on a good host is quick, whatever else goes on."""
    since = time.monotonic()
    assert run_on(service, "far")["state"] == "succeeded"
    assert time.monotonic() - since < QUICK
