"""Who gains and who loses what: one change of a policy, and what is said of it."""

from datetime import UTC, datetime
from functools import cache

import pytest

from cmdhttp.policy.compiled import Policy
from cmdhttp.policy.review.diff import Difference, diff
from cmdhttp.policy.review.meaning import Sign
from tests.unit.policies import NOW, compiled

BASE = """
ssh_profiles:
  linux: {user: u, auth: {key: file:k}, host_keys: {known_hosts: known}}
  other: {user: v, auth: {key: file:j}, host_keys: {cert_authority: ca}, jump: web2, shell: raw, become: sudo}
hosts:
  web1: {address: 10.0.0.1, ssh: linux, labels: {role: web, env: prod}}
  web2: {address: 10.0.0.2, ssh: linux, labels: {role: web, env: staging}}
commands:
  restart:
    effect: change
    run: [/bin/restart, --, <unit>]
    params: {unit: {type: enum, values: [nginx, redis, app]}}
    on: {role: web}
    timeout: 10s
    as: root
  find:
    effect: read
    run: [/bin/find, --, <path>, [--name, <name>]]
    params: {path: {type: path, under: [/var]}, name: {type: string, pattern: "[a-z]+", required: false}}
    on: [local, web1]
  report: {script: echo, interpreter: sh, args: ["<names...>"], params: {names: {type: list, of: {type: uuid}}}, on: local}
principals:
  alice: {tokens: [{id: k7Qm2ZpA, sha256: "%s"}], from: [10.0.0.0/8], limits: {rate: 60/h, concurrency: 2}}
  bob: {}
roles:
  web: [{commands: restart, hosts: {role: web}, params: {unit: [nginx, redis]}}]
  find: [{commands: find, hosts: "*"}]
  report: [{commands: report, hosts: local}]
grants: [{to: alice, roles: [web, find, report]}]
deny: [{why: freeze, commands: restart, hosts: web1, from: 2026-12-20, until: 2027-01-03}]
""" % ("0" * 64)
Told = tuple[str, str, str, str, tuple[str, ...], str, str, str]


@cache
def made(text: str) -> Policy:
    return compiled(text)


def changed(*pairs: tuple[str, str], since: datetime = NOW) -> list[Difference]:
    text = BASE
    for before, now in pairs:
        assert before in text
        text = text.replace(before, now)
    return diff(made(BASE), made(text), since=since)


def told(found: list[Difference]) -> list[Told]:
    return [
        (one.sign.value, one.what.value, one.principal, one.command, one.hosts, one.subject, one.before, one.now)
        for one in found
    ]


def brief(found: list[Difference]) -> list[tuple[str, str, str, str]]:
    return [(one.sign.value, one.subject, one.before, one.now) for one in found]


WEB, FIND = ("web1", "web2"), ("local", "web1")
LINE = "{commands: restart, hosts: {role: web}, params: {unit: [nginx, redis]}}"
DENY = "{why: freeze, commands: restart, hosts: web1, from: 2026-12-20, until: 2027-01-03}"

