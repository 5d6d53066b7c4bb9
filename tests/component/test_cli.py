"""The command line as a person runs it."""

import json
import shutil
import socket
from datetime import datetime
from pathlib import Path

import pytest

from cmdhttp import __version__
from cmdhttp.auth.tokens import TokenRecord, verify
from tests.support.cli import cmdhttp

BROKEN = "version: 1\ncommands:\n  c: {on: local, run: [c], time_out: 5s}\n"
GOOD = (
    "version: 1\ncommands: {c: {on: local, run: [/usr/bin/true], effect: read, timeout: 5s}}\nprincipals: {p: {}}\n"
    "roles: {r: [{commands: c, hosts: local}]}\ngrants: [{to: p, roles: r}]\n"
)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "policies"
    made.mkdir(mode=0o755)
    return made


def put(folder: Path, text: str) -> None:
    path = folder / "p.yaml"
    path.write_text(text)
    path.chmod(0o644)


def test_check_of_a_good_policy(folder: Path) -> None:
    """A policy that loads is summed up in one line, with its digest, and the exit code is 0."""
    put(folder, GOOD)
    done = cmdhttp("check", str(folder))
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith(f"{folder}: 1 commands, 1 hosts, 1 principals, 0 tokens; sha256:")
    document = json.loads(cmdhttp("check", str(folder), "--json").stdout)
    assert document.pop("policy") + "\n" in done.stdout
    assert document == {"ok": True, "findings": [], "commands": 1, "hosts": 1, "principals": 1, "tokens": 0}


def test_check_of_a_broken_policy(folder: Path) -> None:
    """A policy that does not load is exit code 2, with every finding at its place and its hint."""
    put(folder, BROKEN)
    done = cmdhttp("check", str(folder))
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.splitlines()[:2] == [
        f"{folder}/p.yaml:3:28: P203 unknown key 'time_out'",
        "    hint: did you mean 'timeout'?",
    ]


def test_check_as_json(folder: Path) -> None:
    """`--json` gives the same findings as data on stdout."""
    put(folder, BROKEN)
    done = cmdhttp("check", str(folder), "--json")
    assert (done.returncode, done.stderr) == (1, "")
    assert json.loads(done.stdout) == {
        "ok": False,
        "findings": [
            {
                "code": "P203",
                "severity": "error",
                "file": f"{folder}/p.yaml",
                "line": 3,
                "column": 28,
                "message": "unknown key 'time_out'",
                "hint": "did you mean 'timeout'?",
            }
        ],
    }


def test_check_of_a_parser(folder: Path) -> None:
    """A parser that is there passes, and one that is not is named with the nearest."""
    put(folder, GOOD.replace("effect: read", "effect: read, result: {parse: df}"))
    assert cmdhttp("check", str(folder), "--strict").returncode == 0
    put(folder, GOOD.replace("effect: read", "effect: read, result: {parse: uptiem}"))
    done = cmdhttp("check", str(folder))
    assert (done.returncode, done.stderr.splitlines()[:2]) == (
        1,
        [f"{folder}/p.yaml:2:79: P220 there is no parser 'uptiem'", "    hint: did you mean 'uptime'?"],
    )


def test_check_of_no_folder(tmp_path: Path) -> None:
    """A folder that is not there is a finding too."""
    done = cmdhttp("check", str(tmp_path / "none"))
    assert done.returncode == 2
    assert "P101" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_token_that_works() -> None:
    """The token verifies against the digest that is printed with it, until its end."""
    done = cmdhttp("token", "new", "tines-prod", "--expires", "12h", "--json")
    assert (done.returncode, done.stderr) == (0, "")
    made = json.loads(done.stdout)
    assert set(made) == {"token", "id", "sha256", "expires"}
    ends = datetime.fromisoformat(made["expires"]).timestamp()
    sha256 = bytes.fromhex(made["sha256"])
    table = {made["id"]: TokenRecord(id=made["id"], principal="tines-prod", sha256=sha256, expires=ends)}
    assert verify(made["token"], table=table, now=ends - 1) is not None
    assert verify(made["token"], table=table, now=ends) is None


