"""The requests that the verbs make. Names and ids are checked first: a path holds nothing that could lead elsewhere."""

import argparse
import base64
import json
import re
from typing import Any

from cmdhttp.cli.calls.files import Inputs
from cmdhttp.cli.calls.values import read_values
from cmdhttp.client.exchange import Request
from cmdhttp.errors import ConfigError
from cmdhttp.ids import is_job_id

_COMMAND = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_KEY = re.compile(r"[\x21-\x7e]{1,255}")
_LONG_POLL = 60.0


def command_name(text: str) -> str:
    """Return a command's name. Raises ConfigError."""
    if not _COMMAND.fullmatch(text):
        raise ConfigError(
            f"'{text}' is not the name of a command", hint="Like disk.usage. Values follow it: path=/var."
        )
    return text


def job_id(text: str) -> str:
    """Return a job's id. Raises ConfigError."""
    if not is_job_id(text):
        raise ConfigError(
            f"'{text}' is not the id of a job", hint="It looks like job_01J...; 'cmdhttp jobs list' has it."
        )
    return text


def idempotency_key(text: str) -> str:
    """Return a key that a header can hold. Raises ConfigError."""
    if not _KEY.fullmatch(text):
        raise ConfigError("--idempotency-key must be 1 to 255 visible ASCII characters")
    return text


def call_body(options: argparse.Namespace) -> bytes:
    """Return the body of the call that the command line describes. Raises ConfigError."""
    inputs = Inputs()
    body: dict[str, Any] = {"params": read_values(options.values, inputs.read)}
    if options.stdin is not None:
        body["stdin"] = {"base64": base64.b64encode(inputs.read(options.stdin)).decode()}
    given = {"hosts": options.on, "timeout": options.timeout, "reason": options.reason, "labels": options.label}
    return json.dumps(body | {name: value for name, value in given.items() if value is not None}).encode()


def detached(command: str, body: bytes, *, key: str) -> Request:
    """A call that does not wait for its end."""
    whole = json.dumps(json.loads(body) | {"wait": 0}).encode()
    return Request(path=f"/v1/run/{command}", method="POST", body=whole, headers={"Idempotency-Key": key})


def one_job(identity: str, *, wait: float = 0.0) -> Request:
    """One job; with `wait`, once it has ended or that many seconds are over."""
    query = {"wait": f"{min(wait, _LONG_POLL):g}"} if wait > 0 else {}
    return Request(path=f"/v1/jobs/{identity}", query=query)


def cancel(identity: str) -> Request:
    return Request(path=f"/v1/jobs/{identity}/cancel", method="POST", body=b"{}")
