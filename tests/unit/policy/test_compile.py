"""What does not fit together is said at its place, all of it at once."""

# ruff: noqa: ISC004 - a long message goes on in the next line

import hashlib
from datetime import UTC, datetime
from ipaddress import ip_network
from pathlib import Path

import pytest

from cmdhttp.policy.compile import Folders, compile_all
from cmdhttp.policy.compiled import Host, KeyLogin, Profile, Script, Stdin
from cmdhttp.policy.fields import Share
from cmdhttp.policy.merge import merge
from cmdhttp.policy.model import Effect
from tests.unit.policies import compiled, findings, judged, sources, unmarked

HOSTS = """\
ssh_profiles: {linux: {user: u, auth: {key: file:k}, host_keys: {known_hosts: known}}}
hosts:
  web1: {address: 10.0.0.1, ssh: linux, labels: {role: web}}
"""
NO_FILES = (
    "P216 warning: this version cannot do files on hosts with the shell raw: what needs it never runs\n"
    "    hint: take such hosts out of 'on', or expect such calls to end as 'unsupported' there"
)
RAW = HOSTS.replace("{user: u,", "{shell: raw, user: u,")
NO_FILES_BY_SUDO = NO_FILES.replace("hosts with the shell raw", "commands that sudo runs").replace(
    "files on", "files of"
)
SUDO = HOSTS.replace("{user: u,", "{become: sudo, user: u,")
COMMAND = """\
commands:
  restart:
    run: [/bin/restart, <unit>]
    params: {unit: {type: enum, values: [nginx, redis]}}
    on: web1
    tags: [units]
principals: {alice: {}}
"""


def test_files_on_unix_hosts_are_no_news() -> None:
    """Over SSH as here, also where sudo could become another account and does not."""
    text = "commands: {c: {on: [local, web1], run: [/bin/c, <f>], params: {f: {type: file}}, files: {collect: [a]}}}"
    for files in (HOSTS + text, SUDO + text, SUDO + text.replace("[local, web1], run:", "web1, as: u, run:")):
        assert judged(files)[1] == []


def command(fields: str, *, params: str = "", mark: str = "") -> str:
    return f"commands:\n  {mark}c: {{on: local, params: {{{params}}}, {fields}}}\n"


