"""Where the policy of a service comes from: a folder, read anew for every load.

What loads here can be served: somebody holds a token. Warnings are logged when they are news, not at every load.
"""

import logging
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Protocol

from cmdhttp.errors import ConfigError
from cmdhttp.plan.argv import resolve_argv
from cmdhttp.policy.compiled import Policy
from cmdhttp.policy.files import folder_state
from cmdhttp.policy.findings import Finding
from cmdhttp.policy.load import Inputs, Loaded, load
from cmdhttp.results.library import KnownParsers, find_library
from cmdhttp.settings import Settings

_log = logging.getLogger("cmdhttp.policy")
_MAX_WARNINGS = 50


class PolicySource(Protocol):
    def load(self) -> Policy:
        """Make a policy. Raises ConfigError; called in a worker thread, never twice at a time."""

    def state(self) -> str:
        """Tell cheaply, without ever raising, whether another load could give another policy."""


def read_policy(settings: Settings, *, now: float, may_switch: bool | None) -> Loaded:
    """Load the policy folder of the settings, and say all that there is to say of it.

    `may_switch`: whether local runs can have an account of their own; None where that is not known.
    """
    parsers = KnownParsers(find_library())
    inputs = Inputs(
        resolve=resolve_argv,
        now=datetime.fromtimestamp(now, tz=UTC),
        secrets=settings.secrets_folder,
        interpreters=settings.interpreters,
        parsers=parsers,
        more_parsers=parsers.more,
        may_switch=may_switch,
    )
    return load(settings.policies, inputs)


class PolicyFolder:
    """The policy folder of the settings. `prepare` gets each policy that loads, and returns the one to serve.

    `may_switch`: whether local runs can have an account of their own; None where that is not known.
    """

    def __init__(
        self,
        settings: Settings,
        *,
        now: Callable[[], float],
        prepare: Callable[[Policy], Policy] = lambda policy: policy,
        may_switch: bool | None = None,
    ) -> None:
        self._settings = settings
        self._now = now
        self._prepare = prepare
        self._may_switch = may_switch
        self._warned: tuple[Finding, ...] = ()

    def load(self) -> Policy:
        """Load it for serving. Raises PolicyError, or ConfigError if nobody could call."""
        loaded = read_policy(self._settings, now=self._now(), may_switch=self._may_switch)
        self._warn(loaded.warnings)
        policy = self._prepare(loaded.usable())
        if not policy.tokens:
            raise ConfigError(
                "the policy has no principal with a token, so nobody could call",
                hint="Make one with 'cmdhttp token new NAME' and put its line under 'principals'.",
            )
        return policy

    def state(self) -> str:
        return folder_state(self._settings.policies)

    def _warn(self, warnings: tuple[Finding, ...]) -> None:
        if warnings == self._warned:
            return
        self._warned = warnings
        for warning in warnings[:_MAX_WARNINGS]:
            _log.warning("%s", str(warning).replace("\n    hint: ", "; "))
        if len(warnings) > _MAX_WARNINGS:
            _log.warning("%d more warnings; 'cmdhttp check' shows all", len(warnings) - _MAX_WARNINGS)
