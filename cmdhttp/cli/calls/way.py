"""The way to the service: which flags and variables say where it is, and with what a caller proves who it is.

A token is taken from a variable or a file, never from the command line, where every account of the machine could read it.
No proxy is taken from `http_proxy` and the like: a variable that somebody else has set must not decide through whose hands
a token goes.
"""

import argparse
import random
import re
import sys
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING

from cmdhttp.cli.calls.files import read_private
from cmdhttp.cli.text import visible
from cmdhttp.errors import ConfigError

if TYPE_CHECKING:  # only the verbs that call need an HTTP client
    from cmdhttp.client.exchange import Caller
    from cmdhttp.client.patience import Patience

DEFAULT_URL = "http://127.0.0.1:8080"
RETRY_SECONDS = 120.0

_TOKEN = re.compile(r"[\x21-\x7e]{1,4096}")
_HEADER = re.compile(r"([!#$%&'*+.^_`|~0-9A-Za-z-]+):[ \t]*([\x21-\x7e](?:[\t\x20-\x7e]*[\x21-\x7e])?)")
_OURS = frozenset(
    {
        "accept",
        "accept-encoding",
        "authorization",
        "connection",
        "content-length",
        "content-type",
        "expect",
        "host",
        "idempotency-key",
        "last-event-id",
        "range",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
        "x-idempotency-key",
    }
)


def add_way(parser: argparse.ArgumentParser) -> None:
    """Add the flags that say where the service is and how to reach it."""
    way = parser.add_argument_group("the service")
    way.add_argument("--url", metavar="URL", help=f"http(s)://HOST[:PORT] or unix:/path [CMDHTTP_URL; {DEFAULT_URL}]")
    way.add_argument(
        "--token-file", metavar="FILE", help="a file with the token [CMDHTTP_TOKEN_FILE; else CMDHTTP_TOKEN]"
    )
    way.add_argument(
        "--header-file",
        metavar="FILE",
        help="a file with headers for a tunnel's own login, 'Name: value' a line [CMDHTTP_HEADER_FILE; else CMDHTTP_HEADERS]",
    )
    way.add_argument(
        "--ca-file", metavar="FILE", help="trust these authorities (PEM), no others [CMDHTTP_CA_FILE; the system's]"
    )
    way.add_argument("--proxy", metavar="URL", help="tunnel https through http://HOST:PORT [CMDHTTP_PROXY; none]")
    way.add_argument(
        "--retry-for",
        type=seconds,
        default=RETRY_SECONDS,
        metavar="S",
        help=f"seconds without progress before a service that fails or is busy is given up [{RETRY_SECONDS:g}]",
    )


def caller_of(options: argparse.Namespace, environ: Mapping[str, str]) -> "Caller":
    """Return the caller that the flags and variables describe. Raises ConfigError."""
    from cmdhttp.client.address import read_address, read_proxy, trust  # noqa: PLC0415
    from cmdhttp.client.exchange import Caller  # noqa: PLC0415

    url, origin = _given(options.url, "--url", environ, "CMDHTTP_URL")
    address = read_address(url or DEFAULT_URL, origin=origin)
    proxy_url, origin = _given(options.proxy, "--proxy", environ, "CMDHTTP_PROXY")
    proxy = read_proxy(proxy_url, origin=origin) if proxy_url else None
    if proxy and not address.tls:
        raise ConfigError(f"{origin}: a proxy is for https alone", hint="Over http it would see the token.")
    if address.in_clear:
        warn("the token goes over the network in clear: the URL begins with http")
    ca_file, _ = _given(options.ca_file, "--ca-file", environ, "CMDHTTP_CA_FILE")
    return Caller(
        address,
        token=_token(options, environ),
        headers=_headers(options, environ),
        context=trust(ca_file) if address.tls else None,
        proxy=proxy,
    )


def patience_of(options: argparse.Namespace) -> "Patience":
    """Return how long this command line puts up with failures."""
    from cmdhttp.client.patience import Patience  # noqa: PLC0415

    chance = random.Random()  # noqa: S311 - it spreads retries and keeps no secret
    return Patience(options.retry_for, clock=time.monotonic, sleep=time.sleep, chance=chance.random)


def seconds(text: str) -> float:
    """Read a number of seconds for argparse. Raises ValueError."""
    number = float(text)
    if not 0 <= number <= 7 * 86400:
        raise ValueError
    return number


def warn(text: str) -> None:
    print(f"cmdhttp: warning: {visible(text)}", file=sys.stderr)


def read_headers(text: str, *, origin: str) -> dict[str, str]:
    """Return the headers that lines of `Name: value` give. Raises ConfigError, which holds no value."""
    headers: dict[str, str] = {}
    for number, line in enumerate(text.splitlines(), start=1):
        if not line.strip() or line.startswith("#"):
            continue
        found = _HEADER.fullmatch(line.rstrip())
        if found is None:
            raise ConfigError(f"{origin}: line {number} is not a header", hint="Write 'Name: value', in ASCII.")
        name, value = found.groups()
        if name.lower() in _OURS or name.lower() in map(str.lower, headers):
            raise ConfigError(f"{origin}: line {number}: '{name}' cannot be set, or is there twice")
        headers[name] = value
    return headers


def _token(options: argparse.Namespace, environ: Mapping[str, str]) -> str:
    path, _ = _given(options.token_file, "--token-file", environ, "CMDHTTP_TOKEN_FILE")
    if path:
        text, origin = read_private(path, what="token file", warn=warn).strip(), f"the token file {path}"
    else:
        text, origin = environ.get("CMDHTTP_TOKEN", "").strip(), "CMDHTTP_TOKEN"
    if not text:
        hint = "Set CMDHTTP_TOKEN, or name a file with --token-file. 'cmdhttp token new' makes one for the policy."
        raise ConfigError("there is no token to call with" if not path else f"{origin} is empty", hint=hint)
    if not _TOKEN.fullmatch(text):
        raise ConfigError(f"{origin} does not hold a token", hint="A token is one word in ASCII.")
    return text


def _headers(options: argparse.Namespace, environ: Mapping[str, str]) -> dict[str, str]:
    path, origin = _given(options.header_file, "--header-file", environ, "CMDHTTP_HEADER_FILE")
    if path:
        return read_headers(read_private(path, what="header file", warn=warn), origin=f"{origin} {path}")
    return read_headers(environ.get("CMDHTTP_HEADERS", ""), origin="CMDHTTP_HEADERS")


def _given(flag: str | None, name: str, environ: Mapping[str, str], variable: str) -> tuple[str | None, str]:
    """Return what the flag says, else the variable, and which of them it was."""
    return (flag, name) if flag else (environ.get(variable) or None, variable)
