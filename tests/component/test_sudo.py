"""`become: sudo` through a real sudo, with a sudoers file of the test's own in a mount namespace of its own."""

import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from cmdhttp.plan.model import KeyFile, SshTarget, Step
from cmdhttp.plan.remote import PROBES, for_job, step_line

LOGIN, OTHER = "games", "daemon"
DUMP = ("/bin/sh", "-c", 'printf \'%s\\0\' "$(id -un)" "$P_X" "$CMDHTTP_JOB_ID" "$@"', "sh")
Runner = Callable[..., subprocess.CompletedProcess[bytes]]
WITH_SUDOERS = 'mount --bind "$1" /etc/sudoers && shift && exec "$@"'
KEEP = f'Defaults:{LOGIN} env_keep += "CMDHTTP_JOB_ID P_*"'


def step(*argv: str, env: dict[str, str] | None = None, become: str | None = OTHER) -> Step:
    target = SshTarget(address="a", port=22, account=LOGIN, login=KeyFile(path="/k"), known_hosts="/h", become=become)
    made = Step(run=0, host="h", target=target, argv=argv, env=env or {}, timeout=1, output_limit=1)
    return for_job(made, "job_1")


@pytest.fixture
def run(tmp_path: Path) -> Runner:
    if os.getuid() != 0:
        pytest.fail("only root can give sudo a file of rules for a test")

    def ran(asked: Step, *rules: str) -> subprocess.CompletedProcess[bytes]:
        """Run the line as the login account's shell would, with a terminal nowhere and rules of this test's own."""
        sudoers = tmp_path / "sudoers"
        sudoers.write_text("".join(f"{rule}\n" for rule in rules))
        sudoers.chmod(0o440)
        login = ["setpriv", f"--reuid={LOGIN}", f"--regid={LOGIN}", "--init-groups", "/bin/sh", "-c", step_line(asked)]
        return subprocess.run(
            ["unshare", "--mount", "--propagation", "private", "sh", "-c", WITH_SUDOERS, "sh", str(sudoers), *login],
            capture_output=True, stdin=subprocess.DEVNULL, start_new_session=True, timeout=15, check=False,
            cwd="/", env={"PATH": "/usr/bin:/bin"},
        )  # fmt: skip

    return ran


@pytest.mark.parametrize(
    "rules",
    [
        (KEEP, f"{LOGIN} ALL=({OTHER}) NOPASSWD: /bin/sh"),
        (f"{LOGIN} ALL=({OTHER}) NOPASSWD:SETENV: /bin/sh",),
    ],
    ids=["env_keep", "SETENV"],
)
def test_the_command_runs_as_the_other_account(run: Runner, rules: tuple[str, ...]) -> None:
    """With either line of rules the account, the variables and every argument are those of the step."""
    done = run(step(*DUMP, *PROBES, env={"P_X": "a 'b'\n$(id)"}), *rules)
    expected = [OTHER, "a 'b'\n$(id)", "job_1", *PROBES]
    assert (done.stderr, done.returncode) == (b"", 0)
    assert done.stdout == "".join(f"{item}\0" for item in expected).encode()


def test_without_another_account_there_is_no_sudo(run: Runner) -> None:
    """A command of the login account needs no rule."""
    done = run(step(*DUMP, become=None))
    assert (done.stdout, done.returncode) == (f"{LOGIN}\0\0job_1\0".encode(), 0)


@pytest.mark.parametrize(
    ("rules", "said"),
    [
        ((), b"a password is required"),
        ((KEEP, f"{LOGIN} ALL=({OTHER}) /bin/sh"), b"a password is required"),
        ((KEEP, f"{LOGIN} ALL=({OTHER}) NOPASSWD: /bin/true"), b"a password is required"),
        ((f"{LOGIN} ALL=({OTHER}) NOPASSWD: /bin/sh",), b"not allowed to set the following environment variables"),
    ],
    ids=["no rule", "with a password", "another command", "no variables"],
)
def test_where_the_rules_do_not_allow_it_nothing_runs(run: Runner, rules: tuple[str, ...], said: bytes) -> None:
    """It ends at once, with sudo's word for it and without a question, whatever is missing in the rules."""
    done = run(step(*DUMP, "x"), *rules)
    assert (done.stdout, done.returncode) == (b"", 1)
    assert said in done.stderr


def test_arguments_that_look_like_options_of_sudo(run: Runner) -> None:
    """What follows the program is the program's, and a program with '=' in its path is no variable."""
    allowed = (KEEP, f"{LOGIN} ALL=({OTHER}) NOPASSWD: ALL")
    done = run(step("/usr/bin/printf", "%s,", "-u", "root", "A=b", "--", "-S"), *allowed)
    assert (done.stdout, done.returncode) == (b"-u,root,A=b,--,-S,", 0)
    done = run(step("/nowhere/a=b"), *allowed)
    assert (done.stdout, done.returncode) == (b"", 1)
    assert b"/nowhere/a=b: command not found" in done.stderr


def test_a_program_with_an_equals_sign_is_started(run: Runner) -> None:
    """Also without sudo: `env` alone would take the path for one more variable, and start what follows."""
    done = run(step("/tmp/no=such/x", "/bin/echo", "ran", become=None))
    assert (done.stdout, done.returncode) == (b"", 127)


def test_a_stop_goes_through_sudo(run: Runner) -> None:
    """TERM, sent by the login account to sudo, ends the command; that is how a stop reaches it."""
    text = "sudo -n -u daemon -- /bin/sleep 15 & sleep 1; kill -TERM $!; wait $!; printf %s, $?"
    done = run(step("/bin/sh", "-c", text, become=None), f"{LOGIN} ALL=({OTHER}) NOPASSWD: /bin/sleep")
    assert (done.stdout, done.returncode) == (b"143,", 0)


def test_a_time_limit_of_sudo(run: Runner) -> None:
    """What ignores a stop is ended by sudo itself, if the rule gives it a time."""
    rule = f"{LOGIN} ALL=({OTHER}) TIMEOUT=2 NOPASSWD: /bin/sleep"
    done = run(step("/bin/sleep", "15"), f"Defaults:{LOGIN} env_keep += CMDHTTP_JOB_ID", rule)
    assert done.returncode < 0, "sudo ends by the signal that ended its command"
