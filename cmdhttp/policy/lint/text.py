"""Secrets that stand in the text of the policy, comments included.

This looks at bytes, not at meaning, so it also finds the token that was pasted where its sha256 belongs. No finding shows
the secret.
"""

import re
from collections.abc import Iterable, Iterator

from cmdhttp.policy.files import SourceFile
from cmdhttp.policy.findings import Finding, Position
from cmdhttp.policy.lint.codes import LintCode

_TOKEN = re.compile(rb"cmdh_([0-9A-Za-z]{8})_[0-9A-Za-z]{20,}")
_PRIVATE_KEY = re.compile(rb"-----BEGIN [A-Z ]*PRIVATE KEY-----")


def lint_text(files: Iterable[SourceFile]) -> list[Finding]:
    """Find tokens and private keys in the files, whether or not they make a policy."""
    return [finding for file in files for finding in _secrets(file)]


def _secrets(file: SourceFile) -> Iterator[Finding]:
    for found in _TOKEN.finditer(file.data):
        message = f"the token with the id '{found[1].decode()}' stands here in plain text"
        hint = "it is known now: make a new one with 'cmdhttp token new', and keep only its sha256 here"
        yield LintCode.SECRET_IN_TEXT.found(message, _place(file, found.start()), hint)
    for found in _PRIVATE_KEY.finditer(file.data):
        hint = "it is known now: make a new one, and refer to it as 'file:NAME' in the secrets folder"
        yield LintCode.SECRET_IN_TEXT.found("a private key stands here", _place(file, found.start()), hint)


def _place(file: SourceFile, offset: int) -> Position:
    before = file.data[:offset]
    start = before.rfind(b"\n") + 1
    column = len(before[start:].decode("utf-8", "replace")) + 1
    return Position(file=file.path, line=before.count(b"\n") + 1, column=column)
