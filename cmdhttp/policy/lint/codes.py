"""Every code of lint, how severe it is, and what it says in a few words.

A code is stable: it is never given to something else, and each has its own section in `docs/reference/findings.md` with a
bad and a good example.
"""

from enum import StrEnum
from typing import Self

from cmdhttp.policy.findings import Finding, Position, Severity

_ERROR, _WARNING = Severity.ERROR, Severity.WARNING


class LintCode(StrEnum):
    """P3xx speak of what would run, P4xx of who may. The compiler has codes of its own in both ranges."""

    severity: Severity
    meaning: str

    def __new__(cls, code: str, severity: Severity, meaning: str) -> Self:
        member = str.__new__(cls, code)
        member._value_ = code
        member.severity = severity
        member.meaning = meaning
        return member

    PARAM_IN_CODE = "P303", _ERROR, "a parameter inside code that an interpreter runs"
    FREE_SCRIPT = "P304", _ERROR, "the caller chooses what an interpreter runs"
    FREE_PROGRAM = "P305", _ERROR, "the caller chooses what a launcher starts"
    INNER_NOT_ABSOLUTE = "P306", _ERROR, "what a launcher or interpreter starts is not an absolute path"
    STDIN_IS_CODE = "P307", _ERROR, "what the caller sends by stdin is run"
    WRITABLE = "P308", _ERROR, "everybody may write a program, script or key file"
    WRITABLE_BY_SOME = "P309", _WARNING, "others than root and the service may write a program, script or key file"
    NO_PROGRAM = "P310", _WARNING, "a program of local commands is not there"
    NO_FILE = "P311", _WARNING, "a key file is not there"
    KEY_READABLE = "P312", _WARNING, "everybody may read a key file"
    NO_HOST_KEYS = "P313", _WARNING, "no host key is pinned"

    RISKY_ARGUMENT = "P320", _WARNING, "the caller shapes an argument by which the program can do more"
    UNGUARDED_DASH = "P321", _WARNING, "a value may become an option"
    WIDE_PATTERN = "P322", _WARNING, "a pattern takes nearly everything"
    NO_TIMEOUT = "P323", _WARNING, "a command without a time limit of its own"
    AS_ROOT = "P324", _WARNING, "runs as root"
    HANDS_OVER = "P325", _WARNING, "another daemon keeps what the command starts"
    UNUSED_PARAM = "P326", _WARNING, "a parameter that goes nowhere"
    UNQUOTED_VALUE = "P327", _WARNING, "a shell script splits a value"
    EVALUATED_VALUE = "P328", _WARNING, "a script runs a value as code"
    SECRET_IN_ENV = "P329", _WARNING, "a variable that looks like a secret, in plain text"
    PATH_ANYWHERE = "P330", _WARNING, "a path without 'under'"
    PLACEHOLDER_IN_SCRIPT = "P331", _ERROR, "a placeholder inside a script's text"
    UNDECLARED_VALUE = "P332", _WARNING, "a script reads a value that no parameter fills"
    SHELL_SYNTAX = "P333", _WARNING, "shell syntax where there is no shell"
    CANNOT_BE_SENT = "P334", _WARNING, "a command for a host that cannot be sent it"
    PACED_FOR_ONE = "P335", _WARNING, "what paces several hosts, on a command for one"

    TOKEN_FOREVER = "P401", _ERROR, "a token without expiry"
    SECRET_IN_TEXT = "P402", _ERROR, "a token or private key in the policy's text"
    TOKEN_EXPIRED = "P403", _WARNING, "a token that has expired"
    TOKEN_LONG = "P404", _WARNING, "a token that lives for more than 400 days"
    FAKE_DIGEST = "P405", _WARNING, "a sha256 that no token has"
    FROM_ANYWHERE = "P406", _WARNING, "a 'from' that takes every address"
    NO_GRANT = "P408", _WARNING, "a principal without a role"
    NO_HOLDER = "P409", _WARNING, "a role that nobody holds"
    NEVER_ALLOWED = "P410", _WARNING, "a command that nobody may run"
    GRANTED_TWICE = "P411", _WARNING, "a role granted twice"
    SHADOWED = "P412", _WARNING, "a role line that a wider one covers"
    LINE_NEVER = "P413", _WARNING, "a role line that never allows anything"
    DENY_NEVER = "P414", _WARNING, "a deny that never matches"
    EVERY_HOST = "P415", _WARNING, "a change on every host"
    EVERY_COMMAND = "P416", _WARNING, "a role line that takes every command"
    DESTROY_ALONE = "P417", _WARNING, "a destroy command without approval"
    APPROVER_IS_CALLER = "P418", _WARNING, "an approval that the caller can give, or that it can never get"
    UNTESTED = "P419", _WARNING, "a change or destroy command without a test"
    TEST_BY_CLOCK = "P420", _WARNING, "a test whose outcome changes with the date"
    STOPS_ALL = "P421", _WARNING, "a role line that lets stop every job"

    def found(self, message: str, at: Position, hint: str) -> Finding:
        return Finding(code=self, message=message, at=at, hint=hint, severity=self.severity)