WRONG: dict[str, tuple[str, str]] = {
    # the file with a `^` where the message must point, and the message
    "ssh profile": (
        "ssh_profiles: {linux: {user: u, auth: {key: file:k}, host_keys: {known_hosts: known}}}\n"
        "hosts: {h: {address: a, ssh: ^linus}}",
        "P205 there is no ssh profile 'linus'\n    hint: did you mean 'linux'?",
    ),
    "host in on": (
        HOSTS + "commands: {c: {run: [/bin/c], on: ^web7}}",
        "P205 there is no host or group 'web7'\n    hint: did you mean 'web1'?",
    ),
    "host in a list in a group": (
        HOSTS + "groups: {all: [web1, ^wbe1]}",
        "P205 there is no host or group 'wbe1'\n    hint: did you mean 'web1'?",
    ),
    "label": (
        HOSTS + "groups: {all: {^rolle: web}}",
        "P205 no host has the label 'rolle'\n    hint: did you mean 'role'?",
    ),
    "empty label map": (HOSTS + "groups: {all: ^{}}", "P206 an empty label map selects nothing"),
    "label of a map": (
        HOSTS + "groups: {all: {role: ^{a: b}}}",
        "P206 a label's value must be text, or a list of texts",
    ),
    "command in a role": (
        HOSTS + COMMAND + "roles: {r: [{commands: [^restrat], hosts: web1}]}",
        "P205 there is no command 'restrat'\n    hint: did you mean 'restart'?",
    ),
    "tag in a deny": (
        HOSTS + COMMAND + "deny: [{why: w, commands: {tag: ^unit}}]",
        "P205 no command has the tag 'unit'\n    hint: did you mean 'units'?",
    ),
    "command selector": (
        HOSTS + COMMAND + "deny: [{why: w, commands: ^{effect: changes}}]",
        "P206 a command selector is a name, {effect: read|change|destroy}, {tag: NAME}, a list of these, or '*'",
    ),
    "command selector of two keys": (
        HOSTS + COMMAND + "deny: [{why: w, commands: ^{effect: change, tag: units}}]",
        "P206 a command selector is a name, {effect: read|change|destroy}, {tag: NAME}, a list of these, or '*'",
    ),
    "role in a grant": (
        "principals: {alice: {}}\nroles: {oper: []}\ngrants: [{to: alice, roles: [^opera]}]",
        "P205 there is no role 'opera'\n    hint: did you mean 'oper'?",
    ),
    "principal in a grant": (
        "principals: {alice: {}}\nroles: {oper: []}\ngrants: [{to: [^alise], roles: [oper]}]",
        "P205 there is no principal 'alise'\n    hint: did you mean 'alice'?",
    ),
    "principal in a deny": (
        "principals: {alice: {}}\ndeny: [{why: w, to: ^alcie}]",
        "P205 there is no principal 'alcie'\n    hint: did you mean 'alice'?",
    ),
    "role in a deny": (
        "roles: {oper: []}\ndeny: [{why: w, to: [^'role:opr']}]",
        "P205 there is no role 'opr'\n    hint: did you mean 'oper'?",
    ),
    "local is taken": (
        "ssh_profiles: {linux: {user: u, auth: {key: file:k}, host_keys: {known_hosts: known}}}\n"
        "hosts: {^local: {address: a, ssh: linux}}",
        "P207 'local' is this machine and cannot be defined\n    hint: choose another name",
    ),
    "a host and a group": (
        HOSTS + "groups: {^web1: web1}",
        "P207 'web1' is a host and a group\n    hint: rename one of them",
    ),
    "account on local": (
        command("run: [/bin/c], as: ^root"),
        "P208 'as: root' on local needs the service to be started as root\n"
        "    hint: start it as root, leave out 'as', or take 'local' out of 'on'",
    ),
    "nothing to run": (
        command("effect: read", mark="^"),
        "P209 give exactly one of run, script and script_file (given: none)",
    ),
    "args without script": (
        command("run: [/bin/c], args: ^[x]"),
        "P209 'args' goes with a script, and this command has 'run'",
    ),
    "placeholder": (
        command("run: [/bin/c, ^<unti>]", params="unit: {type: int}"),
        "P210 unknown placeholder '<unti>'\n    hint: did you mean 'unit'?",
    ),
    "placeholder in an argument of a script": (
        command("script: x, interpreter: sh, args: [^<uint>]", params="unit: {type: int}"),
        "P210 unknown placeholder '<uint>'\n    hint: did you mean 'unit'?",
    ),
    "interpreter": (
        command("script: x, interpreter: ^ruby"),
        "P211 a script needs a known interpreter\n    hint: one of: sh, bash, python, powershell",
    ),
    "no interpreter": (
        command("script: x", mark="^"),
        "P211 a script needs a known interpreter\n    hint: one of: sh, bash, python, powershell",
    ),
    "script file": (
        command("script_file: ^nowhere.sh, interpreter: sh"),
        "P212 the script file cannot be read: No such file or directory\n"
        "    hint: the path counts from the policy folder",
    ),
    "script file outside": (
        command("script_file: ^../x.sh, interpreter: sh"),
        "P212 the script file is outside the policy folder",
    ),
    "absolute script file": (
        command("script_file: ^/etc/passwd, interpreter: sh"),
        "P212 the script file is outside the policy folder",
    ),
    "narrowed parameter": (
        HOSTS + COMMAND + "roles: {r: [{commands: restart, hosts: web1, params: {unti: ^nginx}}]}",
        "P213 the command 'restart' has no parameter 'unti'\n    hint: did you mean 'unit'?",
    ),
    "narrowed value": (
        HOSTS + COMMAND + "roles: {r: [{commands: restart, hosts: web1, params: {unit: ^[ngnix]}}]}",
        "P213 'unit' cannot be narrowed so: value 1 is not one this parameter can have: is not one of"
        " the listed values",
    ),
    "narrowing of two types": (
        "commands:\n"
        "  a: {run: [/bin/a, <n>], params: {n: {type: int}}, on: local}\n"
        "  b: {run: [/bin/b, <n>], params: {n: {type: int, max: 5}}, on: local}\n"
        "roles: {r: [{commands: [a, b], hosts: local, params: {n: ^3}}]}",
        "P213 the commands of this line declare 'n' differently\n    hint: write one line for each of these commands",
    ),
    "token twice": (
        "principals:\n"
        f"  a: {{tokens: [{{id: AAAAAAAA, sha256: {'0' * 64}}}]}}\n"
        f"  b: {{tokens: [^{{id: AAAAAAAA, sha256: {'1' * 64}}}]}}\n",
        "P214 the token id 'AAAAAAAA' is used twice (first at a.yaml:3:16)",
    ),
    "a window without inside": (
        "deny: [^{why: w, from: 2026-12-20, until: 2026-12-20}]",
        "P215 'until' is not after 'from', so this deny never matches",
    ),
    "source": (
        "principals: {a: {from: [^10.0.0.1/8]}}",
        "P201 '10.0.0.1/8' is not a network, like 198.51.100.0/24\n    hint: the host bits must be zero",
    ),
    "secret to an appliance": (
        RAW + "commands: {c: {on: web1, run: [c, <s>], params: {s: ^{type: secret}}}}",
        NO_FILES,
    ),
    "upload to an appliance": (
        RAW + "commands: {c: {on: [local, web1], run: [/bin/c, <f>], params: {f: ^{type: file}}}}",
        NO_FILES,
    ),
    "collecting from an appliance": (
        RAW + "commands: {c: {on: web1, run: [c], files: ^{collect: [a]}}}",
        NO_FILES,
    ),
    "upload for what sudo runs": (
        SUDO + "commands: {c: {on: web1, as: root, run: [/bin/c, <f>], params: {f: ^{type: file}}}}",
        NO_FILES_BY_SUDO,
    ),
    "one variable for two": (
        command("script: x, interpreter: sh", params="f: {type: file}, f_file: ^{type: int}"),
        "P225 'f' and 'f_file' both fill the variable P_F_FILE\n    hint: give one of them another name",
    ),
    "a file outside": (
        command("run: [/bin/c], files: {collect: [a, ^../b]}"),
        "P201 files.collect: must be a path from the run's folder, like report/*.csv: *, ?, ** for folders, no '..',"
        " 8 levels at most",
    ),
    "a list of uploads": (
        command("run: [/bin/c]", params="f: {type: list, of: {type: ^file}}"),
        "P201 the items of a list cannot be of type file\n    hint: write one parameter for each value",
    ),
    "parser": (
        command("run: [/bin/c], result: {parse: ^jsno}"),
        "P220 there is no parser 'jsno'\n    hint: did you mean 'json'?",
    ),
    "parser unlike any": (command("run: [/bin/c], result: {parse: ^uptime}"), "P220 there is no parser 'uptime'"),
    "relative program": (
        command("run: [^c]"),
        "P301 the program 'c' is not an absolute path\n    hint: write the whole path, like /usr/bin/c",
    ),
    "empty program": (
        command("run: [^'']"),
        "P301 the program '' is not an absolute path\n    hint: write the whole path, like /usr/bin/",
    ),
    "relative program of this machine and Windows": (
        "ssh_profiles: {p: {user: u, auth: {key: file:k}, host_keys: {known_hosts: k}, shell: cmd}}\n"
        "hosts: {h: {address: a, ssh: p}}\ncommands: {c: {on: [local, h], run: [^c.exe]}}",
        "P301 the program 'c.exe' is not an absolute path\n    hint: write the whole path, like /usr/bin/c.exe",
    ),
    "batch file": (
        "ssh_profiles: {p: {user: u, auth: {key: file:k}, host_keys: {known_hosts: k}, shell: powershell}}\n"
        "hosts: {h: {address: a, ssh: p}}\ncommands: {c: {on: h, run: [^'C:/c.bat']}}",
        "P301 the program 'C:/c.bat' is not an .exe or .com named by its absolute path, or it is cmd.exe\n"
        "    hint: write the whole path, like C:\\Windows\\System32\\whoami.exe",
    ),
    "program that is no word": (
        "ssh_profiles: {p: {user: u, auth: {key: file:k}, host_keys: {known_hosts: k}, shell: raw}}\n"
        "hosts: {h: {address: a, ssh: p}}\ncommands: {c: {on: h, run: [^'show version']}}",
        "P301 the program 'show version' cannot be sent to a host with the shell raw\n"
        "    hint: one word of letters, digits and ._/:,=@+-, like show",
    ),
    "program from a parameter": (
        command("run: [^/bin/<p>]", params="p: {type: int}"),
        "P302 the program may not depend on a parameter\n    hint: write one command for each program",
    ),
    "program in a group": (
        command("run: [^[/bin/c]]"),
        "P302 the program may not depend on a parameter\n    hint: write one command for each program",
    ),
    "value": (
        command("run: [/bin/c], timeout: ^5"),
        "P201 c.timeout: must be a duration with its unit, like 500ms, 30s, 2m or 1h30m",
    ),
    "missing key": ("commands: {c: ^{run: [/bin/c]}}", "P202 the key 'on' is missing"),
    "missing version of a parameter": (
        command("run: [/bin/c]", params="u: ^{}"),
        "P202 the key 'type' is missing\n    hint: the types are: bool, cidr, date, datetime, duration,"
        " email, enum, file, filename, hash, hostname, int, ip, json, list, number, path, port, secret, string, url,"
        " username, uuid",
    ),
    "parameter type": (
        command("run: [/bin/c]", params="u: {type: ^strin}"),
        "P201 unknown parameter type 'strin'\n    hint: did you mean 'string'?",
    ),
}


