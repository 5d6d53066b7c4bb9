"""The real program, `cmdhttp serve`, with a policy, tokens and an SSH host of its own, for the length of a `with` block.

It is started as an admin would start it: as a process, with a policy folder, a secrets folder and a data folder on disk.
A stop must leave no process behind and no error in the log; the block fails otherwise. What a kill leaves is ended by id.
"""

import contextlib
import functools
import json
import os
import signal
import ssl
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal, Self

import httpx

from tests.support.ports import free_port
from tests.support.sshd import Sshd, descendants, is_alive, make_key

Document = dict[str, Any]
Media = Literal["application/x-ndjson", "text/event-stream"]

NDJSON: Media = "application/x-ndjson"
SSE: Media = "text/event-stream"
_WAIT = 60.0
_START = 60.0
_LONG_POLL = 5.0
_ROOT = Path(__file__).parents[2]
_FREE_TEXT = r"[^\x00-\x1f]*"
_BOTH = ["local", "far"]
NO_TLS = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
"""Never used; without it each client would spend 20 ms on reading root certificates."""

COMMANDS: Mapping[str, Document] = {
    "args": {
        "run": ["/usr/bin/printf", "[%s]\\n", "<one>", "two=<two>"],
        "params": {
            "one": {"type": "string", "pattern": _FREE_TEXT, "unicode": True},
            "two": {"type": "string", "pattern": _FREE_TEXT, "unicode": True, "default": ""},
        },
        "on": "*",
    },
    "exit": {
        "script": 'echo out; echo err >&2; exit "$P_CODE"',
        "params": {"code": {"type": "int", "min": 0, "max": 255}},
        "on": _BOTH,
    },
    "cat": {"run": ["/usr/bin/cat"], "stdin": {"max": "64KiB"}, "on": _BOTH},
    "digest": {
        "script": 'sum=$(sha256sum); sleep "$P_SECONDS"; echo "$sum"',
        "params": {"seconds": {"type": "number", "min": 0, "max": 5, "default": "0"}},
        "stdin": {"type": "secret"},
        "on": _BOTH,
    },
    "unlock": {
        "script": 'sum=$(sha256sum < "$P_PW_FILE"); sleep "$P_SECONDS"; echo "$sum"; cat "$1" > kept',
        "args": ["<note>"],
        "params": {
            "pw": {"type": "secret"},
            "note": {"type": "file"},
            "seconds": {"type": "number", "min": 0, "max": 5, "default": "0"},
        },
        "files": {"collect": ["*"]},
        "on": "local",
    },
    "spill": {
        "script": """
            date +%s.%N; echo "ready, steady" >&2
            secret=$(cat)
            slowly() { first=${1%?????}; printf "$2 %s" "$first"; sleep 0.05; printf "%s.\\n" "${1#"$first"}"; }
            slowly "$secret" raw; slowly "$secret" err >&2
            hex=$(printf %s "$secret" | od -An -v -tx1 | tr -d " \\n")
            slowly "$hex" hex; slowly "$(printf %s "$hex" | tr a-f A-F)" HEX
            for before in "" x xy; do slowly "$(printf %s "$before$secret" | base64 -w 0)" base64; done
            slowly token=12345678 pattern
            printf %s "$secret" | tr "a-z" "b-za"; echo " end"
        """,
        "stdin": {"type": "secret"},
        "output": {"redact": ["token=[0-9]+"]},
        "on": _BOTH,
    },
    "hush": {"script": "date +%s.%N; sleep 0.1", "stdin": {"type": "secret"}, "on": _BOTH},
    "env": {"run": ["/usr/bin/env"], "env": {"FROM_POLICY": "yes"}, "on": _BOTH},
    "sleep": {
        "script": 'echo $$; exec sleep "$P_SECONDS"',
        "params": {"seconds": {"type": "int", "min": 0, "max": 60, "default": "30"}},
        "timeout": "40s",
        "on": _BOTH,
    },
    "stubborn": {"script": "trap '' TERM; echo $$; while :; do sleep 0.1; done", "timeout": "40s", "on": "local"},
    "flood": {"run": ["/usr/bin/yes", "flood"], "output": {"max": "64KiB"}, "timeout": "20s", "on": _BOTH},
    "ends": {
        "script": 'yes flood | head -c "$P_BYTES"; echo "the last words" >&2; echo; echo done',
        "params": {"bytes": {"type": "int", "min": 0}},
        "output": {"max": "64KiB", "when_full": "keep_ends"},
        "timeout": "1m",
        "on": _BOTH,
    },
    "burn": {"script": "while :; do :; done", "limits": {"cpu": "1s"}, "timeout": "20s", "on": "local"},
    "large_file": {
        "script": "exec head -c 5000000 /dev/zero >big",
        "limits": {"file_size": "1MiB", "memory": "256MiB", "processes": 9, "files": 64},
        "timeout": "20s",
        "on": "local",
    },
    "tick": {
        "script": 'i=0; while [ "$i" -lt "$P_COUNT" ]; do echo "tick $i"; echo "tock é" >&2; i=$((i + 1)); '
        'sleep "$P_PAUSE"; done',
        "params": {
            "count": {"type": "int", "min": 0, "max": 1000},
            "pause": {"type": "number", "min": 0, "max": 10, "default": "0.1"},
        },
        "timeout": "40s",
        "on": _BOTH,
    },
    "stamp": {"script": "date +%s.%N; sleep 0.1", "on": _BOTH},
    "halves": {"script": "printf 'a\\303'; sleep 0.3; printf '\\251b'", "on": _BOTH},
    "binary": {"script": "printf '\\377\\376\\000\\001'", "on": _BOTH},
    "count": {"run": ["/usr/bin/seq", "1", "<to>"], "params": {"to": {"type": "int", "min": 1}}, "on": _BOTH},
    "missing": {"run": ["/nonexistent/program"], "on": _BOTH},
    "typed": {
        "run": ["/usr/bin/printf", "%s", "<number>", "<color>", "<unit>"],
        "params": {
            "number": {"type": "int", "min": 1, "max": 9},
            "color": {"type": "enum", "values": ["red", "green"]},
            "unit": {"type": "string", "pattern": "[a-z]+"},
        },
        "on": "local",
    },
    "private": {"run": ["/usr/bin/true"], "on": "local"},
}
"""What the policy publishes. 'ann' may run all of it but 'private', which is for 'bob' alone; 'bob' may also run 'exit'."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Remote:
    """An SSH host of the policy. `recorded` is the text of its known_hosts file."""

    address: str
    port: int
    account: str
    key: Path
    recorded: str

    @classmethod
    def of(cls, sshd: Sshd, *, port: int | None = None) -> "Remote":
        """A real server, or what stands in front of it at another port of the same address."""
        recorded = sshd.recorded().replace(f"]:{sshd.port} ", f"]:{port or sshd.port} ")
        return cls(address=sshd.address, port=port or sshd.port, account=sshd.account, key=sshd.key, recorded=recorded)


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """One event of a stream: its exact bytes as text, and the document in them."""

    raw: str
    document: Document
    at: float

    @property
    def type(self) -> str:
        return str(self.document["type"])

    @property
    def numbered(self) -> bool:
        return "seq" in self.document

    @property
    def seq(self) -> int:
        return int(self.document["seq"])


class Service:
    """One service. `start`, `stop`, `kill` and `restart` may follow each other in any order that makes sense."""

    commands: ClassVar[Mapping[str, Document]] = COMMANDS
    sshd_listens: ClassVar[str] = "127.0.0.1"

    def __init__(self, folder: Path, sshd: Sshd, *, flags: Mapping[str, str]) -> None:
        self.folder = folder
        self.sshd = sshd
        self.policies = folder / "policies"
        self.secrets = folder / "secrets"
        self.data = folder / "data"
        self.stderr = folder / "stderr.log"
        self.tokens: dict[str, str] = {}
        self.listen = f"127.0.0.1:{free_port()}"
        self.ops = f"127.0.0.1:{free_port()}"
        self.prefix: list[str] = []
        self.remotes: dict[str, Remote] = {}
        self.flags = {"heartbeat": "5", "drain": "0.3", "wait": "15", **flags}
        self._process: subprocess.Popen[bytes] | None = None
        self._orphans: list[int] = []

    @classmethod
    @contextlib.contextmanager
    def running(
        cls, folder: Path, *, prefix: Sequence[str] = (), remotes: Mapping[str, Remote] | None = None, **flags: str
    ) -> Iterator[Self]:
        """Start sshd and the service; stop both and check that the service left nothing and logged no error.

        `prefix` is a program and its arguments that starts the service, like unshare; `remotes` are further SSH hosts by
        name, on which every command that runs on 'far' may run too.
        """
        folder.mkdir(parents=True, exist_ok=True)
        with Sshd.start(folder / "sshd", config=["Subsystem sftp internal-sftp"], listen=cls.sshd_listens) as sshd:
            service = cls(folder, sshd, flags=flags)
            service.prefix = list(prefix)
            service.remotes = dict(remotes or {})
            try:
                service.write_policy()
                service.start()
                yield service
                service.stop()
                service.check_log()
            except BaseException:
                sys.stderr.write(f"\n--- stderr of the service ---\n{service.log[-8000:]}\n")
                raise
            finally:
                service.kill()
                service.end_orphans()

    @property
    def url(self) -> str:
        return f"http://{self.listen}"

    @property
    def log(self) -> str:
        return self.stderr.read_text(errors="replace") if self.stderr.exists() else ""

    @property
    def pid(self) -> int:
        if self._process is None:
            raise RuntimeError("the service is not running")
        return self._process.pid

    def check_log(self) -> None:
        """Raise if the service logged an error."""
        errors = [line for line in self.log.splitlines() if '"level": "error"' in line or "Traceback" in line]
        if errors:
            raise AssertionError("the service logged errors:\n" + "\n".join(errors))

    def records(self, *codes: str, job: str | None = None, count: int = 0) -> list[Document]:
        """Return the audit records with one of these codes (all without any) and of this job; wait until `count` are there.

        A record may be written a moment after the answer that it is about.
        """
        path = self.data / "audit" / "audit.jsonl"

        def found() -> list[Document]:
            whole = path.read_text().rpartition("\n")[0] if path.exists() else ""
            records = [as_dict(json.loads(line)) for line in whole.splitlines()]
            return [r for r in records if (not codes or r["code"] in codes) and (job is None or r.get("job") == job)]

        wait_until(lambda: len(found()) >= count, f"{count} audit records {codes} of {job or 'any job'}")
        return found()

    # -- the program's life

    def write_policy(self) -> None:
        """Write the policy, its key and known_hosts, with a token each for 'ann' and 'bob' and an expired one."""
        self.policies.mkdir()
        self.secrets.mkdir(mode=0o700)
        for name in ("key", "other_key"):
            (self.secrets / name).touch(mode=0o600)
        (self.secrets / "key").write_text(self.sshd.key.read_text())
        make_key(self.folder / "other_key")
        (self.secrets / "other_key").write_text((self.folder / "other_key").read_text())
        (self.policies / "known_hosts").write_text(self.sshd.recorded())
        (self.policies / "changed_hosts").write_text(self.sshd.recorded(self.folder / "other_key.pub"))
        for name, remote in self.remotes.items():
            (self.secrets / f"key_{name}").touch(mode=0o600)
            (self.secrets / f"key_{name}").write_text(remote.key.read_text())
            (self.policies / f"hosts_{name}").write_text(remote.recorded)
        principals = {name: {"tokens": [self.new_token(name)]} for name in ("ann", "bob", "old")}
        principals["old"]["tokens"][0]["expires"] = "2020-01-01T00:00:00Z"
        (self.policies / "policy.yaml").write_text(json.dumps(self._policy(principals), indent=1))

    def new_token(self, principal: str) -> Document:
        """Make a token with the CLI, once for all services of this process, and keep it; returns its policy line."""
        document = as_dict(json.loads(_made_token(principal)))
        self.tokens[principal] = document.pop("token")
        return document

    def cli(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run the program to its end."""
        return run_program(*arguments)

    def serve_arguments(self, **changed: str) -> list[str]:
        flags = {
            "policies": str(self.policies),
            "data": str(self.data),
            "secrets": str(self.secrets),
            "runs": str(self.data / "runs"),
            "listen": self.listen,
            "ops-listen": self.ops,
            **self.flags,
            **changed,
        }
        return ["serve", *(part for name, value in flags.items() for part in (f"--{name}", value))]

    def start(self, *, ready: bool = True) -> None:
        """Start the program and wait until it says that it is ready, or only that it is there."""
        command = [*self.prefix, sys.executable, "-m", "cmdhttp.cli.main", *self.serve_arguments()]
        with self.stderr.open("ab") as log:
            self._process = subprocess.Popen(
                command, cwd=_ROOT, env=environment(), stdin=subprocess.DEVNULL, stdout=log, stderr=log
            )
        give_up = time.monotonic() + _START
        while not (self.ready() if ready else self.there()):
            if self._process.poll() is not None or time.monotonic() > give_up:
                raise RuntimeError(f"the service did not start:\n{self.log}")
            time.sleep(0.02)

    def ready(self) -> bool:
        try:
            return self.ask_ops("/readyz").status_code == 200
        except httpx.TransportError:
            return False

    def there(self) -> bool:
        try:
            return self.ask_ops("/healthz").status_code == 200
        except httpx.TransportError:
            return False

    def ask_ops(self, path: str) -> httpx.Response:
        return httpx.get(f"http://{self.ops}{path}", timeout=_WAIT, trust_env=False, verify=NO_TLS)

    def stop(self) -> int:
        """Ask the program to stop and wait. Raises if a process that it started is still there."""
        process, self._process = self._process, None
        if process is None:
            return 0
        family = descendants(process.pid)
        process.terminate()
        try:
            status = process.wait(_WAIT)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            raise RuntimeError("the service did not stop on SIGTERM") from None
        finally:
            left = [pid for pid in family if is_alive(pid)]
            self._orphans += left
        if left or status != 0:
            raise RuntimeError(f"the service ended with {status} and left the processes {left}")
        return status

    def kill(self) -> list[int]:
        """Kill the program as a power cut would; returns the processes that it started and that are still there."""
        process, self._process = self._process, None
        if process is None:
            return []
        family = descendants(process.pid)
        process.kill()
        process.wait()
        left = [pid for pid in family if is_alive(pid)]
        self._orphans += left
        return left

    def restart(self) -> None:
        self.stop()
        self.start()

    def end_orphans(self) -> None:
        """End what a kill left, by id."""
        orphans, self._orphans = self._orphans, []
        for pid in orphans:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        wait_until(lambda: not any(is_alive(pid) for pid in orphans), "the orphans are gone")

    # -- calls

    def client(self, principal: str | None = "ann") -> httpx.Client:
        """Return a client with the principal's token, or without a credential."""
        headers = {"Authorization": f"Bearer {self.tokens[principal]}"} if principal else {}
        return httpx.Client(base_url=self.url, headers=headers, timeout=_WAIT, trust_env=False, verify=NO_TLS)

    def run(self, command: str, body: Document | None = None, *, principal: str = "ann", **more: Any) -> httpx.Response:
        with self.client(principal) as client:
            return client.post(f"/v1/run/{command}", json=body or {}, **more)

    def result(self, command: str, body: Document | None = None, **more: Any) -> Document:
        """Run a command and return its finished job."""
        answer = self.run(command, body, **more)
        if answer.status_code != 200:
            raise AssertionError(f"{answer.status_code}: {answer.text}")
        return as_document(answer)

    def launch(self, command: str, body: Document | None = None, **more: Any) -> Document:
        """Start a command and return its job so far."""
        answer = self.run(command, {**(body or {}), "wait": 0}, **more)
        if answer.status_code != 202:
            raise AssertionError(f"{answer.status_code}: {answer.text}")
        return as_document(answer)

    def job(self, job_id: str, *, wait: float = 0, principal: str = "ann") -> Document:
        with self.client(principal) as client:
            return as_document(client.get(f"/v1/jobs/{job_id}", params={"wait": wait}))

    def finished(self, job_id: str, *, seconds: float) -> Document:
        """Return a job once it has ended. Raises AssertionError if it does not end in time."""
        give_up = time.monotonic() + seconds
        while True:
            left = give_up - time.monotonic()
            job = self.job(job_id, wait=round(min(max(left, 0), _LONG_POLL), 1))
            if job["state"] not in ("queued", "running"):
                return job
            if left <= 0:
                raise AssertionError(f"not ended within {seconds} s: {job}")

    def list_jobs(self, **filters: str | int) -> list[Document]:
        with self.client() as client:
            jobs: list[Document] = as_document(client.get("/v1/jobs", params=filters))["jobs"]
        return jobs

    def cancel(self, job_id: str) -> Document:
        with self.client() as client:
            return as_document(client.post(f"/v1/jobs/{job_id}/cancel", json={}))

    @contextlib.contextmanager
    def stream(self, command: str, body: Document | None = None, *, media: Media = NDJSON) -> Iterator[Iterator[Event]]:
        """Run a command and yield its events as they come."""
        with (
            self.client() as client,
            client.stream("POST", f"/v1/run/{command}", json=body or {}, headers={"Accept": media}) as answer,
        ):
            yield read_events(answer, media)

    @contextlib.contextmanager
    def follow(
        self, job_id: str, *, after: int = 0, media: Media = NDJSON, method: str = "GET"
    ) -> Iterator[Iterator[Event]]:
        """Follow a job: NDJSON resumes by `?after=`, SSE by `Last-Event-ID`."""
        headers: dict[str, str] = {"Accept": media}
        parameters: dict[str, int] = {}
        if after and media == SSE:
            headers["Last-Event-ID"] = str(after)
        elif after:
            parameters["after"] = after
        body: Document | None = {} if method == "POST" else None
        with (
            self.client() as client,
            client.stream(method, f"/v1/jobs/{job_id}/events", params=parameters, headers=headers, json=body) as answer,
        ):
            yield read_events(answer, media)

    def events(self, job_id: str, *, after: int = 0, media: Media = NDJSON) -> list[Event]:
        """Return the numbered events of a job, up to the end of the stream."""
        with self.follow(job_id, after=after, media=media) as events:
            return [event for event in events if event.numbered]

    def output(self, job_id: str, stream: str = "stdout", **headers: str) -> httpx.Response:
        with self.client() as client:
            return client.get(f"/v1/jobs/{job_id}/output/{stream}", headers=headers)

    def first_line(self, job_id: str) -> str:
        """Wait for the first line on stdout; the following stops then."""
        text = ""
        with self.follow(job_id) as events:
            for event in events:
                if event.type == "output" and event.document["stream"] == "stdout":
                    text += event.document["text"]
                if "\n" in text:
                    return text.split("\n")[0]
        raise AssertionError(f"the job ended without a line: {text!r}")

    def _policy(self, principals: Document) -> Document:
        login = {"user": self.sshd.account, "auth": {"key": "file:key"}, "host_keys": {"known_hosts": "known_hosts"}}
        here = {"address": self.sshd.address, "port": self.sshd.port, "ssh": "good"}
        commands = {name: {"effect": "read", **spec} for name, spec in self.commands.items()}
        for spec in commands.values():
            if "script" in spec:
                spec["interpreter"] = "sh"
            if spec["on"] == "*":
                spec["on"] = ["local", "far", "down", "changed", "stranger"]
            if "far" in spec["on"]:
                spec["on"] = [*spec["on"], *self.remotes]
        everywhere = ["local", "far", "down", "changed", "stranger", *self.remotes]
        public = [name for name in commands if name != "private"]
        return {
            "version": 1,
            "ssh_profiles": {
                "good": login,
                "changed": {**login, "host_keys": {"known_hosts": "changed_hosts"}},
                "stranger": {**login, "auth": {"key": "file:other_key"}},
                **{name: _profile(name, remote) for name, remote in self.remotes.items()},
            },
            "hosts": {
                "far": {**here, "labels": {"role": "web"}},
                "down": {**here, "port": free_port()},
                "changed": {**here, "ssh": "changed"},
                "stranger": {**here, "ssh": "stranger"},
                **{
                    name: {"address": remote.address, "port": remote.port, "ssh": name}
                    for name, remote in self.remotes.items()
                },
            },
            "commands": commands,
            "principals": principals,
            "roles": {
                "all": [{"commands": public, "hosts": everywhere}],
                "few": [{"commands": ["private", "exit"], "hosts": "local"}],
            },
            "grants": [{"to": ["ann"], "roles": ["all"]}, {"to": ["bob"], "roles": ["few"]}],
        }