RIGHTS: list[tuple[str, tuple[str, str], list[Told]]] = [
    ("nothing", ("deny:", "deny:"), []),
    (
        "a grant",
        ("grants: [", "grants: [{to: bob, roles: web}, "),
        [("gained", "right", "bob", "restart", WEB, "web", "", "unit: nginx | redis")],
    ),
    (
        "a grant less",
        ("roles: [web, find, report]", "roles: [web, report]"),
        [("lost", "right", "alice", "find", FIND, "find", "any values", "")],
    ),
    (
        "a command for more hosts",
        ("on: local}", "on: [local, web2]}"),
        [],
    ),
    (
        "a line for fewer hosts",
        ("hosts: {role: web}, params", "hosts: web2, params"),
        [("lost", "right", "alice", "restart", ("web1",), "web", "unit: nginx | redis", "")],
    ),
    (
        "more values",
        ("unit: [nginx, redis]", "unit: [nginx, redis, app]"),
        [("gained", "values", "alice", "restart", WEB, "web", "unit: nginx | redis", "unit: nginx | redis | app")],
    ),
    (
        "other values",
        ("unit: [nginx, redis]", "unit: [nginx, app]"),
        [
            ("gained", "values", "alice", "restart", WEB, "web", "unit: nginx | redis", "unit: nginx | app"),
            ("lost", "values", "alice", "restart", WEB, "web", "unit: nginx | redis", "unit: nginx | app"),
        ],
    ),
    (
        "a narrowing less",
        (", params: {unit: [nginx, redis]}", ""),
        [("gained", "values", "alice", "restart", WEB, "web", "unit: nginx | redis", "any values")],
    ),
    (
        "a wider type",
        ("under: [/var]", "under: [/var, /srv]"),
        [("gained", "values", "alice", "find", FIND, "find", "path: path under /var", "path: path under /var | /srv")],
    ),
    (
        "a narrower type under a narrowing",
        ("[nginx, redis, app]", "[nginx, redis]"),
        [],
    ),
    (
        "a narrower type",
        ("under: [/var]", "under: [/var/log]"),
        [("lost", "values", "alice", "find", FIND, "find", "path: path under /var", "path: path under /var/log")],
    ),
    (
        "another pattern, of which nothing can be told",
        ('"[a-z]+"', '"[a-z0]+"'),
        [
            (
                "changed",
                "values",
                "alice",
                "find",
                FIND,
                "find",
                "name: string like [a-z]+",
                "name: string like [a-z0]+",
            )
        ],
    ),
    (
        "a deny less",
        (DENY, ""),
        [
            (
                "gained",
                "deny",
                "alice",
                "restart",
                ("web1",),
                "freeze",
                "from 2026-12-20 until 2027-01-03",
                "nothing",
            )
        ],
    ),
    (
        "a shorter deny",
        ("2026-12-20", "2026-12-24"),
        [
            (
                "gained",
                "deny",
                "alice",
                "restart",
                ("web1",),
                "freeze",
                "from 2026-12-20 until 2027-01-03",
                "from 2026-12-24 until 2027-01-03",
            )
        ],
    ),
    (
        "a narrower deny",
        ("hosts: web1, from", "hosts: web1, params: {unit: nginx}, from"),
        [
            (
                "gained",
                "deny",
                "alice",
                "restart",
                ("web1",),
                "freeze",
                "from 2026-12-20 until 2027-01-03",
                "unit: nginx, from 2026-12-20 until 2027-01-03",
            )
        ],
    ),
    (
        "a deny for more hosts",
        ("restart, hosts: web1", "restart, hosts: {role: web}"),
        [
            (
                "lost",
                "deny",
                "alice",
                "restart",
                ("web2",),
                "freeze",
                "nothing",
                "from 2026-12-20 until 2027-01-03",
            )
        ],
    ),
]


@pytest.mark.parametrize(("change", "expected"), [case[1:] for case in RIGHTS], ids=[case[0] for case in RIGHTS])
def test_rights(change: tuple[str, str], expected: list[Told]) -> None:
    """One change of lines, types, hosts or denies is told with its side before and now."""
    assert told(changed(change)) == expected


UNIT = "unit: {type: enum, values: [nginx, redis, app]}"
SHORT, TOKEN = "sha256:00000000", '{id: k7Qm2ZpA, sha256: "%s"}' % ("0" * 64)