def test_a_parser_that_could_be_installed() -> None:
    """Where there are parsers to be had, the hint says how, beside the name that may have been meant."""
    text = command("run: [/bin/c], result: {parse: jsno}")
    folders = Folders(policies=Path("/p"), secrets=Path("/s"), parsers=("json",), more_parsers="buy some")
    (found,) = compile_all(merge(sources(text)), folders=folders, digest="").findings
    assert found.hint == "did you mean 'json'?; buy some"


def test_a_parser_is_part_of_the_command() -> None:
    """The parser's name is kept, and a command without one has none."""
    assert compiled(command("run: [/bin/c], result: {parse: json}")).commands["c"].parser == "json"
    assert compiled(command("run: [/bin/c]")).commands["c"].parser is None


@pytest.mark.parametrize("name", WRONG)
def test_each_finding_with_its_place(name: str) -> None:
    """One mistake is one message: code, file, line, column and what to do about it."""
    text, message = WRONG[name]
    text, place = unmarked(text)
    assert findings(text) == [f"{place}: {message}"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("^comands: {}", "P203 unknown key 'comands'\n    hint: did you mean 'commands'?"),
        (
            command("run: [/bin/c], ^time_out: 5s"),
            "P203 unknown key 'time_out'\n    hint: did you mean 'timeout'?",
        ),
        (
            command("run: [/bin/c], output: {^maxx: 1MiB}"),
            "P203 unknown key 'maxx'\n    hint: did you mean 'max'?",
        ),
        (
            command("run: [/bin/c]", params="u: {type: int, ^mim: 1}"),
            "P203 unknown key 'mim'\n    hint: did you mean 'min'?",
        ),
        (
            command("run: [/bin/c]", params="u: {type: list, of: {type: ip, ^not_inn: [10.0.0.0/8]}}"),
            "P203 unknown key 'not_inn'\n    hint: did you mean 'not_in'?",
        ),
        (
            HOSTS.replace("address", "^adress"),
            "P203 unknown key 'adress'\n    hint: did you mean 'address'?",
        ),
        (
            HOSTS.replace("known_hosts", "^known_host"),
            "P203 unknown key 'known_host'\n    hint: did you mean 'known_hosts'?",
        ),
        (
            "roles: {r: [{commands: '*', hosts: '*', ^param: {}}]}",
            "P203 unknown key 'param'\n    hint: did you mean 'params'?",
        ),
        ("grants: [{to: a, ^role: b}]", "P203 unknown key 'role'\n    hint: did you mean 'roles'?"),
        ("deny: [{why: w, ^untill: 2027-01-01}]", "P203 unknown key 'untill'\n    hint: did you mean 'until'?"),
        (
            "principals: {a: {tokens: [{id: AAAAAAAA, ^sha265: x}]}}",
            "P203 unknown key 'sha265'\n    hint: did you mean 'sha256'?",
        ),
        (command("run: [/bin/c], ^sudo: yes"), "P203 unknown key 'sudo'"),
    ],
)
def test_an_unknown_key_is_an_error_at_every_depth(text: str, message: str) -> None:
    """A misspelt key is never ignored; it is named at its place, with the nearest key that is known there."""
    text, place = unmarked(text)
    assert f"{place}: {message}" in findings(text)


