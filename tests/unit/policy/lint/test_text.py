"""Secrets in the text of a policy."""

from cmdhttp.auth.tokens import ENTROPY_BYTES, mint
from cmdhttp.policy.files import SourceFile
from cmdhttp.policy.lint import lint_text

TOKEN = mint(bytes(range(ENTROPY_BYTES))).token


def said(text: str) -> list[str]:
    return [str(finding) for finding in lint_text([SourceFile(path="a.yaml", data=text.encode())])]


def test_a_token_is_found_wherever_it_stands() -> None:
    """In a comment, in place of its sha256, cut short; with its place, and without the token."""
    text = f"# ü {TOKEN}\nsha256: {TOKEN[:40]}\n"
    lines = said(text)
    assert [line.partition("\n")[0] for line in lines] == [
        f"a.yaml:1:5: P402 the token with the id '{TOKEN[5:13]}' stands here in plain text",
        f"a.yaml:2:9: P402 the token with the id '{TOKEN[5:13]}' stands here in plain text",
    ]
    assert TOKEN[14:30] not in "\n".join(lines)


def test_a_private_key_is_found() -> None:
    """Whatever kind it is of."""
    for kind in ("", "OPENSSH ", "RSA ", "ENCRYPTED "):
        (line,) = said(f"script: |\n  -----BEGIN {kind}PRIVATE KEY-----\n")
        assert line.startswith("a.yaml:2:3: P402 a private key stands here\n    hint: it is known now")


def test_what_is_no_secret() -> None:
    """The shape in words, the public id, a public key."""
    text = "# cmdh_<8 id>_<43 secret><6 crc32>\nid: k7Qm2ZpA\n-----BEGIN PUBLIC KEY-----\ncmdh_k7Qm2ZpA_short\n"
    assert said(text) == []
