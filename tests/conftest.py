"""What holds for every test: on CI (the variable CI is set), a run with a skipped or xfailed test is a failed run."""

import os

import pytest


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