def test_duplicates_show_both_places() -> None:
    """A name defined in two files is an error that shows both, in every section."""
    both = HOSTS + COMMAND + "groups: {g: web1}\nroles: {r: []}"
    found = findings(both, "\n" + both)
    first_lines = [message.partition("\n")[0] for message in found]
    assert first_lines == [
        "b.yaml:3:16: P204 'linux' is defined twice in ssh_profiles (first at a.yaml:2:16)",
        "b.yaml:5:3: P204 'web1' is defined twice in hosts (first at a.yaml:4:3)",
        "b.yaml:7:3: P204 'restart' is defined twice in commands (first at a.yaml:6:3)",
        "b.yaml:12:14: P204 'alice' is defined twice in principals (first at a.yaml:11:14)",
        "b.yaml:13:10: P204 'g' is defined twice in groups (first at a.yaml:12:10)",
        "b.yaml:14:9: P204 'r' is defined twice in roles (first at a.yaml:13:9)",
    ]


def test_two_things_to_run() -> None:
    """A command that says twice what runs is told so at its name."""
    found = findings(command("run: [/bin/c], script: x, interpreter: sh"))
    assert [message.split(": ")[1] for message in found] == [
        "P209 give exactly one of run, script and script_file (given",
        "P209 'interpreter' goes with a script, and this command has 'run'",
    ]