MEANINGS: list[tuple[tuple[str, str], tuple[str, str, str, str]]] = [
    (
        ("[/bin/restart, --, <unit>]", "[/bin/start, <unit>]"),
        ("changed", "run", "/bin/restart -- <unit>", "/bin/start <unit>"),
    ),
    (
        ("[--name, <name>]", "[-iname, <name>]"),
        ("changed", "run", "/bin/find -- <path> [--name <name>]", "/bin/find -- <path> [-iname <name>]"),
    ),
    (('args: ["<names...>"]', 'args: [-v, "<names...>"]'), ("changed", "run", "<names...>", "-v <names...>")),
    (
        ("script: echo", "script: printf"),
        (
            "changed",
            "script",
            "/bin/sh sha256:092c79e8f80e559e404bcf660c48f3522b67aba9ff1484b0367e1a4ddef7431d",
            "/bin/sh sha256:2abfca9157e93993aa507ca6b6ce908708c3a5c5b43bc7251638b0420361c79f",
        ),
    ),
    (("timeout: 10s", "timeout: 1m"), ("gained", "timeout", "10 s", "60 s")),
    (("timeout: 10s", "timeout: 9s"), ("lost", "timeout", "10 s", "9 s")),
    (("as: root", "as: www"), ("changed", "account", "root", "www")),
    (("timeout: 10s", "timeout: 10s\n    env: {LANG: C}"), ("changed", "env", "none", "LANG=C")),
    (("timeout: 10s", "timeout: 10s\n    stdin: {max: 1KiB}"), ("gained", "stdin", "none", "text, 1024 bytes")),
    (("timeout: 10s", "timeout: 10s\n    output: {max: 1KiB}"), ("lost", "output max", "16777216 bytes", "1024 bytes")),
    (
        ("timeout: 10s", "timeout: 10s\n    output: {when_full: keep_ends}"),
        ("changed", "output when_full", "stop", "keep_ends"),
    ),
    (("timeout: 10s", "timeout: 10s\n    output: {redact: [x]}"), ("lost", "output redact", "none", "x")),
    (("timeout: 10s", "timeout: 10s\n    limits: {memory: 1KiB}"), ("lost", "limits memory", "none", "1024 bytes")),
    (("timeout: 10s", "timeout: 10s\n    limits: {cpu: 5s}"), ("lost", "limits cpu", "none", "5 s")),
    (("timeout: 10s", "timeout: 10s\n    limits: {processes: 5}"), ("lost", "limits processes", "none", "5")),
    (("timeout: 10s", "timeout: 10s\n    limits: {files: 5}"), ("lost", "limits files", "none", "5")),
    (("timeout: 10s", "timeout: 10s\n    limits: {file_size: 5B}"), ("lost", "limits file_size", "none", "5 bytes")),
    (("timeout: 10s", "timeout: 10s\n    isolation: namespace"), ("lost", "isolation", "none", "namespace")),
    (("timeout: 10s", "timeout: 10s\n    concurrency: {per_host: 1}"), ("lost", "concurrency per_host", "none", "1")),
    (("timeout: 10s", "timeout: 10s\n    concurrency: {total: 1}"), ("lost", "concurrency total", "none", "1")),
    (("timeout: 10s", "timeout: 10s\n    rate: 30/h"), ("lost", "rate", "none", "30 in 3600 s")),
    (("timeout: 10s", "timeout: 10s\n    max_parallel: 11"), ("gained", "max_parallel", "10", "11")),
    (("timeout: 10s", "timeout: 10s\n    batch: 25%"), ("lost", "batch", "none", "25%")),
    (("timeout: 10s", "timeout: 10s\n    max_failures: 0"), ("lost", "max_failures", "none", "0")),
    (("timeout: 10s", "timeout: 10s\n    reason: required"), ("lost", "reason", "optional", "required")),
    (
        ("timeout: 10s", "timeout: 10s\n    approval: {by: bob}"),
        ("lost", "approval", "none", "1 of bob within 900 s, not the caller"),
    ),
    (("address: 10.0.0.2", "address: 10.0.0.3"), ("changed", "address", "10.0.0.2 port 22", "10.0.0.3 port 22")),
]


@pytest.mark.parametrize(("change", "expected"), MEANINGS, ids=lambda case: case[1])
def test_meanings(change: tuple[str, str], expected: tuple[str, str, str, str]) -> None:
    """One change of what a right does is gained, lost or changed for whoever has the right."""
    assert brief(changed(change)) == [expected]


@pytest.mark.parametrize(
    ("before", "now", "sign"),
    [
        ("3", "3", None),
        ("3", "2", Sign.LOST),
        ("3", "4", Sign.GAINED),
        ("10%", "11%", Sign.GAINED),
        ("10%", "10", Sign.CHANGED),
        ("10", "10%", Sign.CHANGED),
    ],
)
@pytest.mark.parametrize("key", ["batch", "max_failures"])
def test_counts_and_shares(key: str, before: str, now: str, sign: Sign | None) -> None:
    """More hosts before the next batch, or more failures, are more; a count and a share cannot be compared."""
    texts = (BASE.replace("timeout: 10s", f"timeout: 10s\n    {key}: {share}") for share in (before, now))
    found = diff(*map(made, texts), since=NOW)
    assert brief(found) == ([(sign.value, key, before, now)] if sign else [])


def test_another_way_to_a_host() -> None:
    """Login, trust, jump, shell and become are told apart; the account only where the command does not say its own."""
    found = changed(("ssh: linux, labels: {role: web, env: prod}", "ssh: other, labels: {role: web, env: prod}"))
    assert {one.sign for one in found} == {Sign.CHANGED}
    ways = [
        ("become", "sudo"),
        ("host keys", "/nowhere/ca"),
        ("jump", "web2"),
        ("login", "KeyLogin(path='/secrets/j')"),
        ("shell", "raw"),
    ]
    assert [(one.subject, one.now) for one in found if one.command == "find"] == [("account", "v"), *ways]
    assert [(one.subject, one.now) for one in found if one.command == "restart"] == ways