def test_the_line_to_paste_loads(folder: Path) -> None:
    """What `token new` prints for the policy is policy, and holds the digest and not the token."""
    done = cmdhttp("token", "new", "tines-prod")
    lines = done.stdout[done.stdout.index("principals:") :]
    assert "cmdh_" not in lines
    put(folder, "version: 1\n" + lines)
    assert json.loads(cmdhttp("check", str(folder), "--json").stdout)["tokens"] == 1


def test_every_token_is_another() -> None:
    """Two tokens share neither id nor secret."""
    first, second = (json.loads(cmdhttp("token", "new", "p", "--json").stdout) for _ in range(2))
    assert first["id"] != second["id"]
    assert first["token"] != second["token"]


@pytest.mark.parametrize(
    "arguments",
    [
        ("token", "new", "a b"),
        ("token", "new", ""),
        ("token", "new", "p", "--expires", "soon"),
        ("token", "new", "p", "--expires", "0s"),
        ("token", "new", "p", "--expires", "99999999999d"),
        ("serve", "--wait", "soon"),
        ("serve", "--policies", "/nonexistent"),
        ("frobnicate",),
        (),
    ],
)
def test_what_cannot_be_done(arguments: tuple[str, ...], tmp_path: Path) -> None:
    """A command line that cannot be carried out is exit code 2 and a message, never a traceback."""
    done = cmdhttp(*arguments, CMDHTTP_DATA=str(tmp_path / "data"))
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr
    assert "Traceback" not in done.stderr


def test_an_unknown_variable_stops_serve(tmp_path: Path) -> None:
    """A misspelt setting stops the service before it does anything."""
    done = cmdhttp("serve", CMDHTTP_WIAT="5", CMDHTTP_DATA=str(tmp_path / "data"))
    assert done.returncode == 2
    assert done.stderr.startswith("cmdhttp: there is no setting CMDHTTP_WIAT\n")
    assert not (tmp_path / "data").exists()


@pytest.mark.parametrize(
    ("arguments", "shown"),
    [
        (("--help",), ("start here:", "serve", "init", "schema", "check", "token")),
        (("serve", "--help"), ("--ops-listen", "CMDHTTP_OPS_LISTEN", "--demo")),
        (("doctor", "--help"), ("--ops-listen", "CMDHTTP_OPS_LISTEN", "--json", "Exit code 0", "changes nothing")),
        (("init", "--help"), ("exit code", "not empty", "check --strict")),
        (("schema", "--help"), ("exit code", ".schema.json", "yaml-language-server")),
        (("check", "--help"), ("--json", "Exit code 0")),
        (("token", "--help"), ("make a token",)),
        (("token", "new", "--help"), ("--expires", "--json", "sha256")),
    ],
)
def test_help(arguments: tuple[str, ...], shown: tuple[str, ...]) -> None:
    """Every verb explains itself."""
    done = cmdhttp(*arguments)
    assert (done.returncode, done.stderr) == (0, "")
    assert [word for word in shown if word not in done.stdout] == []


def test_help_shows_defaults_as_a_person_writes_them() -> None:
    """A whole number has no '.0', and an empty map is 'none'."""
    shown = " ".join(cmdhttp("serve", "--help").stdout.split())
    assert "[CMDHTTP_POLICY_POLL; 2]" in shown
    assert "[CMDHTTP_INTERPRETERS; none]" in shown


def test_version() -> None:
    """`--version` is the version of the package."""
    assert cmdhttp("--version").stdout == f"cmdhttp {__version__}\n"


def test_the_example_policy_passes_its_tests() -> None:
    """The policy that newcomers copy passes its own tests, and they touch every rule of it."""
    strict = cmdhttp("check", "policies", "--strict")
    assert (strict.returncode, strict.stderr) == (0, "")
    done = cmdhttp("test", "policies")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.endswith(" passed, 0 failed\n")
    assert "no test touches" not in done.stdout
    document = json.loads(cmdhttp("test", "policies", "--json").stdout)
    assert (document["ok"], document["untouched"]) == (True, [])
    assert len(document["tests"]) > document["rules"] > 10
    assert set(document["tests"][0]) == {"name", "at", "passed", "failure"}


