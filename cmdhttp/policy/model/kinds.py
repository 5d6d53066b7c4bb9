"""The words that the sections share: names, references, selectors, each with one spelling and its JSON Schema."""

import re
from enum import StrEnum
from typing import Annotated, Any

from pydantic import BeforeValidator, Field, PlainValidator, WithJsonSchema

from cmdhttp.policy.fields import read_rate
from cmdhttp.policy.params.patterns import compile_pattern

MAX_PORT = 65535
MAX_EXIT_CODE = 255

_ACCOUNT = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]{0,63}\Z")
_LABEL = re.compile(r"[A-Za-z0-9][A-Za-z0-9._/-]{0,62}\Z")
_ADDRESS = re.compile(r"[A-Za-z0-9:][A-Za-z0-9.:-]{0,252}\Z")
_SECRET = re.compile(r"(file:[A-Za-z0-9_][A-Za-z0-9._-]{0,127}|env:[A-Z_][A-Z0-9_]{0,127})\Z")
_AGENT = re.compile(r"(/[A-Za-z0-9._/@%+-]{1,106}|env:[A-Z_][A-Z0-9_]{0,127})\Z")
_CERTIFICATE_PRINCIPAL = re.compile(r"[A-Za-z0-9_.@-]*(<account>)?[A-Za-z0-9_.@-]*(?<=.)\Z")
_SHA256 = re.compile(r"[0-9a-f]{64}\Z")
_TOKEN_ID = re.compile(r"[0-9A-Za-z]{8}\Z")
_ENV_NAME = re.compile(r"[A-Z_][A-Z0-9_]{0,63}\Z")
_ISSUER = re.compile(r"https://[a-z0-9.-]{1,253}(:[0-9]{1,5})?(/[A-Za-z0-9._~/-]*)?\Z")
_CLAIM = re.compile(r"[\x21-\x7e]{1,255}\Z")
_PARSER = re.compile(r"[a-z][a-z0-9-]{0,63}\Z")
_RATE_SCHEMA = {"type": "string", "pattern": r"^[1-9][0-9]{0,8}/(s|sec|min|h|hour|d|day)$"}


class Effect(StrEnum):
    """What a command does to the world."""

    READ = "read"
    CHANGE = "change"
    DESTROY = "destroy"


def _matching(pattern: re.Pattern[str], wanted: str) -> BeforeValidator:
    def check(value: Any) -> str:
        if not isinstance(value, str) or not pattern.match(value):
            raise ValueError(f"must be {wanted}")
        return value

    return BeforeValidator(check)


def _spelled(pattern: re.Pattern[str]) -> WithJsonSchema:
    return WithJsonSchema({"type": "string", "pattern": f"^(?:{pattern.pattern.removesuffix(chr(92) + 'Z')})$"})


def _one_or_many(value: Any) -> Any:
    return [value] if isinstance(value, str) else value


def _run_item(value: Any) -> str | tuple[str, ...]:
    if isinstance(value, str):
        return value
    if isinstance(value, list) and value and all(isinstance(item, str) for item in value):
        return tuple(value)
    raise ValueError("must be one argument as text, or an inner list of arguments that is left out whole")


def _redaction(value: Any) -> str:
    if not isinstance(value, str):
        raise ValueError("must be a pattern, written as text")  # noqa: TRY004 - pydantic reports ValueError
    return compile_pattern(value).text


_MANY = {"type": "array", "items": {"type": "string"}, "minItems": 1}
_ONE_OR_MANY = WithJsonSchema({"anyOf": [{"type": "string"}, _MANY]})

Account = Annotated[str, _matching(_ACCOUNT, "an account name, like cmdhttp"), _spelled(_ACCOUNT)]
Label = Annotated[
    str, _matching(_LABEL, "a label: letters, digits, '.', '_', '/' or '-', at most 63"), _spelled(_LABEL)
]
Address = Annotated[str, _matching(_ADDRESS, "a host name or an IP address"), _spelled(_ADDRESS)]
SecretRef = Annotated[
    str,
    _matching(_SECRET, "a reference to a secret, like file:ops_ed25519 (in the secrets folder) or env:NAME"),
    _spelled(_SECRET),
]
AgentSocket = Annotated[
    str, _matching(_AGENT, "the absolute path of an agent's socket, or env:SSH_AUTH_SOCK"), _spelled(_AGENT)
]
CertificatePrincipal = Annotated[
    str, _matching(_CERTIFICATE_PRINCIPAL, "a certificate principal, like cmdhttp-<account>"), WithJsonSchema({"type": "string"})
]  # fmt: skip
Sha256 = Annotated[str, _matching(_SHA256, "64 hexadecimal digits in lower case"), _spelled(_SHA256)]
TokenId = Annotated[str, _matching(_TOKEN_ID, "the 8 characters between 'cmdh_' and '_'"), _spelled(_TOKEN_ID)]
EnvName = Annotated[str, _matching(_ENV_NAME, "a variable name in capitals, like LANG"), _spelled(_ENV_NAME)]
Issuer = Annotated[str, _matching(_ISSUER, "an https URL, like https://acme.cloudflareaccess.com"), _spelled(_ISSUER)]
Claim = Annotated[str, _matching(_CLAIM, "1 to 255 characters without a space"), _spelled(_CLAIM)]
ParserName = Annotated[str, _matching(_PARSER, "the name of a parser, like json, lines or df"), _spelled(_PARSER)]
RunItem = Annotated[
    str | tuple[str, ...], PlainValidator(_run_item), WithJsonSchema({"anyOf": [{"type": "string"}, _MANY]})
]
LabelValues = Annotated[list[Label], BeforeValidator(_one_or_many), Field(min_length=1)]
Names = Annotated[list[str], BeforeValidator(_one_or_many), Field(min_length=1), _ONE_OR_MANY]
Redaction = Annotated[str, PlainValidator(_redaction), WithJsonSchema({"type": "string", "minLength": 1})]
RateText = Annotated[Any, PlainValidator(read_rate), WithJsonSchema(_RATE_SCHEMA)]

_LABELS = {
    "type": "object",
    "minProperties": 1,
    "additionalProperties": {"anyOf": [{"type": "string"}, _MANY]},
}
_CLASS = {
    "type": "object",
    "minProperties": 1,
    "maxProperties": 1,
    "properties": {"effect": {"enum": [effect.value for effect in Effect]}, "tag": {"type": "string"}},
    "additionalProperties": False,
}


def _selector(one: dict[str, Any], words: str) -> WithJsonSchema:
    text = {"type": "string", "minLength": 1}
    return WithJsonSchema(
        {"description": words, "anyOf": [text, one, {"type": "array", "items": {"anyOf": [text, one]}, "minItems": 1}]}
    )


HostSelector = Annotated[Any, _selector(_LABELS, "a host, a group, local, a map of labels, a list of these, or '*'")]
CommandSelector = Annotated[Any, _selector(_CLASS, "a command, {effect: ...}, {tag: ...}, a list of these, or '*'")]