def test_everything_is_said_at_once() -> None:
    """All findings of all files come together, in the order of files and lines."""
    one = "roles: {r: [{commands: nothing, hosts: nowhere}]}\ngrants: [{to: nobody, roles: none}]"
    assert [line.split(" ")[0:2] for line in findings(one, "deny: [{why: w, to: nobody}]")] == [
        ["a.yaml:2:24:", "P205"],
        ["a.yaml:2:40:", "P205"],
        ["a.yaml:3:15:", "P205"],
        ["a.yaml:3:30:", "P205"],
        ["b.yaml:2:21:", "P205"],
    ]


def test_faults_of_syntax_and_of_shape_come_together() -> None:
    """A file that is not YAML does not hide what is wrong in another."""
    codes = [message.split(" ")[1] for message in findings("a: [", "b: 1")]
    assert codes == ["P123", "P203"]


def test_a_host_has_everything_to_log_in() -> None:
    """A host takes port and account from its profile, and its files lie in the folders of secrets and policies."""
    policy = compiled(HOSTS + "  web2: {address: 'fd00::1', port: 2222, ssh: linux}\n")
    profile = Profile(account="u", login=KeyLogin(path="/secrets/k"), known_hosts="/nowhere/known")
    assert policy.hosts == {
        "local": Host(name="local"),
        "web1": Host(name="web1", address="10.0.0.1", port=22, profile=profile, labels={"role": "web"}),
        "web2": Host(name="web2", address="fd00::1", port=2222, profile=profile),
    }


def test_star_in_on_leaves_local_out() -> None:
    """A command for every host is not made for this machine; that must be named."""
    text = HOSTS + "commands: {a: {run: [/bin/a], on: '*'}, b: {run: [/bin/b], on: [local, '*']}}"
    commands = compiled(text).commands
    assert (commands["a"].hosts, commands["b"].hosts) == (frozenset({"web1"}), frozenset({"web1", "local"}))