def test_the_folder_may_come_from_the_environment(folder: Path) -> None:
    """Without DIR, the variable that `serve` reads names the folder."""
    put(folder, GOOD)
    done = cmdhttp("check", CMDHTTP_POLICIES=str(folder))
    assert (done.returncode, done.stdout.startswith(f"{folder}: 1 commands")) == (0, True)


def test_strict_lets_warnings_count(folder: Path) -> None:
    """A warning is shown and passes; with `--strict` it is exit code 1. A batch of the only host is one."""
    put(folder, GOOD.replace("effect: read", "effect: read, batch: 1"))
    lenient = cmdhttp("check", str(folder))
    strict = cmdhttp("check", str(folder), "--strict", "--json")
    assert (lenient.returncode, strict.returncode) == (0, 1)
    assert "P335 warning:" in lenient.stderr
    document = json.loads(strict.stdout)
    assert (document["ok"], document["commands"]) == (False, 1)
    assert {finding["severity"] for finding in document["findings"]} == {"warning"}


def test_test_of_what_does_not_load(folder: Path) -> None:
    """`test` of a policy that does not load shows why, as text or as JSON; a folder that is not there is exit code 2."""
    put(folder, BROKEN)
    assert "P203 unknown key 'time_out'" in cmdhttp("test", str(folder)).stderr
    done = cmdhttp("test", str(folder), "--json")
    assert (done.returncode, json.loads(done.stdout)["ok"]) == (1, False)
    assert cmdhttp("test", str(folder / "gone")).returncode == 2


def test_a_policy_that_fails_its_tests_does_not_load(tmp_path: Path) -> None:
    """A failed test is shown by `test`, and is a finding for `check` and for `serve`."""
    folder = tmp_path / "policies"
    shutil.copytree("policies", folder)
    tests = folder / "tests.yaml"
    good = "run: service.status, on: db1, with: {unit: postgresql}, expect: allow"
    tests.write_text(tests.read_text().replace(good, good.replace("allow", "deny")))
    shown = cmdhttp("test", str(folder), "-k", "ops runs service.status")
    assert shown.returncode == 1
    assert "FAIL  ops runs service.status on db1" in shown.stdout
    assert shown.stdout.endswith("0 passed, 1 failed\n")
    checked = cmdhttp("check", str(folder))
    served = cmdhttp("serve", "--policies", str(folder), "--data", str(tmp_path / "data"))
    assert (checked.returncode, served.returncode) == (1, 2)
    assert "P501" in checked.stderr
    assert "P501" in served.stderr


def test_one_address_for_both_listeners(tmp_path: Path) -> None:
    """The second listener finds the address taken: a message that names its flag, and no banner before it."""
    data = tmp_path / "data"
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{probe.getsockname()[1]}"
    done = cmdhttp("serve", "--demo", "--data", str(data), "--listen", address, "--ops-listen", address)
    assert (done.returncode, done.stdout) == (2, "")
    assert f"cannot listen on {address} (--ops-listen): Address already in use" in done.stderr
    assert "choose another address with --ops-listen" in done.stderr


def test_what_check_says_beside_findings(folder: Path) -> None:
    """Without a token nobody could call, and `--strict` says why it did not pass."""
    put(folder, GOOD)
    assert "no principal has a token: make one with 'cmdhttp token new NAME'" in cmdhttp("check", str(folder)).stdout
    put(folder, GOOD.replace("effect: read", "effect: read, batch: 1"))
    done = cmdhttp("check", str(folder), "--strict")
    assert done.stderr.endswith("0 errors, 1 warning: not passed, because of --strict\n")


def test_a_test_that_is_not_there() -> None:
    """`-k` with a text that is in no name is an error: a typing error in a pipeline must not pass."""
    done = cmdhttp("test", "policies", "-k", "no such name")
    assert (done.returncode, done.stdout) == (2, "")
    assert "no test has 'no such name' in its name" in done.stderr
