"""The broker, but it reads its policy only while there is no file `hold` beside the policy folder."""

import time

from cmdhttp.broker import life as program
from cmdhttp.policy.compiled import Policy
from cmdhttp.settings import Settings

_read = program._load


def _read_when_let(settings: Settings) -> Policy:
    while (settings.policies.parent / "hold").exists():
        time.sleep(0.01)
    return _read(settings)


if __name__ == "__main__":
    program._load = _read_when_let
    program.live()