SIGNED = """
ssh_authorities: {main: {key: file:ca}, spare: {key: file:ca}}
ssh_profiles: {near: {user: n, auth: {certificate: {ca: main}}, host_keys: {known_hosts: near}}}
hosts: {web: {address: 10.0.0.1, ssh: near}}
commands: {c: {run: [/bin/c], on: web}}
principals: {p: {}}
roles: {r: [{commands: c, hosts: web}]}
grants: [{to: p, roles: r}]
"""


@pytest.mark.parametrize(
    ("change", "to", "noticed"),
    [
        ("main: {key: file:ca}", "main: {key: file:other}", True),
        ("main: {key: file:ca}", "main: {agent: /run/a, public_key: ca.pub}", True),
        ("{ca: main}", "{ca: main, ttl: 1h}", True),
        ("{ca: main}", "{ca: main, source_address: none}", True),
        ("spare: {key: file:ca}", "spare: {key: file:other}", False),
    ],
)
def test_another_authority(change: str, to: str, *, noticed: bool) -> None:
    """Whoever signs for a login changes the login, though the profile that names the authority is the same."""
    assert change in SIGNED
    found = diff(made(SIGNED), made(SIGNED.replace(change, to)), since=NOW)
    assert [(one.sign, one.subject) for one in found] == ([(Sign.CHANGED, "login")] if noticed else [])


BEHIND = """
ssh_profiles:
  near: {user: n, auth: {key: file:n}, host_keys: {known_hosts: near}, jump: inner}
  inner: {user: i, auth: {key: file:i}, host_keys: {known_hosts: inner}, jump: outer}
  outer: {user: o, auth: {key: file:o}, host_keys: {known_hosts: outer}}
  other: {inherit: outer}
hosts:
  web: {address: 10.0.0.1, ssh: near}
  inner: {address: 10.0.0.2, ssh: inner}
  outer: {address: 10.0.0.3, ssh: outer}
  other: {address: 10.0.0.4, ssh: other}
commands: {c: {run: [/bin/c], on: web}}
principals: {p: {}}
roles: {r: [{commands: c, hosts: web}]}
grants: [{to: p, roles: r}]
"""
HOPS: list[tuple[str, str, list[tuple[str, str, str, str]]]] = [
    ("10.0.0.2", "10.9.9.9", [("changed", "jump inner address", "10.0.0.2 port 22", "10.9.9.9 port 22")]),
    ("10.0.0.3,", "10.0.0.3, port: 2222,", [("changed", "jump outer address", "10.0.0.3 port 22", "10.0.0.3 port 2222")]),
    ("user: i", "user: root", [("changed", "jump inner account", "i", "root")]),
    ("known_hosts: outer", "known_hosts: more", [("changed", "jump outer host keys", "/nowhere/outer", "/nowhere/more")]),
    (
        "key: file:i",
        "agent: /run/a",
        [("changed", "jump inner login", "KeyLogin(path='/secrets/i')", "AgentLogin(socket='/run/a')")],
    ),
    ("jump: outer", "jump: other", [("changed", "jump", "inner, outer", "inner, other")]),
    (", jump: outer", "", [("changed", "jump", "inner, outer", "inner")]),
    (", jump: inner", "", [("changed", "jump", "inner, outer", "none")]),
    ("10.0.0.4", "10.9.9.9", []),
]  # fmt: skip


@pytest.mark.parametrize(("change", "to", "expected"), HOPS)
def test_the_way_to_a_host(change: str, to: str, expected: list[tuple[str, str, str, str]]) -> None:
    """What changes of a host that the way goes through changes the way, however far it is; other hosts do not."""
    assert change in BEHIND
    found = diff(made(BEHIND), made(BEHIND.replace(change, to)), since=NOW)
    assert brief(found) == expected
    assert {(one.what.value, one.command, one.hosts) for one in found} <= {("host", "c", ("web",))}


