"""A queue with a thousand jobs (ten thousand in the long form), through the real program: fair, bounded in cost, and truthful."""

import threading
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import ClassVar, TypeVar

import httpx
import pytest

from tests.support.service import COMMANDS, Document, Service, as_document, wait_until

_CALLERS = 4
_FEW = 10
T = TypeVar("T")


class Queued(Service):
    """Both 'ann' and 'bob' may run all of it."""

    commands: ClassVar[Mapping[str, Document]] = {name: COMMANDS[name] for name in ("exit", "sleep")} | {
        "now": {"script": "date +%s.%N", "on": "local"}
    }

    def _policy(self, principals: Document) -> Document:
        document = super()._policy(principals)
        document["roles"] = {"all": [{"commands": list(self.commands), "hosts": "local"}]}
        document["grants"] = [{"to": ["ann", "bob"], "roles": ["all"]}]
        return document

    def cpu(self) -> float:
        """Seconds that the service has computed."""
        fields = Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / 100

    def memory(self) -> int:
        """Bytes."""
        (line,) = (line for line in Path(f"/proc/{self.pid}/status").read_text().splitlines() if "VmRSS" in line)
        return int(line.split()[1]) << 10

    def each(self, work: Callable[[httpx.Client], T], times: int, *, principal: str = "ann") -> list[T]:
        """Do it so often, some at a time."""
        mine = threading.local()
        with ExitStack() as stack, ThreadPoolExecutor(_CALLERS) as callers:

            def one(_: int) -> T:
                if not hasattr(mine, "client"):
                    mine.client = stack.enter_context(self.client(principal))
                return work(mine.client)

            return list(callers.map(one, range(times)))

    def fill(self, times: int, *, principal: str = "ann") -> list[str]:
        """Let so many jobs wait; returns their ids."""

        def launch(client: httpx.Client) -> str:
            answer = client.post("/v1/run/now", json={"wait": 0})
            assert answer.status_code == 202, answer.text
            return str(as_document(answer)["id"])

        return self.each(launch, times, principal=principal)

    def cancel_each(self, jobs: Sequence[str]) -> list[str]:
        left = iter(jobs)
        lock = threading.Lock()

        def cancel(client: httpx.Client) -> str:
            with lock:
                job = next(left)
            return str(as_document(client.post(f"/v1/jobs/{job}/cancel", json={}))["state"])

        return self.each(cancel, len(jobs))

    def ends(self) -> Counter[tuple[str, str | None]]:
        return Counter((record["state"], record["runs"][0]["error"]) for record in self.records("job.ended"))

    def queued(self) -> int:
        (line,) = (
            line for line in self.ask_ops("/metrics").text.splitlines() if line.startswith("cmdhttp_jobs_queued")
        )
        return int(float(line.split()[-1]))


@pytest.mark.timeout(400)
@pytest.mark.parametrize("many", [1000, pytest.param(10_000, marks=pytest.mark.long)])
def test_many_jobs_wait(tmp_path: Path, many: int) -> None:
    """One caller's flood keeps no other back, costs the same for each job, and every job has one end, at once or one by one."""
    flags = {"max-running": "1", "max-queued": str(3 * many), "drain": "0"}
    with Queued.running(tmp_path / "service", remotes=None, **flags) as service:
        holder = service.launch("sleep", {"params": {"seconds": 60}})["id"]
        service.first_line(holder)
        memory, cpu = service.memory(), [service.cpu()]
        flood = []
        for _ in range(2):
            flood += service.fill(many // 2)
            cpu.append(service.cpu())
        assert cpu[2] - cpu[1] < 3 * (cpu[1] - cpu[0]) + 0.5, "the last cost no more than the first"
        assert (service.memory() - memory) / many < 40_000
        few = service.fill(_FEW, principal="bob")
        assert service.queued() == many + _FEW
        last = service.job(flood[-1])["queue"]
        assert (last["reason"], last["position"] > many // 2) == ("service_busy", True)
        assert service.job(few[0], principal="bob")["queue"]["position"] <= 2 * _FEW
        assert len(service.list_jobs(state="queued", limit=200)) == 200

        service.kill()
        service.start()
        service.end_orphans()
        assert service.job(holder)["state"] == "lost"
        wait_until(lambda: not jobs_of(service, "bob"), "the other caller's jobs have run", seconds=60)
        ended = service.list_jobs(state="succeeded", limit=200)
        assert len(ended) <= 5 * _FEW, "in turn with those of the flood"
        stamps = sorted((float(job["stdout"]), flood.index(job["id"])) for job in map(service.job, ids(ended)))
        assert all(abs(place - turn) < 2 * _CALLERS for turn, (_, place) in enumerate(stamps)), "the oldest first"

        assert set(service.cancel_each(flood[: -many // 5 : -1])) == {"canceled"}
        service.kill()
        service.flags["queue-deadline"] = "0"
        service.start()
        service.end_orphans()
        assert service.queued() == 0
        wait_until(lambda: sum(service.ends().values()) == many + _FEW + 1, "each has its end on record", seconds=60)
        ends = service.ends()
        assert ends["canceled", "canceled"] > 0
        assert ends["failed", "queue_deadline"] > 0
        assert set(ends) <= {
            ("succeeded", None),
            ("canceled", "canceled"),
            ("failed", "queue_deadline"),
            ("lost", "service_restarted"),
        }
        assert ends["lost", "service_restarted"] <= 2
        jobs = [record["job"] for record in service.records("job.ended")]
        assert len(set(jobs)) == len(jobs)


def jobs_of(service: Queued, principal: str) -> list[Document]:
    """Those that have no end."""
    with service.client(principal) as client:
        found: list[Document] = as_document(client.get("/v1/jobs?state=queued,running&limit=200"))["jobs"]
    return found


def ids(jobs: Iterable[Document]) -> list[str]:
    return [job["id"] for job in jobs]
