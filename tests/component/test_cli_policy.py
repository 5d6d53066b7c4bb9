"""`cmdhttp explain`, `can` and `diff` as a person or a pipeline runs them, on the example policy."""

import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.support.cli import cmdhttp

AT = ("--at", "2026-11-02")


def printed(done: subprocess.CompletedProcess[str]) -> Any:
    assert done.stderr == ""
    return json.loads(done.stdout)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A copy of the example policy without its tests, so that it may be changed."""
    made = tmp_path / "policies"
    shutil.copytree("policies", made)
    put(made / "tests.yaml", "version: 1\n")
    return made


def put(path: Path, text: str) -> None:
    path.write_text(text)
    path.chmod(0o644)


# -- explain


def test_explain_an_allowed_call() -> None:
    """The steps, the argv as a shell would quote it, and exit code 0."""
    done = cmdhttp("explain", "disk.usage", "path=/srv/two words", "--as", "demo", *AT)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("demo runs disk.usage on local at 2026-11-02: allow\n")
    assert done.stdout.endswith("\nargv: /usr/bin/df --output=source,size,used,pcent -- '/srv/two words'\n")
    assert "any one of these" not in done.stdout


def test_explain_a_denied_call_as_json() -> None:
    """The same as data: one explanation for the host, the step that settled it, the changes, the argv as a list."""
    done = cmdhttp("explain", "service.restart", "unit=app-worker", "--as", "ops", "--on", "web1", *AT, "--json")
    assert done.returncode == 1
    document = printed(done)
    (found,) = document["explanations"]
    assert document["policy"].startswith("sha256:")
    assert (found["verdict"], found["reason"], found["at"]) == ("deny", "no_role_line", None)
    assert found["values"] == {"unit": "app-worker"}
    assert [step["check"] for step in found["steps"] if step["settled"]] == ["default"]
    assert {"kind": "host", "text": "name the host web2"} in found["changes"]
    assert found["argv"] == ["/usr/bin/sudo", "-n", "/usr/bin/systemctl", "restart", "--", "app-worker.service"]


def test_explain_wrong_values() -> None:
    """Unknown and bad values are part of the answer, not a wrong command line; there is no argv then."""
    done = cmdhttp("explain", "service.restart", "unti=nginx", "--as", "ops", "--on", "web1", *AT)
    assert done.returncode == 1
    assert "/params/unti: unknown parameter [unknown_parameter]\n            hint: did you mean 'unit'?" in done.stdout
    assert "- leave out unti; send unit as nginx\n" in done.stdout
    assert "argv:" not in done.stdout


def test_explain_on_every_host() -> None:
    """A call that names no host and has no default one is explained for each host, and is allowed only if all are."""
    done = cmdhttp("explain", "disk.usage", "--as", "soc-oncall", *AT, "--json")
    document = printed(done)
    assert (done.returncode, document["more_hosts"]) == (1, 0)
    assert [one["host"] for one in document["explanations"]] == ["db1", "dc1", "local", "web1", "web2"]


def test_explain_says_how_many_hosts_more(folder: Path) -> None:
    """Ten hosts are explained, the others only counted, but judged."""
    hosts = "".join(
        f"  h{number:02}: {{address: 192.0.2.1, ssh: linux, labels: {{role: web}}}}\n" for number in range(30)
    )
    put(folder / "more.yaml", f"version: 1\nhosts:\n{hosts}")
    done = cmdhttp("explain", "service.restart", "unit=nginx", "--as", "ops", "--policies", str(folder), *AT)
    assert done.returncode == 1, "db1 is not allowed"
    assert done.stdout.count("ops runs service.restart on ") == 10
    assert done.stdout.endswith("\nand 23 more hosts; name one with --on\n")


def test_explain_values_of_every_kind() -> None:
    """Text again is a list, and text for a list is one; `:=` is JSON; values may stand behind the flags."""
    flags = ("--as", "soc", "--on", "fw1", "--json", *AT)
    for values in (["addresses=203.0.113.7"], ['addresses:=["203.0.113.7"]']):
        (found,) = printed(cmdhttp("explain", "ip.block", *flags, *values))["explanations"]
        assert (found["verdict"], found["values"]["addresses"]) == ("allow", ["203.0.113.7"])
    (found,) = printed(cmdhttp("explain", "ip.block", "addresses=203.0.113.7", *flags, "addresses=203.0.113.8"))[
        "explanations"
    ]
    assert found["values"]["addresses"] == ["203.0.113.7", "203.0.113.8"]


def test_explain_a_script_and_a_secret(folder: Path) -> None:
    """A script stands by its sum, and the value of a secret nowhere, neither in text nor in JSON."""
    script = "{script: 'echo', interpreter: sh, on: local, params: {key: {type: secret}}}"
    put(folder / "more.yaml", f"version: 1\ncommands: {{login: {script}}}\n")
    call = ("explain", "login", "key=hunter2", "--as", "demo", "--policies", str(folder))
    for flags in ((), ("--json",)):
        done = cmdhttp(*call, *flags)
        assert done.returncode == 1
        assert "hunter2" not in done.stdout + done.stderr
        assert "***" in done.stdout
        assert "sha256:092c79e8f80e559e404bcf660c48f3522b67aba9ff1484b0367e1a4ddef7431d" in done.stdout
    assert "cannot do" not in cmdhttp(*call).stdout


def test_explain_an_argv_that_is_too_long(folder: Path) -> None:
    """Values that fit one by one and not together make no argv, and that is no error of the program."""
    words = "{type: list, of: {type: string, pattern: 'x*', max_length: 8000}}"
    more = f"commands: {{say: {{run: [/bin/say, --, '<words...>'], on: local, params: {{words: {words}}}}}}}"
    put(folder / "more.yaml", f"version: 1\n{more}\n")
    values = [f"words={'x' * 8000}"] * 9
    done = cmdhttp("explain", "say", *values, "--as", "demo", "--policies", str(folder), "--json")
    assert (done.returncode, printed(done)["explanations"][0]["argv"]) == (1, None)


def test_explain_an_unknown_command() -> None:
    """A command that there is not is explained like everything else."""
    done = cmdhttp("explain", "disk.usag", "x=1", "--as", "ops")
    assert done.returncode == 1
    assert "there is no command 'disk.usag'; did you mean 'disk.usage'?" in done.stdout


def test_explain_a_policy_whose_tests_fail(folder: Path) -> None:
    """Explaining is how to find out why a test fails, so such a policy is explained, with a note; one that is broken is not."""
    case = "{as: demo, run: disk.usage, on: local, at: 2026-11-02, expect: deny}"
    put(folder / "tests.yaml", f"version: 1\ntests: [{case}]\n")
    done = cmdhttp("explain", "disk.usage", "--as", "demo", "--policies", str(folder))
    assert (done.returncode, done.stderr) == (
        0,
        "note: this policy is not in force: 1 of its tests fail ('cmdhttp test')\n",
    )
    put(folder / "more.yaml", "version: 1\nroles: {r: [{commands: none, hosts: local}]}\n")
    broken = cmdhttp("explain", "disk.usage", "--as", "demo", "--policies", str(folder))
    assert (broken.returncode, broken.stdout) == (2, "")
    assert "P205 there is no command 'none'" in broken.stderr


def test_nothing_from_the_command_line_moves_the_cursor() -> None:
    """Control and direction characters of names and values are printed as escapes, on stdout and on stderr."""
    evil = "\x1b[2J\u202e"
    shown = cmdhttp("explain", "disk.usage", f"a{evil}=1", "--as", f"p{evil}", "--on", f"h{evil}")
    wrong = cmdhttp("explain", "disk.usage", f"a{evil}", "--as", "demo")
    late = cmdhttp("explain", "disk.usage", "--as", "demo", f"a{evil}")
    unknown = cmdhttp("can", "--as", f"p{evil}")
    assert (shown.returncode, wrong.returncode, late.returncode, unknown.returncode) == (1, 2, 2, 2)
    for done in (shown, wrong, late, unknown):
        assert "\\x1b[2J\\u202e" in done.stdout + done.stderr
        assert not {"\x1b", "\u202e"} & set(done.stdout + done.stderr)


# -- can


def test_can() -> None:
    """The table of one principal on one host, with what a deny takes from a row."""
    done = cmdhttp("can", "--as", "soc", "--on", "dc1", "--run", "account.disable", *AT)
    assert (done.returncode, done.stderr) == (0, "")
    head, row, note = done.stdout.splitlines()[1:]
    assert head.split() == ["effect", "hosts", "values", "by", "role"]
    assert row.split() == ["change", "dc1", "account:", "any", "soc-contain", "policies/access.yaml:26:7"]
    assert note.startswith(
        "      not with account: cmdhttp | cmdhttp-collect | root on dc1: 'these accounts are ours' always"
    )


def test_can_as_json_holds_every_host(folder: Path) -> None:
    """Text counts hosts, JSON names them all; what is denied altogether stands apart, with its reason and window."""
    hosts = "".join(
        f"  h{number:02}: {{address: 192.0.2.1, ssh: linux, labels: {{role: web}}}}\n" for number in range(30)
    )
    deny = "{why: closed, commands: disk.clean, from: 2026-01-01, until: 2027-01-01}"
    put(folder / "more.yaml", f"version: 1\nhosts:\n{hosts}deny: [{deny}]\n")
    call = ("can", "--as", "ops", "--policies", str(folder), *AT)
    text, document = cmdhttp(*call).stdout, printed(cmdhttp(*call, "--json"))
    (restart,) = [row for row in document["allowed"] if row["values"] == {"unit": "nginx"}]
    assert len(restart["hosts"]) == 32
    assert "h00, h01, h02 and 29 more" in text
    (denied,) = document["denied"]
    assert (denied["command"], denied["hosts"], denied["approval"]) == ("disk.clean", [], None)
    assert (denied["except"][0]["why"], denied["except"][0]["until"]) == ("closed", "2027-01-01")
    assert "denied now: ops disk.clean by role web-operator" in text


def test_can_shows_approvals(folder: Path) -> None:
    """A command that others must approve is in the table, and says so."""
    more = "{wipe: {run: [/bin/wipe], on: local, effect: destroy, approval: {by: ops}}}"
    access = "roles: {wiper: [{commands: wipe, hosts: local}]}\ngrants: [{to: demo, roles: wiper}]"
    put(folder / "more.yaml", f"version: 1\ncommands: {more}\n{access}\n")
    done = cmdhttp("can", "--run", "wipe", "--policies", str(folder))
    assert done.returncode == 0
    assert "      once approved: 1 of ops within 900 s, not the caller\n" in done.stdout


def test_can_of_nothing() -> None:
    """Where nothing is allowed it says so, and the exit code is 1."""
    done = cmdhttp("can", "--as", "helpdesk", "--on", "web1", *AT)
    assert (done.returncode, done.stdout) == (1, "helpdesk on web1: nothing is allowed at 2026-11-02\n")


# -- diff


def test_diff_of_a_policy_with_itself(folder: Path) -> None:
    """A copy of a policy under another name differs in nothing, host keys included."""
    other = folder.parent / "other"
    shutil.copytree(folder, other)
    (other / "access.yaml").rename(other / "zzz.yaml")
    done = cmdhttp("diff", str(folder), str(other))
    assert (done.returncode, done.stdout, done.stderr) == (0, "0 gained, 0 lost, 0 changed\n", "")


def test_rights_over_jobs_of_others(folder: Path) -> None:
    """`diff` says who gains one, with exit code 1; `can` shows it, and it lets nobody run anything."""
    other = folder.parent / "other"
    shutil.copytree(folder, other)
    line = "{commands: disk.usage, hosts: local, jobs: cancel, of: ops}"
    put(
        other / "more.yaml",
        f"version: 1\nprincipals: {{lead: {{}}}}\nroles: {{lead: [{line}]}}\ngrants: [{{to: lead, roles: lead}}]\n",
    )
    done, place = cmdhttp("diff", str(folder), str(other)), f"{other}/more.yaml:3:16"
    gained = (
        "+ lead may do more with jobs of others, disk.usage on local, by role lead: now cancel, of ops, with any values"
    )
    assert (done.returncode, done.stdout.splitlines()[0]) == (1, f"{gained}, was nothing ({place})")
    document = printed(cmdhttp("diff", str(other), str(folder), "--json"))
    assert [(one["what"], one["before"]) for one in document["lost"]] == [("jobs", "cancel, of ops, with any values")]
    call = ("can", "--as", "lead", "--policies", str(other), *AT)
    done = cmdhttp(*call)
    assert done.returncode == 1
    assert done.stdout.splitlines() == [
        "lead: nothing is allowed at 2026-11-02",
        f"jobs of others: lead disk.usage on local: cancel, of ops, with any values, by role lead {place}",
    ]
    (right,) = printed(cmdhttp(*call, "--json"))["jobs"]
    assert (right["right"], right["of"], right["hosts"], right["command"]) == (
        "cancel",
        ["ops"],
        ["local"],
        "disk.usage",
    )


def test_diff_of_rights(folder: Path) -> None:
    """What one side gains the other loses: exit code 1 only where somebody gains."""
    other = folder.parent / "other"
    shutil.copytree(folder, other)
    put(other / "more.yaml", "version: 1\ngrants: [{to: helpdesk, roles: look}]\n")
    there, back = cmdhttp("diff", str(folder), str(other)), cmdhttp("diff", str(other), str(folder))
    assert (there.returncode, back.returncode) == (1, 0)
    place = f"({other}/access.yaml:11:7)"
    assert f"+ helpdesk may now run disk.usage on local (any values) by role look {place}\n" in there.stdout
    assert f"- helpdesk may no longer run disk.usage on local (any values) by role look {place}\n" in back.stdout
    document = printed(cmdhttp("diff", str(folder), str(other), "--json"))
    assert [len(document[sign]) for sign in ("gained", "lost", "changed")] == [3, 0, 0]
    assert document["gained"][1] == {
        "what": "right",
        "principal": "helpdesk",
        "command": "disk.usage",
        "hosts": ["local"],
        "subject": "look",
        "before": "",
        "now": "any values",
        "at": f"{other}/access.yaml:11:7",
    }


def test_diff_of_everything_else(folder: Path) -> None:
    """Values, denies, meanings and ways in each have their sentence; other host keys are told by what the file holds."""
    other = folder.parent / "other"
    shutil.copytree(folder, other)
    access, services = other / "access.yaml", other / "it" / "services.yaml"
    put(
        access,
        access.read_text().replace("unit: [nginx]", "unit: [nginx, app-worker]").replace(", cmdhttp-collect]", "]"),
    )
    put(services, services.read_text().replace("timeout: 2m", "timeout: 1m"))
    put(other / "keys" / "known_hosts", "192.0.2.11 ssh-ed25519 AAAA\n")
    limits = access.read_text().replace("  ops: {} ", "  ops: {limits: {queue: 1}} ")
    put(access, limits)
    done = cmdhttp("diff", str(folder), str(other))
    assert done.returncode == 1
    assert (
        "+ ops may send more to service.restart on web1 by role web-operator: now unit: nginx | app-worker, was"
        in done.stdout
    )
    assert (
        "+ soc is held back less from account.disable on dc1 by the deny 'these accounts are ours': now" in done.stdout
    )
    assert "- ops gets less from service.restart on web1, web2: timeout: now 60 s, was 120 s (" in done.stdout
    assert "- ops has less to come in with: limits queue: now 1, was none\n" in done.stdout
    assert (
        "~ helpdesk gets something else from account.show, account.unlock on dc1: host keys: now keys/known_hosts sha256:"
        in done.stdout
    )
    (other / "keys" / "known_hosts").unlink()
    assert "now keys/known_hosts (No such file or directory), was" in cmdhttp("diff", str(folder), str(other)).stdout


# -- all three


@pytest.mark.parametrize(
    "arguments",
    [
        ("explain", "disk.usage", "path", "--as", "demo"),
        ("explain", "disk.usage", "=/", "--as", "demo"),
        ("explain", "disk.usage", "path:=/", "--as", "demo"),
        ("explain", "disk.usage", "path:=NaN", "--as", "demo"),
        ("explain", "disk.usage", "path=/", "path:=1", "--as", "demo"),
        ("explain", "disk.usage", "path:=1", "path:=1", "--as", "demo"),
        ("explain", "disk.usage", "--as", "demo", "--at", "soon"),
        ("explain", "disk.usage"),
        ("explain", "disk.usage", "--as", "demo", "--policies", "none"),
        ("explain", "disk.usage", "--as", "demo", "--none", "x=1"),
        ("can",),
        ("can", "--as", "nobody"),
        ("can", "--run", "nothing"),
        ("can", "--on", "nowhere"),
        ("can", "--as", "ops", "x=1"),
        ("can", "--as", "ops", "--policies", "none"),
        ("diff", "policies"),
        ("diff", "policies", "none"),
        ("diff", "none", "policies"),
    ],
)
def test_what_cannot_be_told(arguments: tuple[str, ...]) -> None:
    """A command line that is wrong, or a policy that does not load, is exit code 2 and a message."""
    done = cmdhttp(*arguments)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr
    assert "Traceback" not in done.stderr


def test_the_folder_may_come_from_the_environment(folder: Path) -> None:
    """CMDHTTP_POLICIES names the folder for `explain` and `can`; the flag wins."""
    put(folder / "more.yaml", "version: 1\ngrants: [{to: helpdesk, roles: look}]\n")
    call = ("can", "--as", "helpdesk", "--run", "disk.usage", "--json")
    assert cmdhttp(*call, CMDHTTP_POLICIES=str(folder)).returncode == 0
    assert cmdhttp(*call, "--policies", "policies", CMDHTTP_POLICIES=str(folder)).returncode == 1


@pytest.mark.parametrize("verb", ["explain", "can", "diff"])
def test_help(verb: str) -> None:
    """Each verb explains its exit codes and gives an example."""
    done = cmdhttp(verb, "--help")
    assert (done.returncode, done.stderr) == (0, "")
    assert "exit code:\n  0  " in done.stdout
    assert f"  cmdhttp {verb} " in done.stdout