COMMAND = "commands: {c: {run: [/bin/c], on: local%s}}\nprincipals: {p: {}, q: {}}\n"
GIVEN = COMMAND + "roles: {r: [{commands: c, hosts: local}]}\ngrants: [{to: p, roles: r}]"
FILES = ", files: {collect: [%s], max: 9B}"
INT = ", params: {n: {type: int%s}}"
SMALL: list[tuple[str, str, list[tuple[str, str, str, str]]]] = [
    (", approval: {by: [p, q]}", ", approval: {by: [p, q], needed: 2}", [("lost", "approval needed", "1", "2")]),
    (", approval: {by: p}", ", approval: {by: [p, q]}", [("gained", "approval by", "p", "p, q")]),
    (", approval: {by: p}", ", approval: {by: q}", [("changed", "approval by", "p", "q")]),
    (", approval: {by: p}", ", approval: {by: p, within: 1h}", [("gained", "approval within", "900 s", "3600 s")]),
    (
        ", approval: {by: p}",
        ", approval: {by: p, not_self: false}",
        [("gained", "approval not_self", "True", "False")],
    ),
    (", stdin: {max: 9B}", ", stdin: {max: 9B, type: secret}", [("changed", "stdin", "text, 9 bytes", "secret, 9 bytes")]),
    (", stdin: {max: 9B}", ", stdin: {max: 8B}", [("lost", "stdin", "text, 9 bytes", "text, 8 bytes")]),
    (FILES % "a", FILES % "a, b", [("gained", "files", "a, 9 bytes", "a, b, 9 bytes")]),
    (FILES % "a, b", FILES % "b", [("lost", "files", "a, b, 9 bytes", "b, 9 bytes")]),
    (FILES % "a", FILES % "b", [("changed", "files", "a, 9 bytes", "b, 9 bytes")]),
    (FILES % "a", "", [("lost", "files", "a, 9 bytes", "none")]),
    (", files: {collect: [a], max: 8B}", FILES % "a", [("gained", "files", "a, 8 bytes", "a, 9 bytes")]),
    (INT % ", default: '1'", INT % ", default: '2'", [("changed", "default of n", "1", "2")]),
    (INT % ", required: false", INT % ", default: '2'", [("changed", "default of n", "none", "2")]),
    (INT % "", INT % ", default: '2'", [("gained", "r", "n: int", "n: int")]),
    (", params: {f: {type: bool, flag: -a}}", ", params: {f: {type: bool, flag: -b}}", [("changed", "flag of f", "-a", "-b")]),
    (", params: {f: {type: bool}}", "", [("gained", "r", "f: bool", "any values"), ("lost", "r", "f: bool", "any values")]),
    (", summary: one", ", summary: two", []),
    (", success_codes: [0]", ", success_codes: [0, 1]", []),
]  # fmt: skip


def small(text: str) -> Policy:
    return made(GIVEN % text)


@pytest.mark.parametrize(("before", "now", "expected"), SMALL)
def test_small_changes(before: str, now: str, expected: list[tuple[str, str, str, str]]) -> None:
    """Approvals, stdin, defaults, flags and parameters; what gives nobody more is no difference."""
    assert brief(diff(small(before), small(now), since=NOW)) == expected


def test_a_new_command_and_one_that_went() -> None:
    """Whoever holds a line for a command that only one side has gains it, or loses it."""
    without = compiled("principals: {p: {}, q: {}}")
    assert brief(diff(without, small(""), since=NOW)) == [("gained", "r", "", "any values")]
    assert brief(diff(small(""), without, since=NOW)) == [("lost", "r", "any values", "")]


@pytest.mark.parametrize("change", [*(case[1] for case in RIGHTS), *(case[0] for case in MEANINGS)])
def test_there_and_back(change: tuple[str, str]) -> None:
    """The other way round, what was gained is lost, with both sides exchanged."""
    one, other = made(BASE), made(BASE.replace(*change))
    mirror = {Sign.GAINED: Sign.LOST, Sign.LOST: Sign.GAINED, Sign.CHANGED: Sign.CHANGED}
    back = {(mirror[found.sign], found.hosts, found.now, found.before) for found in diff(other, one, since=NOW)}
    assert {(found.sign, found.hosts, found.before, found.now) for found in diff(one, other, since=NOW)} == back


def test_only_what_holds_from_then_on_counts() -> None:
    """A deny that has ended before the moment is none, and taking it away gains nobody anything."""
    assert changed((DENY, ""), since=datetime(2027, 1, 3, tzinfo=UTC)) == []
    assert len(changed((DENY, ""), since=datetime(2027, 1, 2, tzinfo=UTC))) == 1


