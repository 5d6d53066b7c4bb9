"""Jobs that are let in, and end when a test says so. Rules are set by a test and may change under way."""

from dataclasses import dataclass, field

from cmdhttp.jobs.admission import Admission
from cmdhttp.jobs.rollout import Rollout
from cmdhttp.jobs.ticket import Claim, Ticket
from cmdhttp.policy.compiled import Concurrency, Quota


@dataclass
class Rules:
    """Limits by name; none for whoever is not named."""

    quotas: dict[str, Quota] = field(default_factory=dict)
    concurrencies: dict[str, Concurrency] = field(default_factory=dict)

    def quota(self, principal: str) -> Quota:
        return self.quotas.get(principal, Quota())

    def concurrency(self, command: str) -> Concurrency | None:
        return self.concurrencies.get(command)


def busy(*, per_host: int | None = None, total: int | None = None, when_busy: str = "queue") -> Concurrency:
    return Concurrency(per_host=per_host, total=total, when_busy=when_busy)


@dataclass(eq=False)
class Job:
    """One job that was let in; its runs are known by their hosts."""

    name: str
    house: "House"
    ticket: Ticket
    rollout: Rollout
    running: list[int] = field(default_factory=list)

    def place_given(self, run: int) -> None:
        self.rollout = self.rollout.start()
        self.running.append(run)
        self.house.told.append(f"{self.name}{self.ticket.claim.hosts[run]}")

    def end(self, run: int | None = None, *, at: float = 0.0) -> None:
        """End a run, the oldest if none is named; with the last one the job has its end."""
        run = self.running[0] if run is None else run
        self.running.remove(run)
        self.rollout = self.rollout.end(failed=False)
        self.house.admission.give_back(self.ticket, run, upto=self.rollout.border, most=self.rollout.room, now=at)
        if not self.ticket.open:
            self.over()

    def cancel(self, *, at: float = 0.0) -> None:
        """Start no more, end what is under way, and be over."""
        self.house.admission.withdraw(self.ticket)
        for run in list(self.running):
            self.running.remove(run)
            self.house.admission.give_back(self.ticket, run, upto=0, most=0, now=at)
        self.over(at=at)

    def over(self, *, at: float = 0.0) -> None:
        self.house.jobs.remove(self)
        self.house.admission.leave(self.ticket, now=at)


class House:
    """An admission and the jobs in it. `told` are the starts, in order: name of the job, then the host."""

    def __init__(self, rules: Rules | None = None, *, places: int = 2, queue: int = 100) -> None:
        self.rules = rules or Rules()
        self.places = places
        self.admission = Admission(self.rules, max_running=places, max_queued=queue)
        self.jobs: list[Job] = []
        self.told: list[str] = []

    def enter(
        self,
        name: str,
        hosts: str = "h",
        *,
        principal: str = "p",
        command: str = "c",
        max_parallel: int = 9,
        batch: int | None = None,
        at: float = 0.0,
    ) -> Job:
        """Let a job in, on hosts that are named by one letter each."""
        claim = Claim(
            principal=principal,
            command=command,
            hosts=tuple(hosts),
            max_parallel=max_parallel if len(hosts) > 1 else 1,
            batch=batch or len(hosts),
        )
        ticket = self.admission.enter(claim, now=at)
        several = min(max_parallel, self.admission.most_for_several) if len(hosts) > 1 else 1
        rollout = Rollout(total=len(hosts), max_parallel=several, batch=claim.batch)
        job = Job(name=name, house=self, ticket=ticket, rollout=rollout)
        self.jobs.append(job)
        for run in ticket.held:
            job.place_given(run)
        ticket.holder = job
        return job

    @property
    def starts(self) -> str:
        return " ".join(self.told)