def _profile(name: str, remote: Remote) -> Document:
    auth = {"key": f"file:key_{name}"}
    return {"user": remote.account, "auth": auth, "host_keys": {"known_hosts": f"hosts_{name}"}}


def run_program(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Run `cmdhttp` to its end."""
    command = [sys.executable, "-m", "cmdhttp.cli.main", *arguments]
    return subprocess.run(
        command, cwd=_ROOT, env=environment(), capture_output=True, text=True, timeout=_WAIT, check=False
    )


@functools.cache
def _made_token(principal: str) -> str:
    return run_program("token", "new", principal, "--json").stdout


def read_events(answer: httpx.Response, media: Media) -> Iterator[Event]:
    """Yield events as they come; `raw` is the whole line or frame."""
    if answer.status_code != 200:
        answer.read()
        raise AssertionError(f"{answer.status_code}: {answer.text}")
    end = "\n" if media == NDJSON else "\n\n"
    held = ""
    for text in answer.iter_text():
        now = time.time()
        held += text
        while end in held:
            raw, _, held = held.partition(end)
            yield Event(raw=raw, document=_event_document(raw, media), at=now)
    if held:
        raise AssertionError(f"the stream ended within an event: {held!r}")


def _event_document(raw: str, media: Media) -> Document:
    if media == NDJSON:
        return as_dict(json.loads(raw))
    fields = dict(line.split(": ", 1) for line in raw.split("\n"))
    document = as_dict(json.loads(fields.pop("data")))
    expected = {"event": document["type"]} | ({"id": str(document["seq"])} if "seq" in document else {})
    if fields != expected:
        raise AssertionError(f"the frame says {fields}, its data {expected}")
    return document


def as_document(answer: httpx.Response) -> Document:
    return as_dict(answer.json())


def as_dict(value: Any) -> Document:
    if not isinstance(value, dict):
        raise TypeError(f"not an object: {value!r}")
    return value


def wait_until(check: Callable[[], object], what: str, *, seconds: float = 30.0) -> None:
    """Return once `check()` is true. Raises AssertionError if it does not become true in time."""
    give_up = time.monotonic() + seconds
    while not check():
        if time.monotonic() > give_up:
            raise AssertionError(f"not within {seconds} s: {what}")
        time.sleep(0.01)


def environment() -> dict[str, str]:
    """Return this process's environment without settings of the service, and with a secret that no run may see."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith("CMDHTTP_")}
    return clean | {"PARENT_SECRET": "parent-secret-canary", "PYTHONDONTWRITEBYTECODE": "1"}


def proc_command_lines() -> Sequence[bytes]:
    """Return the command lines of all processes."""
    return _of_all_processes("cmdline")


def proc_environments() -> Sequence[bytes]:
    """Return the environments of all processes."""
    return _of_all_processes("environ")


def _of_all_processes(name: str) -> Sequence[bytes]:
    found = []
    with os.scandir("/proc") as entries:
        for entry in entries:
            if entry.name.isdigit():
                with contextlib.suppress(OSError):
                    found.append(Path(entry.path, name).read_bytes())
    return found
