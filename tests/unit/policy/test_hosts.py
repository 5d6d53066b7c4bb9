"""Profiles, hosts and jumps: what is inherited, what leads nowhere, and what this version cannot do."""

from pathlib import Path

import pytest

from cmdhttp.policy.compiled import (
    AgentAuthority,
    AgentLogin,
    CertificateLogin,
    KeyAuthority,
    KeyLogin,
    PasswordLogin,
    Profile,
)
from tests.unit.policies import compiled, judged, unmarked

BASE = "ssh_profiles:\n  base: {user: u, auth: {key: file:k}, host_keys: {known_hosts: known}}\n"
NOT_DONE = "\n    hint: leave it out, or expect such calls to end as 'unsupported'"
AUTHORITIES = (
    "ssh_authorities: {main: {key: file:ca}, var: {key: env:CA}, far: {agent: /run/a, public_key: keys/ca.pub}}\n"
)
MAIN = KeyAuthority(key="/secrets/ca")


def profile_of(profiles: str, *, host: str = "h") -> tuple[Profile, list[str]]:
    """The compiled profile of a host, and all warnings."""
    made, found = judged(
        f"{AUTHORITIES}ssh_profiles:\n{profiles}hosts: {{h: {{address: a, ssh: p}}, j: {{address: b, ssh: p}}}}\n"
    )
    profile = made.policy.hosts[host].profile
    assert profile is not None, found
    return profile, found


def only_profile(fields: str) -> tuple[Profile, list[str]]:
    return profile_of(f"  p: {{user: u, host_keys: {{known_hosts: k}}, {fields}}}\n")


def test_inherited_keys_are_replaced_whole() -> None:
    """A profile takes over what it does not say, over any number of steps; what it says replaces the inherited key."""
    text = (
        "  a: {user: ua, port: 2200, auth: {key: file:ka}, host_keys: {known_hosts: kha}, jump: j}\n"
        "  b: {inherit: a, user: ub, host_keys: {known_hosts: khb}}\n"
        "  p: {inherit: b, auth: {key: file:kc}, jump: none}\n"
    )
    profile, found = profile_of(text)
    assert profile == Profile(account="ub", login=KeyLogin(path="/secrets/kc"), known_hosts="/nowhere/khb")
    assert found == []


def test_the_port_is_inherited_and_a_host_may_have_its_own() -> None:
    """Port: the host's, else the nearest profile's, else 22."""
    policy = compiled(
        BASE + "  far: {inherit: base, port: 2200}\n"
        "hosts: {a: {address: a, ssh: base}, b: {address: b, ssh: far}, c: {address: c, ssh: far, port: 1}}"
    )
    assert {name: policy.hosts[name].port for name in "abc"} == {"a": 22, "b": 2200, "c": 1}


def certificate(**fields: object) -> CertificateLogin:
    made: dict[str, object] = {"ca": "main", "authority": MAIN, "ttl": 60.0, "principal": "cmdhttp-<account>", **fields}
    return CertificateLogin(**made)  # type: ignore[arg-type] # fields of the class


@pytest.mark.parametrize(
    ("auth", "login"),
    [
        ("{key: file:k}", KeyLogin(path="/secrets/k")),
        ("{key: env:KEY}", KeyLogin(path="env:KEY")),
        ("{agent: env:SSH_AUTH_SOCK}", AgentLogin(socket="env:SSH_AUTH_SOCK")),
        ("{agent: /run/agent}", AgentLogin(socket="/run/agent")),
        ("{password: file:pw}", PasswordLogin(secret="/secrets/pw")),
        ("{password: env:PW}", PasswordLogin(secret="env:PW")),
        ("{certificate: {ca: main}}", certificate()),
        ("{certificate: {ca: var}}", certificate(ca="var", authority=KeyAuthority(key="env:CA"))),
        (
            "{certificate: {ca: far}}",
            certificate(ca="far", authority=AgentAuthority(socket="/run/a", public_key="/nowhere/keys/ca.pub")),
        ),
        ("{certificate: {ca: main, ttl: 2m, principal: deploy}}", certificate(ttl=120.0, principal="deploy")),
        ("{certificate: {ca: main, source_address: none}}", certificate(sources=())),
        ("{certificate: {ca: main, source_address: [none]}}", certificate(sources=())),
        ("{certificate: {ca: main, source_address: 10.0.0.1}}", certificate(sources=("10.0.0.1/32",))),
        (
            "{certificate: {ca: main, source_address: [10.0.0.0/8, '::1']}}",
            certificate(sources=("10.0.0.0/8", "::1/128")),
        ),
    ],
)
def test_every_way_to_log_in(auth: str, login: object) -> None:
    """Each login is read as it stands: secrets as places, an authority by its name, and nothing of it is in vain."""
    profile, found = only_profile(f"auth: {auth}")
    assert (profile.login, profile.unsupported, found) == (login, (), [])


