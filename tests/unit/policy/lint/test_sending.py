"""Commands for hosts that cannot be sent them."""

import pytest

from tests.unit.policy.lint.linting import each, found

HOSTS = """\
ssh_profiles:
  win: {user: u, auth: {key: file:k}, host_keys: {known_hosts: known}, shell: powershell}
  box: {user: u, auth: {key: file:k}, host_keys: {known_hosts: known}, shell: raw}
  unix: {user: u, auth: {key: file:k}, host_keys: {known_hosts: known}}
hosts:
  w: {address: 10.0.0.3, ssh: win}
  r: {address: 10.0.0.4, ssh: box}
  r2: {address: 10.0.0.4, ssh: box}
  r3: {address: 10.0.0.4, ssh: box}
  r4: {address: 10.0.0.4, ssh: box}
  x: {address: 10.0.0.6, ssh: unix}
"""
N = "params: {n: {type: int}}"
CASES = {
    "run: [/bin/c, <n>], on: [local, r, x]": [],
    "run: [/bin/c, 'a <n>'], on: [local, r, x]": ["r: this version cannot do an argument that is not plain"],
    "run: [/bin/c, 'a-<n>', [b.c, <n>]], on: [r]": [],
    "run: [/bin/c, [b c, <n>]], on: [r]": ["r: this version cannot do an argument that is not plain"],
    "run: [/bin/c, <n>], on: [w, x]": ["w: this version cannot do this program"],
    "run: ['C:/c.exe', <n>], on: [w, x]": ["x: this version cannot do this program"],
    "run: ['C:/c.exe', <n>], on: [w, local]": ["local: this version cannot do this program"],
    "script: x $P_N, interpreter: sh, on: [w, x]": ["w: this version cannot do scripts for others than powershell"],
    "script: x $P_N, interpreter: sh, args: [a b], on: [r, x]": ["r: this version cannot do scripts"],
    "script: x $env:P_N, interpreter: powershell, on: [w, x]": [],
    "run: [show, <n>], env: {A: b}, stdin: {type: secret}, on: [r, r2, r3]": [
        "r, r2, r3: this version cannot do variables",
        "r, r2, r3: this version cannot do a secret by stdin",
    ],
    "run: [show, <n>], env: {A: b}, on: [r, r2, r3, r4]": ["r, r2, r3 and 1 more: this version cannot do variables"],
    "run: [show, <n>], stdin: {type: text}, on: [r]": [],
}


def test_what_can_never_run_is_said() -> None:
    """Each kind of host is told once, with what of the command cannot be done there."""
    told = {
        name: [finding.message for finding in findings if finding.code == "P334"]
        for name, findings in each({name: f"{name}, {N}" for name in CASES}, HOSTS).items()
    }
    short = {
        name: [message.partition(" can never run on ")[2].partition(" on hosts with")[0] for message in messages]
        for name, messages in told.items()
    }
    assert short == CASES


@pytest.mark.parametrize(("key", "text"), [("run", "run: [/bin/c, a b]"), ("env", "run: [show], env: {A: b}")])
def test_where_it_stands(key: str, text: str) -> None:
    """The finding stands at the key that the host cannot be sent."""
    line = f"commands: {{c: {{on: r, {text}}}}}"
    (finding,) = (finding for finding in found(line, HOSTS) if finding.code == "P334")
    value = {"run": "[/bin", "env": "{A"}[key]
    assert (finding.at.line, finding.at.column) == (2, line.index(value) + 1)


def test_interpreters_of_windows_are_known() -> None:
    """A value in the code of an interpreter is an error wherever that lies."""
    text = "commands: {c: {on: w, run: ['C:\\Windows\\x\\PowerShell.exe', -Command, <n>], params: {n: {type: int}}}}"
    assert "P303" in {finding.code for finding in found(text, HOSTS)}
