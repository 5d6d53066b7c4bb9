"""A tour of the main job: a private sshd on loopback, the real service, real calls, and every answer shown.

It makes host keys, user keys and tokens of its own in a temporary folder, and takes everything away at the end.
"""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from pathlib import Path

from tests.support.sshd import Sshd

COMMANDS = """\
version: 1
commands:
  greet:
    summary: Say hello to one argument, whatever is in it
    effect: read
    run: [/bin/echo, "hello,", <name>]
    params: {name: {type: string, pattern: "[A-Za-z0-9 ;$()'&|._-]{1,40}"}}
    on: [local, target]
    timeout: 10s
  disk:
    summary: How full the root file system is
    effect: read
    run: [/usr/bin/df, "--output=source,pcent", /]
    on: [local, target]
    timeout: 10s
    result: {parse: df}
  count:
    summary: Count, one line every 300 ms
    effect: read
    script: |
      for i in 1 2 3; do echo "step $i"; sleep 0.3; done
    interpreter: sh
    on: [local, target]
    timeout: 10s
  wait:
    summary: Sleep for a long time
    effect: read
    run: [/bin/sleep, "300"]
    on: [local, target]
    timeout: 1s
  secret.plan:
    summary: Published, but not for the caller of this tour
    effect: change
    run: [/bin/false]
    on: local
    timeout: 10s
"""

HOSTS = """\
version: 1
ssh_profiles:
  linux: {{user: {account}, auth: {{key: file:user_key}}, host_keys: {{known_hosts: keys/known_hosts}}}}
hosts:
  target: {{address: {address}, port: {port}, ssh: linux}}
"""

ACCESS = """\
version: 1
principals:
  tour: {{tokens: [{{id: {id}, sha256: "{sha256}", expires: "{expires}"}}]}}
  planner: {{}}
roles:
  visitor: [{{commands: [greet, disk, count, wait], hosts: [local, target]}}]
  planner: [{{commands: secret.plan, hosts: local}}]
grants:
  - {{to: tour, roles: visitor}}
  - {{to: planner, roles: planner}}
tests:
  - {{as: planner, run: secret.plan, on: local, expect: allow}}
  - {{as: tour, run: secret.plan, on: local, expect: deny}}
"""


def main() -> int:
    with tempfile.TemporaryDirectory(prefix="cmdhttp-tour-") as name:
        folder = Path(name)
        folder.chmod(0o755)
        with Sshd.start(folder / "sshd") as sshd:
            url, token, service = start(folder, sshd)
            try:
                tour(url, token)
            finally:
                service.send_signal(signal.SIGTERM)
                service.wait(timeout=30)
    print("\nThe service and the sshd are stopped, and their folder is gone.")
    return 0


def start(folder: Path, sshd: Sshd) -> tuple[str, str, subprocess.Popen[bytes]]:
    """Write the policy, start the service, and wait until it is ready."""
    made = json.loads(run_cmdhttp("token", "new", "tour", "--json"))
    policies, secrets = folder / "policies", folder / "secrets"
    (policies / "keys").mkdir(parents=True)
    secrets.mkdir(mode=0o700)
    (policies / "commands.yaml").write_text(COMMANDS)
    (policies / "hosts.yaml").write_text(HOSTS.format(account=sshd.account, address=sshd.address, port=sshd.port))
    (policies / "access.yaml").write_text(ACCESS.format(**made))
    shutil.copy(sshd.known_hosts, policies / "keys" / "known_hosts")
    shutil.copy(sshd.key, secrets / "user_key")
    (secrets / "user_key").chmod(0o600)
    listen, ops = free_address(), free_address()
    arguments = ["serve", "--policies", str(policies), "--data", str(folder / "data"), "--secrets", str(secrets)]
    service = subprocess.Popen(
        [
            sys.executable,
            "-m",
            "cmdhttp.cli.main",
            *arguments,
            "--listen",
            listen,
            "--ops-listen",
            ops,
            "--log-level",
            "warning",
        ],
    )
    wait_ready(f"http://{ops}/readyz", service)
    return f"http://{listen}", made["token"], service


def tour(url: str, token: str) -> None:
    show(
        "A local command; the value is one argument, whatever is in it",
        url,
        token,
        "greet",
        {"params": {"name": "you; $(id)"}},
    )
    show("The same on the SSH host", url, token, "greet", {"params": {"name": "you; $(id)"}, "hosts": ["target"]})
    show("Both at once", url, token, "greet", {"params": {"name": "all"}, "hosts": ["local", "target"]})
    show("What df printed on the SSH host, as data", url, token, "disk", {"hosts": ["target"]})
    show("A live stream from the SSH host", url, token, "count", {"hosts": ["target"]}, accept="application/x-ndjson")
    show("A time limit ends the process", url, token, "wait", {})
    show(
        "All that is wrong with a request, at once",
        url,
        token,
        "greet",
        {"parms": {}, "wait": 500, "params": {"name": "-x"}},
    )
    show("Published, but not for this caller", url, token, "secret.plan", {})
    show("No such command: the same answer", url, token, "no.such.command", {})
    show("Without a credential", url, "", "greet", {})


def show(title: str, url: str, token: str, command: str, body: object, *, accept: str = "application/json") -> None:
    print(f"\n== {title}\n\n   POST /v1/run/{command}  {json.dumps(body)}")
    headers = {"Content-Type": "application/json", "Accept": accept}
    if token:
        headers["Authorization"] = f"Bearer {token}"
    request = urllib.request.Request(f"{url}/v1/run/{command}", json.dumps(body).encode(), headers)  # noqa: S310 - loopback
    try:
        with urllib.request.urlopen(request, timeout=60) as answer:  # noqa: S310
            print(f"   -> {answer.status}")
            for line in answer:
                print(f"   {shorten(line)}", flush=True)
    except urllib.error.HTTPError as error:
        print(f"   -> {error.code}\n   {shorten(error.read())}")


def shorten(line: bytes) -> str:
    """Return a document with the fields that tell something, on one line."""
    document = json.loads(line)
    left_out = (
        "links",
        "policy",
        "audit",
        "labels",
        "ts",
        "job_id",
        "instance",
        "request_id",
        "created_at",
        "started_at",
    )
    return json.dumps(
        {key: value for key, value in document.items() if key not in left_out and value not in (None, "", [])}
    )


def run_cmdhttp(*arguments: str) -> str:
    command = [sys.executable, "-m", "cmdhttp.cli.main", *arguments]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def free_address() -> str:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return f"127.0.0.1:{probe.getsockname()[1]}"


def wait_ready(url: str, service: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + 15
    while time.monotonic() < deadline and service.poll() is None:
        try:
            with urllib.request.urlopen(url, timeout=1):  # noqa: S310 - loopback
                return
        except OSError:
            time.sleep(0.05)
    raise SystemExit("the service did not get ready")


if __name__ == "__main__":
    os.environ.pop("CMDHTTP_TOKEN", None)
    sys.exit(main())