def test_an_authority_that_nobody_names() -> None:
    """It is fine to define one before it is used."""
    assert judged(AUTHORITIES)[1] == []


def test_an_unknown_authority_is_said_once() -> None:
    """By the profile that names it; what inherits it, and the hosts of both, say nothing more."""
    text = (
        "ssh_authorities: {main: {key: file:ca}}\n"
        "ssh_profiles:\n"
        "  p: {user: u, auth: {certificate: {ca: ^mian}}, host_keys: {known_hosts: k}}\n"
        "  q: {inherit: p, port: 2222}\n"
        "hosts: {a: {address: a, ssh: p}, b: {address: b, ssh: q}}\n"
    )
    text, place = unmarked(text)
    made, found = judged(text)
    assert found == [f"{place}: P205 there is no ssh authority 'mian'\n    hint: did you mean 'main'?"]
    assert [made.policy.hosts[name].profile for name in "ab"] == [None, None]


def test_an_authority_that_cannot_be_read_is_known() -> None:
    """What is wrong with it is said, and not that it was not there."""
    _, found = judged(
        "ssh_authorities: {main: {key: /etc/ca}}\n"
        "ssh_profiles: {p: {user: u, auth: {certificate: {ca: main}}, host_keys: {known_hosts: k}}}"
    )
    assert [line.split(" ")[1] for line in found] == ["P201"]


@pytest.mark.parametrize(
    ("fields", "what"),
    [
        ("become: sudo, shell: powershell", "become: sudo with the shell powershell"),
        ("become: sudo, shell: cmd", "become: sudo with the shell cmd"),
        ("become: sudo, shell: raw", "become: sudo with the shell raw"),
    ],
)
def test_what_is_not_done_yet_is_warned_of_and_marked(fields: str, what: str) -> None:
    """What a profile asks for in vain is warned of at its place and marks every host of it."""
    profile, found = only_profile(f"auth: {{key: file:k}}, {fields}")
    assert profile.unsupported == (what,)
    assert [message.split(": ", 2)[2] for message in found] == [
        f"this version cannot do {what}: what needs it never runs{NOT_DONE}"
    ]


def test_what_is_said_as_default_is_no_news() -> None:
    """`shell: posix`, `become: none` and `jump: none` are what a profile does anyway."""
    profile, found = only_profile("auth: {key: file:k}, shell: posix, become: none, jump: none")
    assert (profile.unsupported, profile.jump, found) == ((), None, [])


@pytest.mark.parametrize("shell", ["posix", "powershell", "cmd", "raw"])
def test_every_shell(shell: str) -> None:
    """Each family of login shells is read, and nothing is said of it."""
    profile, found = only_profile(f"auth: {{key: file:k}}, shell: {shell}")
    assert (profile.shell, profile.unsupported, found) == (shell, (), [])


def test_sudo() -> None:
    """Sudo is for Unix hosts, said or inherited; a profile that has got it with a shell of Windows does not work."""
    profile, found = only_profile("auth: {key: file:k}, become: sudo")
    assert (profile.become, profile.unsupported, found) == ("sudo", (), [])
    text = (
        "  low: {user: u, auth: {key: file:k}, host_keys: {known_hosts: k}, become: sudo}\n"
        "  p: {inherit: low, shell: cmd}\n"
    )
    assert profile_of(text)[0].unsupported == ("become: sudo with the shell cmd",)


