"""A service whose policy changes while it runs: its files are small, come in two versions, and lie as a test lays them.

Version A answers `which` with `A A`, version B with `B B`. One half of that comes from `commands.yaml`, the other half has
to be allowed by `access.yaml`: files of both versions together would be a 403.
"""

import json
import os
import shutil
import signal
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Literal

from prometheus_client.parser import text_string_to_metric_families

from tests.support.service import Document, Service, wait_until
from tests.support.sshd import Sshd

Version = Literal["A", "B"]

_REFUSED = "the policy does not load"


class ReloadingService(Service):
    """One service. A policy that it refuses is an error that its log may hold."""

    def __init__(self, folder: Path, sshd: Sshd, *, flags: Mapping[str, str]) -> None:
        super().__init__(folder, sshd, flags={"policy-poll": "0.05", **flags})
        self._token_lines: dict[str, Document] = {}

    def write_policy(self) -> None:
        self.secrets.mkdir(mode=0o700)
        self._token_lines = {principal: self.new_token(principal) for principal in ("ann", "bob")}
        self.lay()

    def lay(self) -> None:
        """Lay version A where the service looks for its policy."""
        self.policies.mkdir(mode=0o700)
        self.put("A")

    def check_log(self) -> None:
        errors = [line for line in self.log.splitlines() if '"level": "error"' in line and _REFUSED not in line]
        if errors or "Traceback" in self.log:
            raise AssertionError("the service logged errors:\n" + "\n".join(errors))

    # -- the policy

    def put(self, version: Version, folder: Path | None = None) -> None:
        """Write the files of a version in place."""
        for name, text in self.texts(version).items():
            ((folder or self.policies) / name).write_text(text)

    def texts(self, version: Version, *, principals: tuple[str, ...] = ("ann", "bob")) -> dict[str, str]:
        """Return the files of a version by name; the principals get their tokens, 'demo' is there without one."""
        which = {
            "effect": "read",
            "run": ["/usr/bin/printf", f"{version} %s", "<name>"],
            "params": {"name": {"type": "enum", "values": ["A", "B"], "default": version}},
            "on": "local",
        }
        commands = {"which": which, "nap": {"effect": "read", "run": ["/usr/bin/sleep", "1"], "on": "local"}}
        known: Document = {name: {"tokens": [self._token_lines[name]]} for name in principals}
        lines = [
            {"commands": "which", "hosts": "local", "params": {"name": [version]}},
            {"commands": ["nap", "note"], "hosts": "local"},
        ]
        access = {
            "version": 1,
            "principals": {"demo": {}, **known},
            "roles": {"all": lines},
            "grants": [{"to": ["demo", *principals], "roles": "all"}],
        }
        return {
            "commands.yaml": json.dumps({"version": 1, "commands": commands}),
            "access.yaml": json.dumps(access),
            "note.yaml": note("first"),
        }

    def which(self) -> str:
        """Ask the service which version decides."""
        return str(self.result("which")["stdout"])

    def wait_for(self, version: Version) -> None:
        """Return once the service decides by this version."""
        wait_until(
            lambda: self.run("which").json().get("stdout") == f"{version} {version}",
            f"version {version}",
        )

    def wait_for_note(self, text: str) -> None:
        wait_until(lambda: self.result("note")["stdout"] == text, f"the note says {text!r}")

    # -- what it tells

    def hang_up(self) -> None:
        os.kill(self.pid, signal.SIGHUP)

    def trouble(self) -> str:
        """Return what readiness says of the policy; empty if all is well."""
        answer = self.ask_ops("/readyz")
        failing: Mapping[str, str] = answer.json()["failing"]
        if (answer.status_code == 503) != bool(failing):
            raise AssertionError(f"{answer.status_code}: {answer.text}")
        return failing.get("policy", "")

    def wait_for_trouble(self, part: str) -> str:
        wait_until(lambda: part in self.trouble(), f"readiness says {part!r}")
        return self.trouble()

    def wait_until_well(self) -> None:
        wait_until(lambda: self.trouble() == "", "the policy is well")

    def metrics(self) -> dict[str, float]:
        """Return every sample, as in `cmdhttp_policy_loads_total{result="loaded"}`."""
        return dict(self._samples())

    def loads(self, result: str) -> int:
        return int(self.metrics()[f'cmdhttp_policy_loads_total{{result="{result}"}}'])

    def _samples(self) -> Iterator[tuple[str, float]]:
        for family in text_string_to_metric_families(self.ask_ops("/metrics").text):
            for sample in family.samples:
                labels = ",".join(f'{name}="{value}"' for name, value in sorted(sample.labels.items()))
                yield (f"{sample.name}{{{labels}}}" if labels else sample.name), sample.value


def note(text: str) -> str:
    """Return a policy file whose command `note` prints a text."""
    command = {"effect": "read", "run": ["/usr/bin/printf", text], "on": "local"}
    return json.dumps({"version": 1, "commands": {"note": command}})


class MountedService(ReloadingService):
    """The policy lies as the kubelet lays a ConfigMap: links to `..data`, which is a link to a hidden folder."""

    _swaps = 0

    def lay(self) -> None:
        self.policies.mkdir(mode=0o700)
        self.swap("A")
        for name in self.texts("A"):
            (self.policies / name).symlink_to(f"..data/{name}")

    def swap(self, version: Version) -> None:
        """Put another version in place as the kubelet does: in one step, and what was there before is removed."""
        self._swaps += 1
        folder = self.policies / f"..2026_11_02_{self._swaps}"
        folder.mkdir(mode=0o755)
        self.put(version, folder)
        (self.policies / "..data_tmp").symlink_to(folder.name)
        (self.policies / "..data_tmp").replace(self.policies / "..data")
        if self._swaps > 1:
            shutil.rmtree(self.policies / f"..2026_11_02_{self._swaps - 1}")
