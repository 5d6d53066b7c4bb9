"""A call becomes argv and steps: one item, one argument, whatever the values are."""

import hashlib
from bisect import bisect_left
from dataclasses import replace
from typing import Any

import pytest

from cmdhttp.errors import BadValue
from cmdhttp.plan.argv import MAX_ARGV, Resolver
from cmdhttp.plan.build import Wish, _secrets, build_plan, check_wish
from cmdhttp.plan.model import (
    Agent,
    AgentSigner,
    Certificate,
    KeyFile,
    KeyVariable,
    LocalTarget,
    PasswordFile,
    PasswordVariable,
    Plan,
    Shell,
    SshTarget,
    Staged,
    UnsupportedTarget,
    staged_path,
)
from cmdhttp.plan.remote import has_files, in_folder
from cmdhttp.policy.compiled import Collect, Limits, Policy
from cmdhttp.policy.decide import bind
from cmdhttp.policy.params.values import Secret
from tests.unit.policies import compiled, judged

HOSTS = """
ssh_profiles: {linux: {user: u, port: 2200, auth: {key: file:k}, host_keys: {known_hosts: known}}}
hosts: {web1: {address: 10.0.0.1, ssh: linux}, web2: {address: 10.0.0.2, port: 22, ssh: linux}}
"""
ANY = "{type: string, pattern: '(?s).*', unicode: true, max_length: 8192, leading_dash: true}"


def made(fields: str, params: str = "", *, may_switch: bool = False) -> Policy:
    text = HOSTS + f"commands: {{c: {{on: [local, '*'], {fields}, params: {{{params}}}}}}}"
    return compiled(text, may_switch=may_switch)


def argv(run: str, params: str, **values: Any) -> tuple[str, ...]:
    command = made(f"run: {run}", params).commands["c"]
    bound = bind(command, values)
    assert bound.errors == ()
    return Resolver(command=command, values=bound.values).argv()


def plan(policy: Policy, *hosts: str, wish: Wish = Wish(), **values: Any) -> Plan:  # noqa: B008 - frozen
    command = policy.commands["c"]
    return build_plan(policy, command, hosts or ("local",), bind(command, values), wish)


@pytest.mark.parametrize(
    "value",
    [
        "",
        " ",
        "a b",
        "; rm -rf /",
        "$(id)",
        "`id`",
        "| cat",
        "&& id",
        "'\"'\"",
        "--help",
        "-rf",
        "<other>",
        "<x>",
        "*",
        "~",
        "${IFS}",
        "%s",
        "\\",
        "é€😀",
        "a=b",
    ],
)
def test_a_hostile_value_is_one_argument(value: str) -> None:
    """No value adds an argument, ends one, or is read again as a placeholder."""
    params = f"x: {ANY}, other: {{type: int, default: '1'}}"
    assert argv("[/bin/c, <x>, --y=<x>.service, end]", params, x=value) == (
        "/bin/c",
        value,
        f"--y={value}.service",
        "end",
    )


@pytest.mark.parametrize(
    ("run", "params", "values", "expected"),
    [
        ("[/bin/c, '<l...>', z]", "l: {type: list, of: {type: int}}", {"l": [3, 1, 2]}, ("3", "1", "2", "z")),
        ("[/bin/c, '<l...>', z]", "l: {type: list, of: {type: int}, required: false}", {}, ("z",)),
        ("[/bin/c, '<l...>', z]", "l: {type: list, of: {type: int}, required: false}", {"l": []}, ("z",)),
        ("[/bin/c, [-n, <n>], z]", "n: {type: int, required: false}", {}, ("z",)),
        ("[/bin/c, [-n, <n>], z]", "n: {type: int, required: false}", {"n": 0}, ("-n", "0", "z")),
        ("[/bin/c, [<a>, <b>], z]", "a: {type: int, required: false}, b: {type: int}", {"b": 1}, ("z",)),
        (
            "[/bin/c, [<a>, <b>], z]",
            "a: {type: int, required: false}, b: {type: int}",
            {"a": 2, "b": 1},
            ("2", "1", "z"),
        ),
        ("[/bin/c, <v>, z]", "v: {type: bool, flag: --verbose}", {"v": True}, ("--verbose", "z")),
        ("[/bin/c, <v>, z]", "v: {type: bool, flag: --verbose}", {"v": False}, ("z",)),
        ("[/bin/c, <v>, z]", "v: {type: bool, flag: --verbose, required: false}", {}, ("z",)),
        ("[/bin/c, <v>, z]", "v: {type: bool}", {"v": False}, ("false", "z")),
        ("[/bin/c, <n>.<n>]", "n: {type: int, default: '7'}", {}, ("7.7",)),
        ("[/bin/c, '', '  ']", "", {}, ("", "  ")),
    ],
)
def test_each_form(run: str, params: str, values: dict[str, Any], expected: tuple[str, ...]) -> None:
    """Spreads, groups, flags and defaults come to exactly the arguments that they stand for."""
    assert argv(run, params, **values) == ("/bin/c", *expected)