def test_both_kinds_of_trust() -> None:
    """A known_hosts file and an authority may stand together; paths count from the policy folder."""
    profile, found = profile_of(
        "  p: {user: u, auth: {key: file:k}, host_keys: {known_hosts: keys/known, cert_authority: keys/ca.pub}}\n"
    )
    assert (profile.known_hosts, profile.cert_authority) == ("/nowhere/keys/known", "/nowhere/keys/ca.pub")
    assert (profile.unsupported, found) == ((), [])


def test_a_bastion_may_share_the_profile_of_the_hosts_behind_it() -> None:
    """A host that is its own jump is reached directly."""
    text = "  p: {user: u, auth: {key: file:k}, host_keys: {known_hosts: k}, jump: j}\n"
    bastion, _ = profile_of(text, host="j")
    behind, _ = profile_of(text, host="h")
    assert (bastion.jump, bastion.unsupported) == (None, ())
    assert (behind.jump, behind.unsupported) == ("j", ())


PROFILE = "{user: u, auth: {key: file:k}, host_keys: {known_hosts: k}"

WRONG = {
    "no such parent": (
        f"ssh_profiles: {{base: {PROFILE}}}, p: {{inherit: ^bases}}}}",
        "P205 there is no ssh profile 'bases'\n    hint: did you mean 'base'?",
    ),
    "inherits from itself": (
        "ssh_profiles: {p: {inherit: ^p}}",
        "P218 the profile inherits from itself (p -> p)\n    hint: take out one of the 'inherit'",
    ),
    "nothing to inherit": (
        "ssh_profiles:\n  p: ^{user: u, auth: {key: file:k}}",
        "P202 the key 'host_keys' is missing\n    hint: say it here, or inherit it from a profile that does",
    ),
    "two ways to log in": (
        "ssh_profiles: {p: {user: u, auth: ^{key: file:k, agent: /run/a}, host_keys: {known_hosts: k}}}",
        "P201 p.auth: must be exactly one of key, agent, password and certificate",
    ),
    "no way to log in": (
        "ssh_profiles: {p: {user: u, auth: ^{}, host_keys: {known_hosts: k}}}",
        "P201 p.auth: must be exactly one of key, agent, password and certificate",
    ),
    "no host keys": (
        "ssh_profiles: {p: {user: u, auth: {key: file:k}, host_keys: ^{}}}",
        "P201 p.host_keys: must have known_hosts, cert_authority, or both; there is no way to trust every key",
    ),
    "a key that is no reference": (
        "ssh_profiles: {p: {user: u, auth: {key: ^/etc/key}, host_keys: {known_hosts: k}}}",
        "P201 auth.key: must be a reference to a secret, like file:ops_ed25519 (in the secrets folder) or env:NAME",
    ),
    "an authority of two kinds": (
        "ssh_authorities: {main: ^{key: file:k, agent: /run/a, public_key: k.pub}}",
        "P201 main: must be key alone, or agent with public_key",
    ),
    "an agent's authority without its public key": (
        "ssh_authorities: {main: ^{agent: /run/a}}",
        "P201 main: must be key alone, or agent with public_key",
    ),
    "no authority": (
        "ssh_authorities: {main: ^{}}",
        "P201 main: must be key alone, or agent with public_key",
    ),
    "a key of an authority that does not exist": (
        "ssh_authorities: {main: {^keys: file:k}}",
        "P203 unknown key 'keys'\n    hint: did you mean 'key'?",
    ),
    "a source that is no address": (
        "ssh_profiles: {p: {user: u, auth: {certificate: {ca: m, source_address: ^web1}}, host_keys: {known_hosts: k}}}",
        "P201 certificate.source_address: must be IP addresses or networks, like 203.0.113.7 or 10.0.0.0/8, or none",
    ),
    "a source with bits beside its network": (
        "ssh_profiles: {p: {user: u, auth: {certificate: {ca: m, source_address: ^10.0.0.1/8}}, host_keys: {known_hosts: k}}}",
        "P201 certificate.source_address: must be IP addresses or networks, like 203.0.113.7 or 10.0.0.0/8, or none",
    ),
    "none beside an address": (
        "ssh_profiles: {p: {auth: {certificate: {ca: m, source_address: ^[none, 10.0.0.1]}}}}",
        "P201 certificate.source_address: must be IP addresses or networks, like 203.0.113.7 or 10.0.0.0/8, or none",
    ),
    "a certificate that lives too long": (
        "ssh_profiles: {p: {user: u, auth: {certificate: {ca: m, ttl: ^2h}}, host_keys: {known_hosts: k}}}",
        "P201 certificate.ttl: must be at most 3600",
    ),
    "a jump to nowhere": (
        f"ssh_profiles: {{p: {PROFILE}, jump: ^x}}}}\nhosts: {{web: {{address: a, ssh: p}}}}",
        "P205 there is no host 'x'",
    ),
    "a jump to here": (
        f"ssh_profiles: {{p: {PROFILE}, jump: ^local}}}}\nhosts: {{web: {{address: a, ssh: p}}}}",
        "P207 'local' is no host to jump through\n    hint: leave 'jump' out to connect directly",
    ),
}


