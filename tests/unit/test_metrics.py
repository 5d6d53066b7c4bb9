"""Metrics: what each method leads to, and what counting costs."""

import time

from cmdhttp.telemetry.metrics import Metrics


def values(metrics: Metrics) -> dict[str, float]:
    return {
        ",".join([sample.name, *sample.labels.values()]): sample.value
        for family in metrics.registry.collect()
        for sample in family.samples
        if "_bucket" not in sample.name
    }


def test_every_metric_is_ours() -> None:
    """One prefix for all, and no second series that tells when a counter was made."""
    assert all(name.startswith("cmdhttp_") and not name.endswith("_created") for name in values(Metrics(version="1")))


def test_the_life_of_a_policy() -> None:
    """Only the digest in force is shown; a failure leaves it, and the time of the last success, as they are."""
    metrics = Metrics(version="1")
    metrics.policy_loaded(digest="a", at=10.0, changed=True)
    metrics.policy_loaded(digest="b", at=20.0, changed=True)
    metrics.policy_failed(findings=3)
    shown = values(metrics)
    assert "cmdhttp_policy_info,a" not in shown
    assert shown["cmdhttp_policy_info,b"] == 1
    assert (shown["cmdhttp_policy_ok"], shown["cmdhttp_policy_findings"]) == (0, 3)
    assert shown["cmdhttp_policy_last_success_timestamp_seconds"] == 20
    metrics.policy_loaded(digest="b", at=30.0, changed=False)
    shown = values(metrics)
    assert (shown["cmdhttp_policy_ok"], shown["cmdhttp_policy_findings"]) == (1, 0)
    loads = [shown[f"cmdhttp_policy_loads_total,{result}"] for result in ("loaded", "unchanged", "failed")]
    assert loads == [2, 1, 1]


def test_jobs_are_asked_for_when_they_are_read() -> None:
    """The numbers of jobs are those of the moment; a job whose duration is not known is counted without one."""
    metrics, now = Metrics(version="1"), [1, 2]
    metrics.count_jobs(running=lambda: now[0], queued=lambda: now[1])
    now[:] = [3, 4]
    metrics.job_ended(state="lost", duration=None)
    metrics.job_ended(state="failed", duration=2.0)
    shown = values(metrics)
    assert (shown["cmdhttp_jobs_running"], shown["cmdhttp_jobs_queued"]) == (3, 4)
    assert (shown["cmdhttp_jobs_total,lost"], shown["cmdhttp_jobs_total,failed"]) == (1, 1)
    assert (shown["cmdhttp_job_duration_seconds_count"], shown["cmdhttp_job_duration_seconds_sum"]) == (1, 2)


def test_counting_is_cheap() -> None:
    """A call pays microseconds for it; the bound leaves room for a busy machine."""
    metrics = Metrics(version="1")
    began = time.process_time()
    for _ in range(1000):
        metrics.answered(route="/v1/me", status=200)
        metrics.decided([("allow", "role_line")])
        metrics.job_ended(state="succeeded", duration=1.0)
    assert time.process_time() - began < 0.25