def test_all_who_hold_a_role_gain() -> None:
    """What a role gains, each of its holders gains."""
    both = ("to: alice, roles", "to: [alice, bob], roles")
    one, other = BASE.replace(*both), BASE.replace(*both).replace("unit: [nginx, redis]", "unit: [nginx, redis, app]")
    assert [found.principal for found in diff(made(one), made(other), since=NOW)] == ["alice", "bob"]


def test_a_right_that_a_deny_closes_for_ever_is_no_gain() -> None:
    """A new line under a deny without end gives nobody anything."""
    closed = "deny: [{why: closed, to: bob}, "
    assert changed(("grants: [", "grants: [{to: bob, roles: web}, "), ("deny: [", closed)) == []
    logs = (
        'find: [{commands: find, hosts: "*"}]',
        "find: [{commands: find, hosts: '*', params: {path: {under: [/var/log]}}}]",
    )
    one, other = BASE.replace(*logs), BASE.replace(*logs).replace("grants: [", "grants: [{to: bob, roles: find}, ")
    assert len(diff(made(one), made(other), since=NOW)) == 1
    assert diff(made(one), made(other.replace("deny: [", closed)), since=NOW) == []


def test_a_number_takes_more_than_a_whole_number() -> None:
    """A type that became another is never taken for no wider, though every example of the one fits the other."""
    found = diff(made(GIVEN % (INT % "")), made(GIVEN % ", params: {n: {type: number}}"), since=NOW)
    assert [(one.sign, one.before, one.now) for one in found] == [(Sign.CHANGED, "n: int", "n: number")]


def test_words_of_a_type_that_changed_under_a_narrowing() -> None:
    """Where both the type and the narrowing count, both are told."""
    text = GIVEN % ", params: {l: {type: list, of: {type: port}, max_items: %s}}"
    text = text.replace("hosts: local}", "hosts: local, params: {l: ['80', '81']}}")
    (found,) = diff(made(text % 4), made(text % 3), since=NOW)
    assert (found.before, found.now) == (
        "l: list of port, max_items 4, only each 80 | 81",
        "l: list of port, max_items 3, only each 80 | 81",
    )


def test_places() -> None:
    """What is gained stands in the new policy, what is lost in the old, a command at its name."""
    gained = changed(("unit: [nginx, redis]", "unit: [nginx, redis, app]"), ("timeout: 10s", "timeout: 1m"))
    assert [str(one.at) for one in gained] == ["a.yaml:10:3", "a.yaml:27:9"]
    assert [str(one.at) for one in changed((DENY, ""))] == ["a.yaml:31:8"]


LIMITS = ", limits: {rate: 60/h, concurrency: 2}}"
ENTRIES: list[tuple[tuple[str, str], list[tuple[str, str, str, str]]]] = [
    (
        (TOKEN, TOKEN + ", " + TOKEN.replace("k7Q", "Zt1").replace("}", ", expires: 2027-01-31}")),
        [("gained", "token Zt1m2ZpA", "none", f"{SHORT}, until 2027-01-31")],
    ),
    (
        (TOKEN, TOKEN.replace("}", ", expires: 2027-01-31}")),
        [("lost", "token k7Qm2ZpA", f"{SHORT}, no end", f"{SHORT}, until 2027-01-31")],
    ),
    ((TOKEN, TOKEN.replace("}", ", expires: 2026-01-31}")), [("lost", "token k7Qm2ZpA", f"{SHORT}, no end", "none")]),
    (
        (TOKEN, TOKEN.replace("000", "111")),
        [("changed", "token k7Qm2ZpA", f"{SHORT}, no end", "sha256:11111111, no end")],
    ),
    ((", from: [10.0.0.0/8]", ""), [("gained", "from", "10.0.0.0/8", "anywhere")]),
    (("[10.0.0.0/8]", "[10.0.0.0/9]"), [("lost", "from", "10.0.0.0/8", "10.0.0.0/9")]),
    (
        ("[10.0.0.0/8]", '["10.0.0.0/8", "2001:db8::/32"]'),
        [("gained", "from", "10.0.0.0/8", "10.0.0.0/8, 2001:db8::/32")],
    ),
    (("[10.0.0.0/8]", "[192.0.2.0/24]"), [("changed", "from", "10.0.0.0/8", "192.0.2.0/24")]),
    (
        ("bob: {}", "bob: {oidc: {issuer: 'https://i.example', aud: a, email: b@example.com}}"),
        [("gained", "oidc", "none", "email=b@example.com for a by https://i.example")],
    ),
    (("rate: 60/h", "rate: 61/h"), [("gained", "limits rate", "60 in 3600 s", "61 in 3600 s")]),
    (("rate: 60/h", "rate: 1/min"), [("lost", "limits rate", "60 in 3600 s", "1 in 60 s")]),
    (("rate: 60/h", "rate: 10/s"), [("changed", "limits rate", "60 in 3600 s", "10 in 1 s")]),
    (("concurrency: 2", "concurrency: 3"), [("gained", "limits concurrency", "2", "3")]),
    (
        ("concurrency: 2", "queue: 0"),
        [("gained", "limits concurrency", "2", "none"), ("lost", "limits queue", "none", "0")],
    ),
    (("  bob: {}\n", ""), []),
]


