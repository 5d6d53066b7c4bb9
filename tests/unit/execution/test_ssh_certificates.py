"""What a certificate says, byte for byte of what was asked; and host certificates that are made to harm."""

import asyncio
import random
from dataclasses import replace
from typing import Any

import asyncssh
import pytest

from cmdhttp.execution.ssh.login.certificates import Issued, Issuer, Purpose
from cmdhttp.execution.ssh.login.hostcerts import refuse_unfit
from cmdhttp.execution.ssh.login.signers import KeySigner
from cmdhttp.execution.ssh.login.wire import Reader, string
from cmdhttp.plan.model import Certificate, KeyFile, SshTarget

CA = asyncssh.generate_private_key("ssh-ed25519")
LOGIN = Certificate(authority=KeyFile(path="/ca"), principal="cmdhttp-u", ttl=60.0)
TARGET = SshTarget(address="10.0.0.1", port=22, account="u", login=LOGIN, known_hosts="/known")


class Still:
    """A clock that stands still."""

    def now(self) -> float:
        return 1_800_000_000.9

    def monotonic(self) -> float:
        return 0.0


def made(
    target: SshTarget = TARGET,
    *,
    login: Certificate = LOGIN,
    purpose: Purpose = Purpose(),  # noqa: B008 - frozen
    local: str | None = "192.0.2.7",
) -> tuple[Issued, dict[str, Any]]:
    """A certificate, and its options as asyncssh reads them."""
    issuer = Issuer(clock=Still(), entropy=lambda size: b"\xff" * size)
    issued = asyncio.run(issuer.issue(target, login, purpose, signer=KeySigner(key=CA), local=local))
    options: dict[str, Any] = issued.certificate.options  # type: ignore[attr-defined] # of OpenSSH's kind of certificate
    return issued, options


def test_a_certificate_for_a_command() -> None:
    """The line and the address are in it, and nothing is permitted."""
    issued, options = made(purpose=Purpose(only="echo \N{SNOWMAN}", job="job_1", principal="ann"))
    assert options["force-command"] == "echo \N{SNOWMAN}"
    assert [str(network) for network in options["source-address"]] == ["192.0.2.7/32"]
    assert options.keys() == {"force-command", "source-address"}
    record = issued.record
    assert (record.serial, record.key_id) == (str(2**64 - 1), "cmdhttp:job_1:ann")
    assert (record.valid_after, record.valid_before) == (1_799_999_970, 1_800_000_060)


def test_a_certificate_for_many_commands() -> None:
    """It names no command, and still permits nothing else."""
    issued, options = made()
    assert options.keys() == {"source-address"}
    assert (issued.record.command_sha256, issued.record.key_id) == (None, "cmdhttp:shared")
    assert (issued.record.job, issued.record.principal) == (None, None)


def test_a_certificate_for_a_jump_host() -> None:
    """It forwards and runs nothing, whatever else is asked of it."""
    issued, options = made(replace(TARGET, leads_on=True), purpose=Purpose(only="id"))
    assert (options["permit-port-forwarding"], options["force-command"]) == (True, "exit 1")
    assert options.keys() == {"permit-port-forwarding", "force-command", "source-address"}
    assert issued.record.key_id == "cmdhttp:jump"


@pytest.mark.parametrize(
    ("local", "sources", "written"),
    [
        ("2001:db8::1", None, ("2001:db8::1/128",)),
        ("fe80::1%eth0", None, ("fe80::1/128",)),
        (None, None, ()),
        ("192.0.2.7", (), ()),
        (None, ("10.0.0.0/8", "::1/128"), ("10.0.0.0/8", "::1/128")),
    ],
)
def test_where_it_is_good_from(local: str | None, sources: tuple[str, ...] | None, written: tuple[str, ...]) -> None:
    """What the policy says, else our own end of the connection, else everywhere."""
    issued, options = made(login=replace(LOGIN, sources=sources), local=local)
    assert issued.record.source_addresses == written
    assert tuple(map(str, options.get("source-address", ()))) == written


def test_a_key_id_is_one_short_word() -> None:
    """No name can add a line, a space or a page to the host's log."""
    issued, _ = made(purpose=Purpose(only="x", job="job_1", principal="a b\nAccepted \N{SNOWMAN}" + "x" * 500))
    assert issued.record.key_id.startswith("cmdhttp:job_1:a?b?Accepted??xxx")
    assert len(issued.record.key_id) == 200


def test_half_a_second_more_is_a_second_more() -> None:
    """A life is rounded up to whole seconds."""
    issued, _ = made(login=replace(LOGIN, ttl=10.5))
    assert issued.record.valid_before == 1_800_000_011


# What a host may show.


def shown(**options: Any) -> bytes:
    key = asyncssh.generate_private_key("ssh-ed25519")
    certificate = CA.generate_host_certificate(key, "h", **options)
    return certificate.public_data


def test_keys_and_certificates_with_names_pass() -> None:
    """The rest is asyncssh's to look at."""
    refuse_unfit(CA.public_data)
    refuse_unfit(shown(principals=["a"]))


def test_a_certificate_without_names_does_not() -> None:
    """It would be good for every host."""
    with pytest.raises(ValueError, match="names no host"):
        refuse_unfit(shown())


def test_damaged_certificates() -> None:
    """Whatever a host sends is passed on or refused, and nothing else happens."""
    good = shown(principals=["a"])
    chance = random.Random(7)
    refused = 0
    for _ in range(3000):
        data = bytearray(good)
        for _ in range(chance.randint(1, 3)):
            data[chance.randrange(len(data))] = chance.randrange(256)
        cut = bytes(data[: chance.randrange(len(data))]) if chance.random() < 0.3 else bytes(data)
        try:
            refuse_unfit(cut)
        except ValueError:
            refused += 1
    assert refused > 2500


@pytest.mark.parametrize("data", [b"", b"\x00", b"\x00\x00\x00\x05abc", b"\xff\xff\xff\xff", string(b"x")[:-1]])
def test_data_that_ends_too_early(data: bytes) -> None:
    """Is an error, whatever it said of its length."""
    with pytest.raises(ValueError, match="ends within"):
        Reader(data).string()