@pytest.mark.parametrize("name", WRONG)
def test_what_is_wrong_with_profiles(name: str) -> None:
    """One mistake in a profile is one error at its place."""
    text, message = WRONG[name]
    text, place = unmarked(text)
    _, found = judged(text)
    assert [line for line in found if "warning" not in line] == [f"{place}: {message}"]


def test_a_circle_of_profiles_is_said_once_for_each_member() -> None:
    """Profiles that inherit in a circle name it, each from its own start; a profile that leads into it stays quiet."""
    _, found = judged("ssh_profiles:\n  a: {inherit: b}\n  b: {inherit: a}\n  c: {inherit: a}")
    assert [line.partition("\n")[0] for line in found] == [
        "a.yaml:3:16: P218 the profile inherits from itself (a -> b -> a)",
        "a.yaml:4:16: P218 the profile inherits from itself (b -> a -> b)",
    ]


def test_jumps_in_a_circle() -> None:
    """Jump hosts that lead back to themselves are an error of each profile on the way."""
    text = (
        f"ssh_profiles:\n  p: {PROFILE}, jump: y}}\n  q: {PROFILE}, jump: x}}\n"
        "hosts: {x: {address: a, ssh: p}, y: {address: b, ssh: q}}"
    )
    _, found = judged(text)
    errors = [line.partition("\n")[0] for line in found if "P218" in line]
    assert errors == [
        "a.yaml:3:72: P218 the jump hosts lead back to themselves (y -> x -> y)",
        "a.yaml:4:72: P218 the jump hosts lead back to themselves (x -> y -> x)",
    ]


def test_a_chain_of_jumps_is_no_circle() -> None:
    """A host behind a host behind a bastion is fine."""
    text = (
        f"ssh_profiles:\n  p: {PROFILE}, jump: y}}\n  q: {PROFILE}, jump: x}}\n  r: {PROFILE}}}\n"
        "hosts: {w: {address: c, ssh: p}, x: {address: a, ssh: r}, y: {address: b, ssh: q}}"
    )
    made, found = judged(text)
    assert found == []
    profile = made.policy.hosts["w"].profile
    assert profile is not None
    assert profile.jump == "y"


def test_a_broken_profile_makes_nothing_else_look_wrong() -> None:
    """A profile that cannot be read is one finding, not another one for each host that uses it."""
    _, found = judged(
        "ssh_profiles: {p: {user: '-x', auth: {key: file:k}, host_keys: {known_hosts: k}}, q: {inherit: p}}\n"
        "hosts: {a: {address: a, ssh: p}, b: {address: b, ssh: q}}\n"
        "groups: {g: [a, b]}"
    )
    assert found == ["a.yaml:2:26: P201 p.user: must be an account name, like cmdhttp"]


def test_a_key_file_is_found_from_any_folder() -> None:
    """Paths are absolute once compiled, so a change of the working folder changes nothing."""
    policy = compiled(BASE + "hosts: {a: {address: a, ssh: base}}", policies=Path("relative"))
    profile = policy.hosts["a"].profile
    assert profile is not None
    assert profile.known_hosts == str(Path("relative/known").absolute())
