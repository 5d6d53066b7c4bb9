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
