"""Tokens, networks, principals and grants."""

from datetime import UTC, datetime

import pytest

from tests.unit.policy.lint.linting import HOSTS, found, shown

REAL = "9f2c6b1e0d4a7c35e8812f4b6d09a3c7514e9b28f0d6c3a1b75e82940cfd1a63"
OTHER = "0ab1c93d77e2f4156b8a0c4de19f735286d0e4b3a9c81f2750dd36b9e4a7c218"
TOKENS: dict[str, tuple[str, str]] = {
    "a token as it should be": (f"{{id: aaaaaaaa, sha256: {REAL}, expires: 2027-01-31}}", ""),
    "the last day that is not too far": (f"{{id: aaaaaaaa, sha256: {REAL}, expires: 2027-12-07}}", ""),
    "never": (f"{{id: aaaaaaaa, sha256: {REAL}}}", "P401 the token 'aaaaaaaa' never expires"),
    "over": (
        f"{{id: aaaaaaaa, sha256: {REAL}, expires: 2026-11-02}}",
        "P403 warning: the token 'aaaaaaaa' has expired",
    ),
    "too far": (
        f"{{id: aaaaaaaa, sha256: {REAL}, expires: 2027-12-08}}",
        "P404 warning: the token 'aaaaaaaa' lives for more than 400 days",
    ),
    "zeros": (
        f"{{id: aaaaaaaa, sha256: '{'0' * 64}', expires: 2027-01-31}}",
        "P405 warning: no token can have this sha256 beside the id 'aaaaaaaa'",
    ),
    "a repeated part": (
        f"{{id: aaaaaaaa, sha256: {'0123456789abcdef' * 4}, expires: 2027-01-31}}",
        "P405 warning: no token can have this sha256 beside the id 'aaaaaaaa'",
    ),
    "the sha256 of nothing": (
        "{id: aaaaaaaa, sha256: e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855, expires: 2027-01-31}",
        "P405 warning: no token can have this sha256 beside the id 'aaaaaaaa'",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", TOKENS)
def test_tokens(name: str) -> None:
    """A token expires, and within a year or so; its sha256 is that of a token."""
    text, wanted = TOKENS[name]
    lines = shown(found(f"principals: {{p: {{tokens: [{text}]}}}}"), "P401", "P403", "P404", "P405")
    assert [line.split(" ", 1)[1] for line in lines] == ([wanted] if wanted else [])


def test_the_same_sha256_twice() -> None:
    """A token holds its id, so two ids cannot have one sha256: both are told."""
    tokens = ", ".join(
        f"{{id: {letter * 8}, sha256: {digest}, expires: 2027-01-31}}"
        for letter, digest in zip("abc", (REAL, REAL, OTHER), strict=True)
    )
    assert len(shown(found(f"principals: {{p: {{tokens: [{tokens}]}}}}"), "P405")) == 2


@pytest.mark.parametrize(
    ("networks", "told"),
    [
        ("[0.0.0.0/0]", True),
        ('["::/0"]', True),
        ("[0.0.0.0/1, 10.0.0.0/8, 128.0.0.0/1]", True),
        ("[0.0.0.0/1]", False),
        ('[198.51.100.0/24, "2001:db8::/32"]', False),
    ],
)
def test_from_everywhere(networks: str, *, told: bool) -> None:
    """A 'from' that takes every address says nothing, however it is written."""
    wanted = ["a.yaml:2:24: P406 warning: 'from' lets 'p' come from every address"] if told else []
    assert shown(found(f"principals: {{p: {{from: {networks}}}}}"), "P406") == wanted


def test_principals_and_grants() -> None:
    """Who nobody knows, who may nothing, what nobody holds, what nobody may run, and what was granted twice."""
    text = f"""\
        commands:
          seen: {{run: [/bin/a], on: local}}
          elsewhere: {{run: [/bin/a], on: web1}}
          unheld: {{run: [/bin/a], on: local}}
          nowhere: {{run: [/bin/a], on: {{role: [web, none], other: x}}}}
        principals:
          alice: {{tokens: [{{id: aaaaaaaa, sha256: {REAL}, expires: 2027-01-31}}]}}
          bob: {{oidc: {{issuer: "https://a.example", aud: x, email: b@a.example}}}}
          carl: {{}}
        roles:
          used: [{{commands: [seen, elsewhere, nowhere], hosts: local}}]
          idle: [{{commands: "*", hosts: "*"}}]
        grants:
          - {{to: [alice, bob], roles: used}}
          - {{to: [bob, alice], roles: [used]}}
          - {{to: alice, roles: [used, used]}}
        """
    hosts = HOSTS.replace("labels: {role: web}", "labels: {role: web, other: y}")
    lines = shown(found(text, hosts), "P408", "P409", "P410", "P411")
    assert lines == [
        "a.yaml:4:3: P410 warning: nobody may run 'elsewhere'",
        "a.yaml:5:3: P410 warning: nobody may run 'unheld'",
        "a.yaml:6:3: P410 warning: nobody may run 'nowhere': it is made for no host",
        "a.yaml:10:3: P408 warning: 'carl' holds no role, so it may do nothing",
        "a.yaml:13:3: P409 warning: nobody holds the role 'idle'",
        "a.yaml:16:11: P411 warning: 'bob' holds 'used' already (granted at a.yaml:15:18)",
        "a.yaml:16:16: P411 warning: 'alice' holds 'used' already (granted at a.yaml:15:11)",
        "a.yaml:17:10: P411 warning: 'alice' holds 'used' already (granted at a.yaml:15:11)",
        "a.yaml:17:10: P411 warning: 'alice' holds 'used' already (granted at a.yaml:15:11)",
    ]


def test_a_token_within_one_moment() -> None:
    """What has expired is told from the second on in which it is dead."""
    text = f'principals: {{p: {{tokens: [{{id: aaaaaaaa, sha256: {REAL}, expires: "2026-11-02T08:00:00Z"}}]}}}}'
    assert shown(found(text, now=datetime(2026, 11, 2, 7, 59, 59, tzinfo=UTC)), "P403") == []
    assert len(shown(found(text, now=datetime(2026, 11, 2, 8, tzinfo=UTC)), "P403")) == 1