def test_argv_has_a_cap() -> None:
    """The arguments together, each with its terminator, may be 64 KiB of UTF-8 and not a byte more."""
    params = f"l: {{type: list, max_items: 100, of: {ANY}}}"
    assert MAX_ARGV == 65_536
    room = MAX_ARGV - len("/bin/c") - 1
    full = ["x" * 8191] * (room // 8192)
    rest = room - 8192 * len(full)
    assert len(argv("[/bin/c, '<l...>']", params, l=[*full, "y" * (rest - 1)])) == len(full) + 2
    with pytest.raises(BadValue) as caught:
        argv("[/bin/c, '<l...>']", params, l=[*full, "y" * rest])
    assert caught.value.code == "argv_too_long"
    assert "yy" not in caught.value.detail


def test_an_argv_too_long_for_ssh_is_refused_before_anything_runs() -> None:
    """A line that an SSH host could not take is refused in the plan, though it would fit locally."""
    policy = made("run: [/bin/c, '<l...>']", f"l: {{type: list, max_items: 100, of: {ANY}}}")
    values: dict[str, Any] = {"l": [" " * 8000] * 6}
    assert plan(policy, "local", **values).steps[0].argv[1:] == tuple(values["l"])
    with pytest.raises(BadValue) as caught:
        plan(policy, "local", "web1", **values)
    assert caught.value.code == "argv_too_long"


@pytest.mark.parametrize(
    ("wish", "refused"),
    [
        (Wish(), []),
        (Wish(timeout=30.0), []),
        (Wish(timeout=0.001), []),
        (Wish(timeout=30.001), [("/timeout", "too_large")]),
        (Wish(timeout=float("inf")), [("/timeout", "too_large")]),
        (Wish(stdin=b"x" * 1024), []),
        (Wish(stdin=b""), []),
        (Wish(stdin=b"x" * 1025), [("/stdin", "too_large")]),
        (Wish(stdin=b"x" * 1025, timeout=99), [("/timeout", "too_large"), ("/stdin", "too_large")]),
    ],
)
def test_limits_only_go_down(wish: Wish, refused: list[tuple[str, str]]) -> None:
    """A caller may ask for less than the policy grants and never for more."""
    command = made("run: [/bin/c], timeout: 30s, stdin: {max: 1KiB}").commands["c"]
    assert [(pointer, error.code) for pointer, error in check_wish(command, wish)] == refused


@pytest.mark.parametrize(
    ("fields", "wish", "pointer", "refusal"),
    [
        (
            "timeout: 90s",
            Wish(timeout=91),
            "/timeout",
            BadValue(
                "too_large",
                "a caller may lower the time limit, not raise it",
                hint="Ask for at most 90 seconds, or leave it out.",
            ),
        ),
        (
            "timeout: 90s",
            Wish(stdin=b""),
            "/stdin",
            BadValue("not_accepted", "this command takes no stdin", hint="Leave it out."),
        ),
        (
            "stdin: {max: 2B}",
            Wish(stdin=b"123"),
            "/stdin",
            BadValue("too_large", "stdin is over 2 bytes"),
        ),
    ],
)
def test_a_refused_wish_says_why(fields: str, wish: Wish, pointer: str, refusal: BadValue) -> None:
    """What the policy does not grant is named by its pointer, with what may be asked instead; empty stdin is stdin."""
    ((where, error),) = check_wish(made(f"run: [/bin/c], {fields}").commands["c"], wish)
    assert (where, error.code, error.detail, error.hint) == (pointer, refusal.code, refusal.detail, refusal.hint)


@pytest.mark.parametrize(("asked", "given"), [(None, 30.0), (5.0, 5.0), (0.001, 0.001), (3600.0, 30.0)])
def test_the_plan_holds_the_lower_limit(asked: float | None, given: float) -> None:
    """Whatever was asked for and whoever forgot to check, no step runs longer than the policy says."""
    policy = made("run: [/bin/c], timeout: 30s, output: {max: 5B}")
    step = plan(policy, wish=Wish(timeout=asked)).steps[0]
    assert (step.timeout, step.output_limit) == (given, 5)


def test_a_step_for_each_host() -> None:
    """Steps come in the order of the hosts, each with all that is needed to reach its own."""
    steps = plan(made("run: [/bin/c], stdin: {}"), "web2", "local", "web1", wish=Wish(stdin=b"in")).steps
    assert [(step.run, step.host, step.stdin) for step in steps] == [
        (0, "web2", b"in"),
        (1, "local", b"in"),
        (2, "web1", b"in"),
    ]
    reach = {"account": "u", "login": KeyFile(path="/secrets/k"), "known_hosts": "/nowhere/known"}
    assert [step.target for step in steps] == [
        SshTarget(address="10.0.0.2", port=22, **reach),  # type: ignore[arg-type]
        LocalTarget(),
        SshTarget(address="10.0.0.1", port=2200, **reach),  # type: ignore[arg-type]
    ]


def test_what_a_local_run_keeps_to() -> None:
    """Account, isolation, limits, and what happens at the output cap stand in the step, for whoever starts it."""
    fields = "as: www, isolation: namespace, limits: {cpu: 2s, files: 9}, output: {max: 5B, when_full: keep_ends}"
    step, far = plan(made(f"run: [/bin/c], {fields}", may_switch=True), "local", "web1").steps
    assert (step.target, step.limits) == (LocalTarget(account="www", isolated=True), Limits(cpu=2.0, files=9))
    assert (step.keep_ends, far.keep_ends) == (True, True)
    assert isinstance(far.target, SshTarget)
    assert far.target.account == "www"
    assert plan(made("run: [/bin/c]")).steps[0].keep_ends is False


ODD = """
ssh_profiles:
  win: {user: u, auth: {key: file:k}, host_keys: {known_hosts: known}, shell: cmd}
  box: {user: u, auth: {key: file:k}, host_keys: {known_hosts: known}, shell: raw}
  low: {user: u, auth: {key: file:k}, host_keys: {known_hosts: known}, become: sudo}
  unix: {user: u, auth: {key: file:k}, host_keys: {known_hosts: known}}
hosts:
  w: {address: 10.0.0.3, ssh: win}
  r: {address: 10.0.0.4, ssh: box}
  s: {address: 10.0.0.5, ssh: low}
  x: {address: 10.0.0.6, ssh: unix}
"""


def odd(fields: str, params: str = "", on: str = "'*'") -> Policy:
    return compiled(ODD + f"commands: {{c: {{on: {on}, {fields}, params: {{{params}}}}}}}")


def target(policy: Policy, host: str, **values: Any) -> SshTarget:
    found = plan(policy, host, **values).steps[0].target
    assert isinstance(found, SshTarget)
    return found


def test_the_shell_of_the_host_comes_along() -> None:
    """Which family of shells takes the line is the profile's word, not a guess."""
    assert target(odd("run: ['C:/c.exe']"), "w").shell is Shell.CMD
    assert target(odd("run: [show]"), "r").shell is Shell.RAW
    assert target(odd("run: [/bin/c]"), "x").shell is Shell.POSIX


@pytest.mark.parametrize(
    ("fields", "what"),
    [
        ("run: [/bin/c]", {"w": "this program on hosts with the shell cmd"}),
        ("run: ['C:/c.exe']", dict.fromkeys("sx", "this program on hosts with the shell posix")),
        ("run: ['C:/c.exe', a b]", {"r": "an argument that is not plain on hosts with the shell raw"}),
        ("run: ['C:\\c.exe']", {"r": "this program on hosts with the shell raw"}),
        ("run: [/bin/c, [b, '']]", {"r": "an argument that is not plain on hosts with the shell raw"}),
        ("run: [show]", {"w": "this program on hosts with the shell cmd", "x": "this program on hosts with the shell posix"}),
        ("run: [/bin/c, a b]", {"r": "an argument that is not plain on hosts with the shell raw"}),
        ("run: [/bin/c], env: {A: b}", {"r": "variables on hosts with the shell raw"}),
        ("run: [/bin/c], stdin: {type: secret}", {"r": "a secret by stdin on hosts with the shell raw"}),
        ("script: x, interpreter: sh", {
            "r": "scripts on hosts with the shell raw",
            "w": "scripts for others than powershell on hosts with the shell cmd",
        }),
        ("script: x, interpreter: powershell", {
            "r": "scripts on hosts with the shell raw",
            "x": "scripts for powershell",
        }),
    ],
)  # fmt: skip
def test_what_a_host_cannot_be_sent_is_not_tried(fields: str, what: dict[str, str]) -> None:
    """A command is planned to end as unsupported on each host whose shell cannot be sent it, and to run on the others."""
    policy = odd(fields, "n: {type: int, required: false}")
    for host, said in what.items():
        assert plan(policy, host).steps[0].target == UnsupportedTarget(what=said)


def test_a_command_for_all_runs_where_it_can() -> None:
    """Only what a raw host reads as syntax is kept from it, and PowerShell's scripts are for Windows."""
    for fields, hosts in {
        "run: [/bin/c, a.b, <n>], stdin: {}": "rsx",
        "run: ['C:/c.exe', '']": "w",
        "run: ['C:/c.exe', a]": "wr",
        "script: x, interpreter: sh, env: {A: b}": "sx",
        "script: x, interpreter: powershell": "w",
    }.items():
        steps = plan(odd(fields, "n: {type: int, default: '1'}" if "<n>" in fields else ""), *"wrsx").steps
        assert "".join(step.host for step in steps if isinstance(step.target, SshTarget)) == hosts


def test_a_program_of_windows_is_none_of_this_machine() -> None:
    """Here a program has a path from the root, whatever else the command is made for."""
    policy = odd("run: ['C:/c.exe']", on="[local, w]")
    assert plan(policy, "local").steps[0].target == UnsupportedTarget(what="this program on hosts with the shell posix")


def test_a_value_that_a_raw_host_cannot_be_sent() -> None:
    """It is refused by the name of its parameter, before anything runs anywhere, and is no trouble for other hosts."""
    params = f"v: {ANY}, l: {{type: list, of: {ANY}}}, f: {{type: bool, flag: '-f', required: false}}"
    policy = odd("run: [/bin/c, 'a<v>', '<l...>', [<f>]]", params)
    assert target(policy, "r", v="", l=["b", "c.d"], f=True).shell is Shell.RAW
    assert target(policy, "r", v="", l=[]).shell is Shell.RAW
    refused: list[tuple[dict[str, Any], str]] = [({"v": "x;y", "l": []}, "v"), ({"v": "x", "l": ["a", "b c"]}, "l")]
    for values, name in refused:
        assert target(policy, "x", **values).shell is Shell.POSIX
        with pytest.raises(BadValue) as caught:
            plan(policy, "x", "r", **values)
        assert (caught.value.code, caught.value.param) == ("not_plain", name)
        assert caught.value.detail == f"the value of '{name}' cannot be sent to a host with the shell raw"
    with pytest.raises(BadValue, match="an argument cannot be sent") as caught:
        plan(policy, "r", v="x", l=[""])
    assert (caught.value.code, caught.value.param) == ("not_plain", "")


def test_each_shell_has_its_own_length() -> None:
    """A call is refused if it is too long for one of its hosts, by the limit of that one."""
    policy = odd("run: ['C:/c.exe', <v>]", f"v: {ANY}", on="w")
    assert target(policy, "w", v="x" * 2000).shell is Shell.CMD
    with pytest.raises(BadValue, match="and 8000 fit"):
        plan(policy, "w", v="x" * 3000)
    with pytest.raises(BadValue, match="and 4000 fit"):
        plan(odd("run: [/bin/c, <v>]", f"v: {ANY}"), "x", "r", v="x" * 5000)


@pytest.mark.parametrize(("account", "becomes"), [("www", "www"), ("u", None), (None, None)])
def test_sudo_leaves_the_login_as_it_is(account: str | None, becomes: str | None) -> None:
    """With `become: sudo` the profile's account logs in, and `as` is whom it becomes, unless that is the same."""
    found = target(odd("run: [/bin/c]" + (f", as: {account}" if account else "")), "s")
    assert (found.account, found.become) == ("u", becomes)
    other = target(odd("run: [/bin/c]" + (f", as: {account}" if account else "")), "x")
    assert (other.account, other.become) == (account or "u", None)


def test_a_line_is_as_long_as_sudo_makes_it() -> None:
    """Hosts that differ in sudo alone are judged each by its own line."""
    policy = odd("run: [/bin/c, '<l...>'], as: www", f"l: {{type: list, max_items: 100, of: {ANY}}}")
    room = bisect_left(range(4001), True, key=lambda n: not _fits(policy, "x", n)) - 1
    assert 0 < room < 4000
    assert not _fits(policy, "s", room)
    with pytest.raises(BadValue):
        plan(policy, "x", "s", l=[" " * 4500] * 4 + [" " * room])


def _fits(policy: Policy, host: str, room: int) -> bool:
    try:
        plan(policy, host, l=[" " * 4500] * 4 + [" " * room])
    except BadValue:
        return False
    return True


AUTHORITIES = "ssh_authorities: {main: {key: file:ca}, var: {key: env:CA}, far: {agent: env:A, public_key: ca.pub}}\n"


def reached(profiles: str, *, effect: str = "read", account: str = "") -> SshTarget:
    """The target of a command on the host `web`, whose profile is `p`; `hop` and `way` are hosts of these profiles."""
    hosts = "hosts: {web: {address: a, ssh: p}, hop: {address: b, ssh: hop}, way: {address: c, ssh: way}}\n"
    rest = "".join(
        f"  {name}: {{user: u, auth: {{key: file:k}}, host_keys: {{known_hosts: k}}}}\n"
        for name in ("p", "hop", "way")
        if f"  {name}: " not in profiles
    )
    fields = f"effect: {effect}{f', as: {account}' if account else ''}"
    command = f"commands: {{c: {{run: [/bin/c], on: web, {fields}}}}}"
    target = plan(compiled(f"{AUTHORITIES}ssh_profiles:\n{profiles}{rest}{hosts}{command}"), "web").steps[0].target
    assert isinstance(target, SshTarget)
    return target


def profile(auth: str, more: str = "") -> str:
    return f"{{user: u, auth: {auth}, host_keys: {{known_hosts: k}}{more}}}\n"


@pytest.mark.parametrize(
    ("auth", "login"),
    [
        ("{key: file:k}", KeyFile(path="/secrets/k")),
        ("{key: env:KEY}", KeyVariable(variable="KEY")),
        ("{agent: /run/agent}", Agent(socket="/run/agent")),
        ("{agent: env:A}", Agent(socket="env:A")),
        ("{password: file:pw}", PasswordFile(password_file="/secrets/pw")),
        ("{password: env:PW}", PasswordVariable(password_variable="PW")),
        (
            "{certificate: {ca: main}}",
            Certificate(authority=KeyFile(path="/secrets/ca"), principal="cmdhttp-www", ttl=60.0),
        ),
        (
            "{certificate: {ca: var, principal: <account>, source_address: none}}",
            Certificate(authority=KeyVariable(variable="CA"), principal="www", ttl=60.0, sources=()),
        ),
        (
            "{certificate: {ca: far, principal: x, ttl: 10s, source_address: 10.0.0.1}}",
            Certificate(
                authority=AgentSigner(agent=Agent(socket="env:A"), public_key="/nowhere/ca.pub"),
                principal="x",
                ttl=10.0,
                sources=("10.0.0.1/32",),
            ),
        ),
    ],
)
def test_where_the_means_of_a_login_lie(auth: str, login: object) -> None:
    """The plan says where, and never what; a certificate is for the account that the command runs as."""
    target = reached(f"  p: {profile(auth)}", account="www")
    assert (target.login, target.account) == (login, "www")


@pytest.mark.parametrize(
    ("auth", "effect", "shared"),
    [
        ("{key: file:k}", "destroy", True),
        ("{certificate: {ca: main}}", "read", True),
        ("{certificate: {ca: main}}", "change", False),
        ("{certificate: {ca: main}}", "destroy", False),
    ],
)
def test_a_certificate_for_each_job_that_changes_something(auth: str, effect: str, *, shared: bool) -> None:
    """What reads may share a connection; with any other login, what changes may as well."""
    assert reached(f"  p: {profile(auth)}", effect=effect).shared is shared


def test_both_kinds_of_trust_come_along() -> None:
    """Host keys and those who sign them, and how another account is taken there."""
    target = reached("  p: {user: u, auth: {key: file:k}, host_keys: {cert_authority: ca}}\n")
    assert (target.known_hosts, target.cert_authority, target.become) == (None, "/nowhere/ca", None)


def test_the_way_through_jump_hosts() -> None:
    """Each as its own profile says, with its own account; a certificate for one leads on and runs nothing."""
    target = reached(
        f"  p: {profile('{key: file:k}', ', jump: hop')}"
        "  hop: {user: h, auth: {certificate: {ca: main}}, host_keys: {known_hosts: hk}, jump: way}\n"
        "  way: {user: w, port: 2222, auth: {agent: /run/a}, host_keys: {known_hosts: wk}}\n",
        effect="change",
        account="root",
    )
    way = SshTarget(
        address="c", port=2222, account="w", login=Agent(socket="/run/a"), known_hosts="/nowhere/wk", leads_on=False
    )
    hop = SshTarget(
        address="b",
        port=22,
        account="h",
        login=Certificate(authority=KeyFile(path="/secrets/ca"), principal="cmdhttp-h", ttl=60.0),
        known_hosts="/nowhere/hk",
        jump=way,
        leads_on=True,
    )
    assert (target.account, target.jump) == ("root", hop)


def test_a_jump_that_leads_nowhere_is_a_defect() -> None:
    """No policy that loads has one; if there is one, the host behind is not dialled directly instead."""
    policy = made("run: [/bin/c]")
    web1 = policy.hosts["web1"]
    assert web1.profile is not None
    odd = {**policy.hosts, "web1": replace(web1, profile=replace(web1.profile, jump="local"))}
    with pytest.raises(RuntimeError, match="not reached by SSH"):
        plan(replace(policy, hosts=odd), "web1")


def test_as_is_the_account_of_the_login() -> None:
    """`as` on an SSH host takes the place of the profile's account."""
    policy = compiled(HOSTS + "commands: {c: {run: [/bin/c], on: web1, as: root}}")
    target = plan(policy, "web1").steps[0].target
    assert isinstance(target, SshTarget)
    assert target.account == "root"


def test_a_script_gets_its_values_by_environment() -> None:
    """The text stays constant; values are variables `P_<NAME>`, absent ones are not set."""
    fields = "script: 'echo <x> $P_X', interpreter: sh, args: [<n>], env: {LANG: C, P_X: taken}"
    params = f"x: {ANY}, n: {{type: int}}, gone: {{type: int, required: false}}"
    made_plan = plan(made(fields, params), x="$(id)\N{SNOWMAN}", n=3)
    step = made_plan.steps[0]
    assert step.script is not None
    assert step.script.text == "echo <x> $P_X"
    assert step.argv == ("3",)
    assert step.env == {"LANG": "C", "P_X": "$(id)\N{SNOWMAN}", "P_N": "3"}
    assert made_plan.shown_params == {"x": "$(id)\N{SNOWMAN}", "n": 3}


def test_the_variables_of_one_call_are_not_those_of_the_next() -> None:
    """Each run starts from what the policy sets; a value of an earlier call never comes back."""
    policy = made("script: x, interpreter: sh, env: {LANG: C}", "n: {type: int, required: false}")
    assert plan(policy, n=3).steps[0].env == {"LANG": "C", "P_N": "3"}
    assert plan(policy).steps[0].env == {"LANG": "C"}


def test_a_secret_is_no_variable() -> None:
    """The environment of a process can be read by others, so a script gets a secret's path there and never its text."""
    command, _ = judged(
        "commands: {c: {on: local, script: x, interpreter: sh, params: {s: {type: secret}, n: {type: int}}}}"
    )
    c = command.policy.commands["c"]
    assert Resolver(command=c, values=bind(c, {"s": "hunter22", "n": 1}).values).env() == {"P_N": "1"}


UPLOAD = {"name": "a <s>.txt", "base64": "aGVsbG8=", "sha256": hashlib.sha256(b"hello").hexdigest()}
FILES = "f: {type: file}, s: {type: secret}, x: {type: string, pattern: '.*', required: false}"


def test_files_are_staged() -> None:
    """An upload keeps its name, a secret gets its parameter's; each lies in a folder of its own and shows no content."""
    policy = made("run: [/bin/c, <f>, --pw=<s>, [<x>]]", FILES)
    step = plan(policy, f=UPLOAD, s="hunter22", x="<s> <f>").steps[0]
    upload = Staged(param="f", name="a <s>.txt", data=b"hello", mode=0o600)
    secret = Staged(param="s", name="s", data=b"hunter22", mode=0o400)
    assert step.staged == (upload, secret)
    assert [staged_path("/run", file) for file in step.staged] == ["/run/files/f/a <s>.txt", "/run/files/s/s"]
    assert "hunter22" not in repr(step)
    assert "hello" not in repr(step)


def test_the_argv_of_a_run_has_the_paths_and_what_is_shown_has_not() -> None:
    """A path stands where the placeholder is in the policy, never where a value looks like one; records see placeholders."""
    policy = made("run: [/bin/c, <f>, --pw=<s>, [<x>]]", FILES)
    step = plan(policy, f=UPLOAD, s="hunter22", x="<s> <f>").steps[0]
    assert step.argv == step.shown_argv == ("/bin/c", "<f>", "--pw=<s>", "<s> <f>")
    assert step.argv_in("/run") == ("/bin/c", "/run/files/f/a <s>.txt", "--pw=/run/files/s/s", "<s> <f>")
    assert step.env_in("/run") == {}


def test_a_script_learns_where_its_files_are() -> None:
    """By argument like a program, and by a variable for each file that came; without files argv is as it is."""
    policy = made(
        "script: x, interpreter: sh, env: {LANG: C}, args: [[<f>]]",
        FILES.replace("secret}", "secret, required: false}").replace("file}", "file, required: false}"),
    )
    step = plan(policy, s="hunter22").steps[0]
    assert (step.argv_in("/run"), step.unplaced) == ((), ())
    assert step.env_in("/run") == {"LANG": "C", "P_S_FILE": "/run/files/s/s"}
    assert step.env == {"LANG": "C"}
    both = plan(policy, s="hunter22", f=UPLOAD).steps[0]
    assert both.argv_in("/r") == ("/r/files/f/a <s>.txt",)
    assert both.env_in("/r") == {"LANG": "C", "P_S_FILE": "/r/files/s/s", "P_F_FILE": "/r/files/f/a <s>.txt"}
    bare = plan(policy).steps[0]
    assert (bare.argv_in("/run"), bare.unplaced, bare.staged) == ((), None, ())


def test_files_go_to_unix_hosts() -> None:
    """A step that sends files to an SSH host, or collects some there, is as one here, but for its target."""
    policy = made("run: [/bin/c, [<f>]]", "f: {type: file, required: false}")
    here, there = plan(policy, "local", "web1", f=UPLOAD).steps
    assert isinstance(there.target, SshTarget)
    assert (here.staged, here.unplaced) == (there.staged, there.unplaced)
    assert (has_files(there), has_files(plan(policy, "web1").steps[0])) == (True, False)
    kept = plan(made("run: [/bin/c], files: {collect: [a/*, b], max: 1KiB}"), "local", "web1").steps
    assert kept[0].collect == kept[1].collect == Collect(patterns=("a/*", "b"), max_bytes=1024)
    assert isinstance(kept[1].target, SshTarget)
    assert has_files(kept[1])
    assert plan(made("run: [/bin/c], files: {collect: [a]}")).steps[0].collect == Collect(
        patterns=("a",), max_bytes=16 << 20
    )


def test_a_step_in_its_folder() -> None:
    """Paths of what is sent stand in the argv, and the folder to work in is TMPDIR; a script has both."""
    placed = in_folder(
        plan(made("run: [/bin/c, <f>]", "f: {type: file}"), "web1", f=UPLOAD).steps[0], work="/w", inputs="/i"
    )
    assert (placed.argv, placed.env, placed.unplaced) == (("/bin/c", "/i/files/f/a <s>.txt"), {"TMPDIR": "/w"}, None)
    script = made("script: x, interpreter: sh, env: {A: b}", "f: {type: file}")
    placed = in_folder(plan(script, "web1", f=UPLOAD).steps[0], work="/w", inputs="/i")
    assert placed.env == {"A": "b", "P_F_FILE": "/i/files/f/a <s>.txt", "TMPDIR": "/w"}


FEW = "ssh_profiles: {x: {user: u, auth: {key: file:k}, host_keys: {known_hosts: k}, %s}}\nhosts: {h: {address: a, ssh: x}}\n"


@pytest.mark.parametrize(
    ("profile", "fields", "what"),
    [
        ("shell: raw", "run: [c, [<f>]]", "files on hosts with the shell raw"),
        ("shell: cmd", r"run: ['C:\c.exe', [<f>]]", "files on hosts with the shell cmd"),
        ("become: sudo", "run: [/bin/c, [<f>]], as: root", "files of commands that sudo runs"),
        ("become: sudo", "run: [/bin/c, [<f>]], as: u", None),
        ("become: sudo", "run: [/bin/c, [<f>]]", None),
    ],
)
def test_where_no_files_can_go(profile: str, fields: str, what: str | None) -> None:
    """Such a step is one that cannot be done; without files it runs there."""
    policy = compiled(
        FEW % profile + f"commands: {{c: {{on: h, {fields}, params: {{f: {{type: file, required: false}}}}}}}}"
    )
    target = plan(policy, "h", f=UPLOAD).steps[0].target
    assert target == UnsupportedTarget(what=what) if what else isinstance(target, SshTarget)
    assert isinstance(plan(policy, "h").steps[0].target, SshTarget)


def test_paths_count_for_the_length_of_a_line() -> None:
    """The line that goes to a host is judged with room for the paths of files, which are longer than their placeholders."""
    many = ", ".join(400 * ["'=<f>'"])
    policy = made(f"run: [/bin/c, {many}]", "f: {type: file}")
    assert plan(policy, f=UPLOAD).steps
    with pytest.raises(BadValue) as bad:
        plan(policy, "web1", f={**UPLOAD, "name": 60 * "("})
    assert bad.value.code == "argv_too_long"


def test_a_program_gets_only_the_environment_of_the_policy() -> None:
    """Values go into the variables of a script and of nothing else."""
    step = plan(made("run: [/bin/c, <n>], env: {A: b}", "n: {type: int}"), n=3).steps[0]
    assert step.env == {"A": "b"}


def test_the_plan_names_its_policy() -> None:
    """A plan carries the digest of the policy that allowed it."""
    policy = made("run: [/bin/c], success_codes: [0, 2], max_parallel: 4, result: {parse: df}")
    made_plan = plan(policy)
    assert made_plan.parser == "df"
    assert (made_plan.command, made_plan.policy) == ("c", policy.digest)
    assert (made_plan.success_codes, made_plan.max_parallel) == (frozenset({0, 2}), 4)


@pytest.mark.parametrize(
    ("keys", "batch", "most"),
    [
        ("", 3, None),
        ("batch: 2, max_failures: 0", 2, 0),
        ("batch: 50%, max_failures: 67%", 1, 2),
        ("batch: 1%, max_failures: 33%", 1, 0),
        ("batch: 100%, max_failures: 100%", 3, 3),
        ("batch: 900, max_failures: 900", 900, 900),
    ],
)
def test_shares_are_of_the_hosts_of_the_call(keys: str, batch: int, most: int | None) -> None:
    """A percentage is rounded down, and a batch has one host at least."""
    policy = made(f"run: [/bin/c]{keys and ', '}{keys}")
    made_plan = build_plan(policy, policy.commands["c"], ["local"] * 3, bind(policy.commands["c"], {}), Wish())
    assert (made_plan.batch, made_plan.max_failures) == (batch, most)


def test_argv_is_not_shown_by_accident() -> None:
    """Neither argument values nor stdin stand in the text that a traceback or log would show of a plan."""
    policy = made("run: [/bin/c, <x>], stdin: {}", f"x: {ANY}")
    step = plan(policy, wish=Wish(stdin=b"CANARY1"), x="CANARY2").steps[0]
    assert "CANARY" not in repr(step)
    assert "CANARY" not in repr(Wish(stdin=b"CANARY"))


def test_a_step_knows_what_its_output_must_not_show() -> None:
    """Secret stdin, every secret value and the patterns of the policy; nothing else that came in."""
    fields = "script: x, interpreter: sh, stdin: {type: secret}, output: {redact: [tok, key]}"
    policy = made(fields, "s: {type: secret}, t: {type: secret, required: false}, n: {type: int}")
    step = plan(policy, wish=Wish(stdin=b"CANARY1\n"), s="CANARY2", n=7).steps[0]
    assert step.masks == (b"CANARY1\n", b"CANARY2")
    assert step.redact == ("tok", "key")
    assert "CANARY" not in repr(step)


def test_secrets_are_found_inside_lists() -> None:
    """However deep, and among values that are none."""
    assert list(_secrets((Secret("one"), "no", (Secret("two"), 3)))) == [b"one", b"two"]


@pytest.mark.parametrize(("stdin", "sent"), [("{}", b"text"), ("{type: secret}", None), ("{type: secret}", b"")])
def test_what_is_not_secret_is_no_mask(stdin: str, sent: bytes | None) -> None:
    """Stdin of type text may be shown, and what was not sent cannot."""
    step = plan(made(f"run: [/bin/c, <x>], stdin: {stdin}", f"x: {ANY}"), wish=Wish(stdin=sent), x="v").steps[0]
    assert (step.masks, step.redact) == ((), ())
