"""A call becomes argv and steps: one item, one argument, whatever the values are."""

import hashlib
from dataclasses import replace
from typing import Any

import pytest

from cmdhttp.errors import BadValue
from cmdhttp.plan.argv import MAX_ARGV, Resolver
from cmdhttp.plan.build import Wish, _secrets, build_plan, check_wish
from cmdhttp.plan.model import KeyFile, LocalTarget, Plan, Shell, SshTarget, Staged, UnsupportedTarget, staged_path
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


def test_the_shell_of_the_host_comes_along() -> None:
    """Which family of shells takes the line is the profile's word, not a guess."""
    policy = made("run: [/bin/c]")
    web1 = policy.hosts["web1"]
    assert web1.profile is not None
    profile = replace(web1.profile, shell="cmd")  # noqa: S604 - nothing is run
    odd = replace(policy, hosts={"web1": replace(web1, profile=profile)})
    target = plan(odd, "web1").steps[0].target
    assert isinstance(target, SshTarget)
    assert target.shell is Shell.CMD


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


def test_files_are_for_local_runs() -> None:
    """A step that sends files to an SSH host, or would collect some there, is one that cannot be done; others run."""
    policy = made("run: [/bin/c, [<f>]]", "f: {type: file, required: false}")
    sent = plan(policy, "local", "web1", f=UPLOAD).steps
    assert (sent[0].target, sent[1].target) == (LocalTarget(), UnsupportedTarget(what="files on SSH hosts"))
    assert isinstance(plan(policy, "web1").steps[0].target, SshTarget)
    kept = plan(made("run: [/bin/c], files: {collect: [a/*, b], max: 1KiB}"), "local", "web1").steps
    assert kept[0].collect == kept[1].collect == Collect(patterns=("a/*", "b"), max_bytes=1024)
    assert (kept[0].target, kept[1].target) == (LocalTarget(), UnsupportedTarget(what="files on SSH hosts"))
    assert plan(made("run: [/bin/c], files: {collect: [a]}")).steps[0].collect == Collect(
        patterns=("a",), max_bytes=16 << 20
    )


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