def test_a_command_says_all_its_limits() -> None:
    """Every limit of a command is what its line says, in seconds and bytes."""
    made = compiled(
        command(
            "run: [/bin/c], timeout: 1h30m, output: {max: 2KiB}, stdin: {type: secret, max: 1KiB}, max_parallel: 3,"
            " batch: 25%, max_failures: 0,"
            " success_codes: [0, 3], reason: required, env: {LANG: C}, effect: read, tags: [t]"
        )
    ).commands["c"]
    assert (made.timeout, made.output.max_bytes, made.stdin) == (5400.0, 2048, Stdin(max_bytes=1024, secret=True))
    assert (made.batch, made.max_failures) == (Share(number=25, percent=True), Share(number=0))
    assert (made.max_parallel, made.success_codes, made.reason_required) == (3, frozenset({0, 3}), True)
    assert (made.env, made.atoms) == ({"LANG": "C"}, ("name:c", "effect:read", "tag:t", "*"))


def test_a_change_unless_said_otherwise() -> None:
    """A command that does not say what it does is taken for a change, takes no stdin, and has a time limit."""
    made = compiled(command("run: [/bin/c]")).commands["c"]
    assert (made.effect, made.stdin, made.timeout, made.success_codes) == (Effect.CHANGE, None, 300.0, frozenset({0}))


def test_tokens_belong_to_their_principal() -> None:
    """A token record holds the principal, its digest, its last moment and the networks it may come from."""
    text = (
        f"principals: {{a: {{from: [10.0.0.0/8, '::1/128'], tokens: [{{id: AAAAAAAA, sha256: {'ab' * 32},"
        " expires: 2027-01-31}]}}"
    )
    record = compiled(text).tokens["AAAAAAAA"]
    assert (record.id, record.principal, record.sha256) == ("AAAAAAAA", "a", b"\xab" * 32)
    assert record.expires == datetime(2027, 1, 31, tzinfo=UTC).timestamp()
    assert record.sources == (ip_network("10.0.0.0/8"), ip_network("::1/128"))


def test_roles_are_held_once_and_sorted() -> None:
    """Grants add up, whatever their order."""
    text = "principals: {a: {}}\nroles: {x: [], y: []}\ngrants: [{to: a, roles: [y, x]}, {to: [a], roles: y}]"
    assert compiled(text).principals["a"].roles == ("x", "y")


def test_a_script_is_part_of_the_digest(tmp_path: Path) -> None:
    """The text of a script file is read at the load, and another text is another policy."""
    script = tmp_path / "s.sh"
    text = command("script_file: s.sh, interpreter: sh")
    script.write_text("echo 1")
    first = compiled(text, policies=tmp_path)
    assert first.commands["c"].script == Script(
        interpreter=("/bin/sh",), text="echo 1", sha256=hashlib.sha256(b"echo 1").hexdigest()
    )
    script.write_text("echo 2")
    assert compiled(text, policies=tmp_path).digest != first.digest


def test_which_script_belongs_to_which_command_is_part_of_the_digest(tmp_path: Path) -> None:
    """Two script files that change places make another policy; in whichever file a command stands, it is the same."""
    first, second = (f"commands: {{{c}: {{script_file: {c}.sh, interpreter: sh, on: local}}}}" for c in "ab")
    digests = []
    for one, other in (("echo", "halt"), ("halt", "echo")):
        (tmp_path / "a.sh").write_text(one)
        (tmp_path / "b.sh").write_text(other)
        digests += [
            compiled(first, second, policies=tmp_path).digest,
            compiled(second, first, policies=tmp_path).digest,
        ]
    assert digests[0] == digests[1] != digests[2] == digests[3]


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"\xff", "the script file cannot be read: it is not UTF-8 text"),
        (b"x" * 65537, "the script file cannot be read: it is over 65536 bytes"),
    ],
)
def test_a_script_file_that_cannot_be_used(tmp_path: Path, data: bytes, message: str) -> None:
    """A script file must be UTF-8 and small."""
    (tmp_path / "s.sh").write_bytes(data)
    found = findings(command("script_file: s.sh, interpreter: sh"), policies=tmp_path)
    assert [message in line for line in found] == [True]


def test_a_link_does_not_lead_out_of_the_folder(tmp_path: Path) -> None:
    """A script file that is a link to a place outside the policy folder is refused."""
    (tmp_path / "out.sh").write_text("x")
    inside = tmp_path / "policies"
    inside.mkdir()
    (inside / "s.sh").symlink_to(tmp_path / "out.sh")
    assert "P212" in findings(command("script_file: s.sh, interpreter: sh"), policies=inside)[0]
