"""Which lines of a known_hosts file can be host keys."""

from pathlib import Path

import pytest

from cmdhttp.policy.hostkeys import bad_lines, read_beginning

KEYS = [
    "10.0.0.1 ssh-ed25519 AAAA",
    "a.example,10.0.0.1 ecdsa-sha2-nistp256 AAAA a comment",
    "[a.example]:2222 ssh-rsa AAAAB3Nz",
    "|1|c2FsdA==|aGFzaA== ssh-rsa AAAA",
    "@cert-authority *.example ssh-ed25519 AAAA",
    "@revoked * sk-ssh-ed25519@openssh.com AAAA",
    "  10.0.0.1\tssh-ed25519   AAAA\r",
    "# a comment",
    "   ",
    "",
]
NONE = [
    "ssh-ed25519 AAAA",
    "ssh-ed25519 AAAA user@laptop",
    "10.0.0.1",
    "10.0.0.1 ssh-ed25519",
    "@revoked 10.0.0.1 ssh-ed25519",
    "@other 10.0.0.1 ssh-ed25519 AAAA",
    "10.0.0.1 ssh-ed25519 AAA",
    "10.0.0.1 ssh-ed25519 AAAA%",
    "10.0.0.1 ssh-ed25519 =",
    "10.0.0.1 2048 65537 1234",
    "getaddrinfo a.example: Name or service not known",
]


@pytest.mark.parametrize("line", KEYS)
def test_lines_that_may_stand_there(line: str) -> None:
    """Host keys with and without a marker, comments and blank lines."""
    assert list(bad_lines(line.encode())) == []


@pytest.mark.parametrize("line", NONE)
def test_lines_that_may_not(line: str) -> None:
    """Keys without hosts, hosts without keys, what a program said, and what is cut off."""
    assert list(bad_lines(f"# first\n{line}\n{KEYS[0]}".encode())) == [2]


def test_lines_of_authorities() -> None:
    """They name no hosts: a line of a known_hosts file is none of theirs."""
    data = (
        b"# ours\n\nssh-ed25519 AAAA ours\n10.0.0.1 ssh-ed25519 AAAA\n@cert-authority * ssh-ed25519 AAAA\nssh-ed25519\n"
    )
    assert list(bad_lines(data, hosts=False)) == [4, 5, 6]


def test_what_cannot_be_read(tmp_path: Path) -> None:
    """A file that is not there, or that is none, has no lines to speak of; of a large one the first whole lines count."""
    assert read_beginning(tmp_path) == read_beginning(tmp_path / "none") == b""
    (tmp_path / "large").write_bytes(b"#\n#" * (1 << 20))
    whole = read_beginning(tmp_path / "large")
    assert (1 << 20) - 4 < len(whole) < 1 << 20
    assert whole.endswith(b"#\n")
