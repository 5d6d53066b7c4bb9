"""What the pool of SSH connections has and did, read when the metrics are read. No label names a host."""

from collections.abc import Callable, Iterator, Mapping
from typing import Protocol

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector


class SshFigures(Protocol):
    """The figures of a pool: what there is, and what was counted by (what, result)."""

    @property
    def open(self) -> int: ...
    @property
    def in_use(self) -> int: ...
    @property
    def backing_off(self) -> int: ...
    @property
    def waiting(self) -> int: ...
    @property
    def counts(self) -> Mapping[tuple[str, str], int]: ...


_COUNTERS = (
    ("dial", "cmdhttp_ssh_dials", "Attempts to connect and log in.", "result"),
    ("lease", "cmdhttp_ssh_leases", "Connections asked for, and how that went.", "result"),
    ("close", "cmdhttp_ssh_closes", "Connections closed.", "reason"),
)


class SshCollector(Collector):
    """Turns figures into metrics."""

    def __init__(self, figures: Callable[[], SshFigures]) -> None:
        self._figures = figures

    def collect(self) -> Iterator[Metric]:
        figures = self._figures()
        connections = GaugeMetricFamily("cmdhttp_ssh_connections", "Open SSH connections.", labels=["state"])
        connections.add_metric(["in_use"], figures.in_use)
        connections.add_metric(["idle"], figures.open - figures.in_use)
        yield connections
        yield GaugeMetricFamily(
            "cmdhttp_ssh_places_backing_off", "Places that are left alone after a failure.", value=figures.backing_off
        )
        yield GaugeMetricFamily(
            "cmdhttp_ssh_waiting", "Runs that wait for room on a connection.", value=figures.waiting
        )
        for what, name, text, label in _COUNTERS:
            counter = CounterMetricFamily(name, text, labels=[label])
            for (kind, result), count in sorted(figures.counts.items()):
                if kind == what:
                    counter.add_metric([result], count)
            yield counter
