"""`cmdhttp token new`: a token, shown once."""

import json
import secrets
import time
from datetime import UTC, datetime

from cmdhttp.auth.tokens import ENTROPY_BYTES, mint
from cmdhttp.errors import ConfigError
from cmdhttp.policy.fields import read_duration, read_name


def run_token_new(principal: str, *, expires: str, as_json: bool) -> int:
    """Print a new token for a principal. Raises ConfigError for a bad name or span."""
    try:
        name = read_name(principal)
    except ValueError as error:
        raise ConfigError(f"PRINCIPAL {error}") from None
    try:
        seconds = read_duration(expires)
        ends = datetime.fromtimestamp(time.time() + seconds, tz=UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    except (ValueError, OverflowError) as error:
        raise ConfigError(f"--expires {error}", hint="Write a span with its unit, like 12h or 90d.") from None
    token = mint(secrets.token_bytes(ENTROPY_BYTES))
    if as_json:
        print(json.dumps({"token": token.token, "id": token.id, "sha256": token.sha256, "expires": ends}))
        return 0
    print(f"token for '{name}', shown only now:\n\n  {token.token}\n")
    print("put this into the policy (in place of an entry that has no token yet):\n")
    print(
        f'principals:\n  {name}:\n    tokens:\n      - {{id: {token.id}, sha256: "{token.sha256}", expires: "{ends}"}}'
    )
    return 0