@pytest.mark.parametrize(("change", "expected"), ENTRIES)
def test_entries(change: tuple[str, str], expected: list[tuple[str, str, str, str]]) -> None:
    """Tokens, networks, identities and limits of a principal; what has expired by then counts as none."""
    found = changed(change)
    assert brief(found) == expected
    assert {(one.what.value, one.command, one.hosts) for one in found} <= {("entry", "", ())}


JWT = "{oidc: {issuer: 'https://i.example', aud: a, email: b@example.com}%s}"
PROVED = "email=b@example.com for a by https://i.example"
ORIGINS: list[tuple[str, str, list[tuple[str, str, str, str]]]] = [
    ("", ", from: [10.0.0.0/8]", [("lost", "from", "anywhere", "10.0.0.0/8")]),
    (", from: [10.0.0.0/8]", "", [("gained", "from", "10.0.0.0/8", "anywhere")]),
    (", from: [10.0.0.0/8]", ", from: [192.0.2.0/24]", [("changed", "from", "10.0.0.0/8", "192.0.2.0/24")]),
    (", from: [10.0.0.0/8]", ", from: [10.0.0.0/8]", []),
]


@pytest.mark.parametrize(("before", "now", "expected"), ORIGINS)
def test_where_a_jwt_holds(before: str, now: str, expected: list[tuple[str, str, str, str]]) -> None:
    """The networks of a principal that has only a JWT are compared as those of one with tokens."""
    assert brief(changed(("bob: {}", f"bob: {JWT % now}"))) == [("gained", "oidc", "none", PROVED)]
    old, new = (made(BASE.replace("bob: {}", f"bob: {JWT % origin}")) for origin in (before, now))
    assert brief(diff(old, new, since=NOW)) == expected


def test_a_token_in_the_place_of_a_jwt() -> None:
    """Where the way in changes and the networks with it, both are told; where none was, the networks are part of it."""
    token = TOKEN.replace("k7Q", "Zt1")
    old = made(BASE.replace("bob: {}", f"bob: {JWT % ', from: [10.0.0.0/8]'}"))
    new = made(BASE.replace("bob: {}", f"bob: {{tokens: [{token}]}}"))
    assert sorted(brief(diff(old, new, since=NOW))) == [
        ("gained", "from", "10.0.0.0/8", "anywhere"),
        ("gained", "token Zt1m2ZpA", "none", f"{SHORT}, no end"),
        ("lost", "oidc", PROVED, "none"),
    ]
    none = made(BASE)
    assert ("from" in {one.subject for one in diff(none, new, since=NOW)}) is False


JSON = """
commands: {{send: {{script: cat, interpreter: sh, params: {{doc: {{type: json}}}}, on: local}}}}
principals: {{alice: {{}}}}
roles: {{r: [{{commands: send, hosts: local, params: {{doc: [{docs}]}}}}]}}
grants: [{{to: alice, roles: [r]}}]
"""


def test_a_json_value_is_a_right() -> None:
    """Of a parameter that is narrowed to JSON, one value more is gained and one less is lost."""
    small, more = made(JSON.format(docs="'[1]'")), made(JSON.format(docs="'[1]', '{\"a\": 1}'"))
    assert [one.sign for one in diff(small, more, since=NOW)] == [Sign.GAINED]
    assert [one.sign for one in diff(more, small, since=NOW)] == [Sign.LOST]
