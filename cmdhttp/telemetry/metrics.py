"""What the service counts, for Prometheus. Every name is stable and documented in `docs/reference/metrics.md`.

No label takes a value that a caller can shape: routes are templates, statuses, states and reasons are ours, and the one
digest shown is that of the policy in force. So the number of series has a bound, whatever is sent. Counting never waits
and costs microseconds.
"""

from collections.abc import Callable, Iterable, Iterator

from prometheus_client import CONTENT_TYPE_PLAIN_0_0_4, CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.metrics import disable_created_metrics
from prometheus_client.registry import Collector

from cmdhttp.errors import Limit
from cmdhttp.telemetry.ssh_metrics import SshCollector, SshFigures

CONTENT_TYPE = CONTENT_TYPE_PLAIN_0_0_4
_BOUNDS = (0.01, 0.05, 0.1, 0.5, 1, 5, 10, 30, 60, 300, 1800, 3600)


class Metrics:
    """All metrics of one service, in a registry of its own."""

    def __init__(self, *, version: str) -> None:
        # For the whole library: a second series for each counter, with its birthday, is of no use to anybody here.
        disable_created_metrics()  # type: ignore[no-untyped-call]  # it has no annotations
        self.registry = registry = CollectorRegistry()
        build = Gauge("cmdhttp_build_info", "Always 1; tells the version.", ["version"], registry=registry)
        build.labels(version).set(1)
        self._policy = Gauge(
            "cmdhttp_policy_info", "Always 1; tells the policy in force.", ["digest"], registry=registry
        )
        self._loads = Counter("cmdhttp_policy_loads_total", "Loads of the policy.", ["result"], registry=registry)
        for result in ("loaded", "unchanged", "failed"):
            self._loads.labels(result)  # a series that is there from the start shows its first step, too
        self._last_success = Gauge(
            "cmdhttp_policy_last_success_timestamp_seconds", "When the policy last loaded.", registry=registry
        )
        self._ok = Gauge("cmdhttp_policy_ok", "1 if the last load succeeded, else 0.", registry=registry)
        self._findings = Gauge("cmdhttp_policy_findings", "Errors that the last load found.", registry=registry)
        self._decisions = Counter(
            "cmdhttp_decisions_total",
            "Decisions on calls to run, one for each host.",
            ["verdict", "reason"],
            registry=registry,
        )
        self._brokers = Counter(
            "cmdhttp_broker_restarts_total", "Brokers that had to be started anew.", registry=registry
        )
        self._requests = Counter("cmdhttp_requests_total", "Answers.", ["route", "status"], registry=registry)
        self._jobs = Counter("cmdhttp_jobs_total", "Jobs that have ended.", ["state"], registry=registry)
        self._running = Gauge("cmdhttp_jobs_running", "Jobs that run.", registry=registry)
        self._queued = Gauge("cmdhttp_jobs_queued", "Jobs that have started nothing yet.", registry=registry)
        self._refusals = Counter("cmdhttp_refusals_total", "Calls that a limit refused.", ["limit"], registry=registry)
        for each in Limit:
            self._refusals.labels(each.value)
        self._waits = Histogram(
            "cmdhttp_queue_wait_seconds",
            "From acceptance to the start of a job's first run.",
            buckets=_BOUNDS,
            registry=registry,
        )
        self._durations = Histogram(
            "cmdhttp_job_duration_seconds", "From acceptance to the end.", buckets=_BOUNDS, registry=registry
        )

        self._kept = Gauge("cmdhttp_jobs_kept", "Finished jobs that are kept.", registry=registry)
        self._kept_bytes = Gauge("cmdhttp_kept_bytes", "Bytes that they take.", ["what"], registry=registry)
        self._pruned = Counter("cmdhttp_jobs_pruned_total", "Finished jobs removed.", ["limit"], registry=registry)
        for limit in ("age", "count", "bytes"):
            self._pruned.labels(limit)
        self._pruned_bytes = Counter("cmdhttp_pruned_bytes_total", "Bytes of files removed.", registry=registry)
        self._free = Gauge("cmdhttp_disk_free_bytes", "Free space of the data folder's disk.", registry=registry)
        self._short = Gauge("cmdhttp_disk_short", "1 if it is below the reserve, else 0.", registry=registry)

    def text(self) -> bytes:
        """Everything as it is now, in the text format of Prometheus."""
        return generate_latest(self.registry)

    def policy_loaded(self, *, digest: str, at: float, changed: bool) -> None:
        """The policy has loaded at a Unix time; `changed` if it is another one than before."""
        self._policy.clear()
        self._policy.labels(digest).set(1)
        self._loads.labels("loaded" if changed else "unchanged").inc()
        self._last_success.set(at)
        self._ok.set(1)
        self._findings.set(0)

    def policy_failed(self, *, findings: int) -> None:
        self._loads.labels("failed").inc()
        self._ok.set(0)
        self._findings.set(findings)

    def decided(self, decisions: Iterable[tuple[str, str]]) -> None:
        """Each decision is its verdict and its reason."""
        for verdict, reason in decisions:
            self._decisions.labels(verdict, reason).inc()

    def answered(self, *, route: str, status: int) -> None:
        """`route` is the template of a route, or `none`; never the path of a request."""
        self._requests.labels(route, str(status)).inc()

    def broker_restarted(self) -> None:
        self._brokers.inc()

    def job_ended(self, *, state: str, duration: float | None) -> None:
        """`duration` in seconds; None if it is not known."""
        self._jobs.labels(state).inc()
        if duration is not None:
            self._durations.observe(duration)

    def count_jobs(self, *, running: Callable[[], int], queued: Callable[[], int]) -> None:
        """Ask these whenever the metrics are read."""
        self._running.set_function(running)
        self._queued.set_function(queued)

    def count_queue(self, waiting: Callable[[], Iterable[tuple[str, int]]]) -> None:
        """Ask this whenever the metrics are read: how many jobs wait, by what they wait for."""
        self.registry.register(_Queue(waiting))

    def refused(self, limit: Limit) -> None:
        self._refusals.labels(limit.value).inc()

    def waited(self, seconds: float) -> None:
        self._waits.observe(seconds)

    def pruned(self, jobs: Iterable[tuple[str, int]], *, size: int) -> None:
        """Each entry is a limit and how many jobs were over it; `size` in bytes."""
        for limit, count in jobs:
            self._pruned.labels(limit).inc(count)
        self._pruned_bytes.inc(size)

    def count_kept(self, *, jobs: Callable[[], int], files: Callable[[], int], database: Callable[[], int]) -> None:
        """Ask these whenever the metrics are read; the last two tell bytes."""
        self._kept.set_function(jobs)
        self._kept_bytes.labels("files").set_function(files)
        self._kept_bytes.labels("database").set_function(database)

    def count_disk(self, *, free: Callable[[], int], short: Callable[[], bool]) -> None:
        """Ask these whenever the metrics are read; `free` tells bytes."""
        self._free.set_function(free)
        self._short.set_function(short)

    def count_connections(self, figures: Callable[[], SshFigures]) -> None:
        """Ask this whenever the metrics are read."""
        self.registry.register(SshCollector(figures))


class _Queue(Collector):
    """The jobs that wait, counted when they are asked for."""

    def __init__(self, waiting: Callable[[], Iterable[tuple[str, int]]]) -> None:
        self._waiting = waiting

    def collect(self) -> Iterator[GaugeMetricFamily]:
        queue = GaugeMetricFamily("cmdhttp_queue_length", "Jobs that wait, by what they wait for.", labels=["reason"])
        for reason, count in self._waiting():
            queue.add_metric([reason], count)
        yield queue
