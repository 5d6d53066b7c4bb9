"""What holds for every test: on CI (the variable CI is set), a run with a skipped or xfailed test is a failed run.

Workers take files in the order of collection, so the files that take longest come first, and short ones fill up the end.
"""

import gc
import os
from collections.abc import Iterator, Sequence

import pytest

_LONGEST = (
    "test_many_hosts",
    "test_ssh_silence",
    "test_ssh_bad_hosts",
    "test_ssh_unreachable",
    "test_escapees",
    "test_escapees_rungs",
    "test_ssh_endings",
    "test_service_life",
    "test_service_admission",
    "test_ssh_executor",
    "test_ssh_pool",
    "test_faults",
    "test_ssh_kills",
    "test_ssh_files",
    "test_doctor",
    "test_queue_restart",
    "test_damage_met",
    "test_client_run",
    "test_damage",
    "test_audit_reserve",
    "test_reload",
    "test_client_network",
    "test_accounts",
    "test_service_retention",
    "test_ssh_guard",
    "test_client_answers",
    "test_broker",
    "test_service_streams",
    "test_limits",
    "test_cli",
    "test_client_jobs",
    "test_retention",
    "test_service_refusals",
    "test_remote_shells",
    "test_bad_output",
)
"""Files that take more than ten seconds, the longest first; `--durations=0` tells. A name too few costs time, no proof."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    def rank(item: pytest.Item, names: Sequence[str] = _LONGEST) -> int:
        return names.index(item.path.stem) if item.path.stem in names else len(names)

    items.sort(key=rank)


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Iterator[None]:
    """Spare the garbage collector what is imported and collected, all of which stays: it would take a third of the unit tests."""
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        gc.enable()


def pytest_sessionfinish(session: pytest.Session) -> None:
    reporter = session.config.pluginmanager.get_plugin("terminalreporter")
    if reporter is None or not os.environ.get("CI"):
        return
    passed_over = [report for kind in ("skipped", "xfailed") for report in reporter.stats.get(kind, [])]
    if passed_over and session.exitstatus == pytest.ExitCode.OK:
        reporter.write_line("")
        reporter.write_line(f"{len(passed_over)} skipped or xfailed: on CI that is a failure", red=True)
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say which containment the local runs of this test run had: it is the machine's, and what was seen holds for it."""
    reports = [report for kind in terminalreporter.stats.values() for report in kind]
    rungs = {
        value for report in reports for name, value in getattr(report, "user_properties", ()) if name == "containment"
    }
    if rungs:
        terminalreporter.write_line(f"containment of local runs: {', '.join(sorted(map(str, rungs)))}")
