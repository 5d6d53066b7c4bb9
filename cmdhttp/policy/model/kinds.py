"""The words that the sections share: names, references, selectors, each with one spelling and its JSON Schema."""

import re
from dataclasses import dataclass
from enum import StrEnum
from typing import Annotated, Any

from pydantic import BeforeValidator, Field, GetCoreSchemaHandler, GetJsonSchemaHandler, PlainValidator, WithJsonSchema
from pydantic_core import core_schema

from cmdhttp.policy.fields import BATCH, RATE, SHARE, read_batch, read_rate, read_share, spelling

MAX_PORT = 65535
MAX_EXIT_CODE = 255

_ACCOUNT = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]{0,63}\Z")
_LABEL = re.compile(r"[A-Za-z0-9][A-Za-z0-9._/-]{0,62}\Z")
_ADDRESS = re.compile(r"([A-Za-z0-9][A-Za-z0-9.-]{0,252}|(?=[^:]*:[^:]*:)[0-9A-Fa-f:][0-9A-Fa-f:.]{1,44})\Z")
_SECRET = re.compile(r"(file:[A-Za-z0-9_][A-Za-z0-9._-]{0,127}|env:[A-Z_][A-Z0-9_]{0,127})\Z")
_AGENT = re.compile(r"(/[A-Za-z0-9._/@%+-]{1,106}|env:[A-Z_][A-Z0-9_]{0,127})\Z")
_CERTIFICATE_PRINCIPAL = re.compile(r"[A-Za-z0-9_.@-]*(<account>)?[A-Za-z0-9_.@-]*(?<=.)\Z")
_SHA256 = re.compile(r"[0-9a-f]{64}\Z")
_TOKEN_ID = re.compile(r"[0-9A-Za-z]{8}\Z")
_ENV_NAME = re.compile(r"[A-Z_][A-Z0-9_]{0,63}\Z")
_ISSUER = re.compile(r"https://[a-z0-9.-]{1,253}(:[0-9]{1,5})?(/[A-Za-z0-9._~/-]*)?\Z")
_CLAIM = re.compile(r"[\x21-\x7e]{1,255}\Z")
_COLLECTED = re.compile(
    r"(?:(?:\*\*|(?!\.{1,2}(?:/|$))(?:\*(?!\*)|[A-Za-z0-9 ._?@%+=,:~#-]){1,255})(?:/(?!$)|$)){1,8}\Z"
)
_PARSER = re.compile(r"[a-z][a-z0-9-]{0,63}\Z")


class Effect(StrEnum):
    """What a command does to the world."""

    READ = "read"
    CHANGE = "change"
    DESTROY = "destroy"


@dataclass(frozen=True, slots=True)
class _Spelled:
    """Text that a pattern matches, for the loader and for the JSON Schema alike."""

    pattern: re.Pattern[str]
    words: str

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> core_schema.CoreSchema:
        return core_schema.no_info_before_validator_function(self._check, handler(source))

    def __get_pydantic_json_schema__(self, _schema: Any, _handler: GetJsonSchemaHandler) -> dict[str, Any]:
        return spelling(self.pattern, self.words)

    def _check(self, value: Any) -> str:
        if not isinstance(value, str) or not self.pattern.match(value):
            raise ValueError(f"must be {self.words}")
        return value


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
    return value


_MANY = {"type": "array", "items": {"type": "string"}, "minItems": 1}
_ONE_OR_MANY = WithJsonSchema({"anyOf": [{"type": "string"}, _MANY]})

Account = Annotated[str, _Spelled(_ACCOUNT, "an account name, like cmdhttp")]
Label = Annotated[str, _Spelled(_LABEL, "a label: letters, digits, '.', '_', '/' or '-', at most 63")]
Address = Annotated[str, _Spelled(_ADDRESS, "a host name or an IP address")]
SecretRef = Annotated[
    str, _Spelled(_SECRET, "a reference to a secret, like file:ops_ed25519 (in the secrets folder) or env:NAME")
]
AgentSocket = Annotated[str, _Spelled(_AGENT, "the absolute path of an agent's socket, or env:SSH_AUTH_SOCK")]
CertificatePrincipal = Annotated[
    str, _Spelled(_CERTIFICATE_PRINCIPAL, "a certificate principal, like cmdhttp-<account>")
]
Sha256 = Annotated[str, _Spelled(_SHA256, "64 hexadecimal digits in lower case")]
TokenId = Annotated[str, _Spelled(_TOKEN_ID, "the 8 characters between 'cmdh_' and '_'")]
EnvName = Annotated[str, _Spelled(_ENV_NAME, "a variable name in capitals, like LANG")]
Issuer = Annotated[str, _Spelled(_ISSUER, "an https URL, like https://acme.cloudflareaccess.com")]
Claim = Annotated[str, _Spelled(_CLAIM, "1 to 255 characters without a space")]
Collected = Annotated[
    str,
    _Spelled(
        _COLLECTED, "a path from the run's folder, like report/*.csv: *, ?, ** for folders, no '..', 8 levels at most"
    ),
]
ParserName = Annotated[str, _Spelled(_PARSER, "the name of a parser, like json, lines or df")]
RunItem = Annotated[
    str | tuple[str, ...], PlainValidator(_run_item), WithJsonSchema({"anyOf": [{"type": "string"}, _MANY]})
]
LabelValues = Annotated[list[Label], BeforeValidator(_one_or_many), Field(min_length=1)]
Names = Annotated[list[str], BeforeValidator(_one_or_many), Field(min_length=1), _ONE_OR_MANY]
Redaction = Annotated[str, PlainValidator(_redaction), WithJsonSchema({"type": "string", "minLength": 1})]
RateText = Annotated[Any, PlainValidator(read_rate), WithJsonSchema(RATE)]
ShareText = Annotated[Any, PlainValidator(read_share), WithJsonSchema(SHARE)]
BatchText = Annotated[Any, PlainValidator(read_batch), WithJsonSchema(BATCH)]

# What these three take is shared and recursive: `schema` has it.
HostSelector = Annotated[Any, WithJsonSchema({"$comment": "HostSelector"})]
CommandSelector = Annotated[Any, WithJsonSchema({"$comment": "CommandSelector"})]
Narrower = Annotated[Any, WithJsonSchema({"$comment": "Narrower"})]
