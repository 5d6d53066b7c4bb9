"""We and the peers. The peers are set up as their documentation says, and in their favour: no credentials, no access log.

Ours is `cmdhttp serve` with everything on, as an admin starts it; it is known here by its flags and its HTTP alone.
"""

import json
import os
import pwd
import shlex
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from benchmarks.local.http import Call, request
from benchmarks.local.programs import WORD
from benchmarks.local.servers import ROOT, Place, Server, Streamed, find, free_port

_CLIENTS = 64
_HOLDS = {"true": b"", "echo": WORD.encode()}


class Cmdhttp(Server):
    """The service with a token, a policy, the journal and the audit log."""

    name = "cmdhttp"
    cli = (sys.executable, "-m", "cmdhttp.cli.main")

    def __init__(self, argvs: Mapping[str, list[str]]) -> None:
        super().__init__(argvs)
        made = subprocess.run([*self.cli, "token", "new", "bench", "--json"], cwd=ROOT, capture_output=True, check=True)
        self._token: dict[str, str] = json.loads(made.stdout)
        self.headers = {"Authorization": f"Bearer {self._token.pop('token')}"}

    def prepare(self, place: Place) -> list[list[str]]:
        policies = place.folder / "policies"
        policies.mkdir(mode=0o755)
        (policies / "policy.yaml").write_text(json.dumps(self.policy(self._token)))
        (policies / "policy.yaml").chmod(0o644)
        flags = {
            "policies": policies,
            "data": place.folder / "data",
            "runs": place.folder / "runs",
            "listen": f"127.0.0.1:{place.port}",
            "ops-listen": f"127.0.0.1:{free_port()}",
        }
        return [[*self.cli, "serve", *(part for name, value in flags.items() for part in (f"--{name}", str(value)))]]

    def policy(self, token: Mapping[str, str]) -> dict[str, Any]:
        """What is published, for the holder of this token."""
        return policy(self.argvs, token)

    def call(self, program: str) -> Call:
        body = json.dumps({"params": {"text": WORD}} if program == "echo" else {}).encode()
        sent = request("POST", f"/v1/run/{program}", headers=self.headers, body=body)
        return Call(request=sent, holds=f'"stdout":"{WORD}\\n"'.encode() if program == "echo" else b'"ok":true')

    def streamed(self, program: str) -> Streamed | None:
        return Streamed(target=f"/v1/run/{program}", headers={**self.headers, "Accept": "text/plain"})


def policy(argvs: Mapping[str, list[str]], token: Mapping[str, str]) -> dict[str, Any]:
    """Our policy: the programs, and `sleep` to be canceled, for one principal with this token."""
    plain = {"effect": "read", "on": "local", "timeout": "10m", "output": {"max": "4GiB"}}
    commands: dict[str, dict[str, Any]] = {name: {**plain, "run": argv} for name, argv in argvs.items()}
    commands["echo"]["run"] = [argvs["echo"][0], "<text>"]
    commands["echo"]["params"] = {"text": {"type": "string", "pattern": "[a-z]{1,32}"}}
    seconds = {"type": "int", "min": 1}
    commands["sleep"] = {**plain, "run": ["/bin/sleep", "<seconds>"], "params": {"seconds": seconds}, "timeout": "7d"}
    return {
        "version": 1,
        "commands": commands,
        "principals": {"bench": {"tokens": [token]}},
        "roles": {"all": [{"commands": list(commands), "hosts": "local"}]},
        "grants": [{"to": "bench", "roles": "all"}],
    }


class Webhook(Server):
    """Debian's `webhook`, written in Go: the hook's output is kept and is the answer."""

    name = "webhook"
    programs = ("webhook",)

    def prepare(self, place: Place) -> list[list[str]]:
        hooks = [
            {
                "id": name,
                "execute-command": argv[0],
                "pass-arguments-to-command": [{"source": "string", "name": argument} for argument in argv[1:]],
                "include-command-output-in-response": True,
                "http-methods": ["POST"],
            }
            for name, argv in self.argvs.items()
        ]
        path = place.folder / "hooks.json"
        path.write_text(json.dumps(hooks))
        return [[_found("webhook"), "-hooks", str(path), "-ip", "127.0.0.1", "-port", str(place.port)]]

    def call(self, program: str) -> Call:
        return Call(request=request("POST", f"/hooks/{program}", body=b"{}"), holds=_HOLDS[program])


class Nginx(Server):
    """nginx in front of fcgiwrap, with as many of it as there may be clients; a CGI program must write a head, so it is a script.

    Called by GET: fcgiwrap answers 502 when a program has ended before the request's body could be written to it.
    """

    name = "nginx + fcgiwrap"
    programs = ("nginx", "fcgiwrap")
    forsakes = True
    waits = False

    def prepare(self, place: Place) -> list[list[str]]:
        folder = place.folder
        for name, argv in self.argvs.items():
            script = folder / name
            script.write_text(f"#!/bin/sh\nprintf 'Content-Type: text/plain\\n\\n'\nexec {shlex.join(argv)}\n")
            script.chmod(0o755)
        conf = folder / "nginx.conf"
        conf.write_text(_nginx_conf(folder, place.port))
        socket = f"unix:{folder}/fcgi.sock"
        return [
            [_found("fcgiwrap"), "-c", str(_CLIENTS), "-s", socket],
            [_found("nginx"), "-p", str(folder), "-c", str(conf), "-e", str(folder / "error.log")],
        ]

    def call(self, program: str) -> Call:
        return Call(request=request("GET", f"/{program}"), holds=_HOLDS[program])

    def streamed(self, program: str) -> Streamed | None:
        return Streamed(target=f"/{program}", method="GET")


class Flask(Server):
    """flask-shell2http under gunicorn. A call is two requests: one starts the command, one waits for its report."""

    name = "flask-shell2http"
    modules = ("flask_shell2http", "gunicorn")

    def prepare(self, place: Place) -> list[list[str]]:
        flags = ["--workers", "1", "--worker-class", "gthread", "--threads", str(_CLIENTS), "--keep-alive", "75"]
        here = ["--bind", f"127.0.0.1:{place.port}", "--no-control-socket", "--worker-tmp-dir", str(place.folder)]
        return [[sys.executable, "-m", "gunicorn", *flags, *here, "benchmarks.local.flask_app:application"]]

    def environment(self) -> Mapping[str, str]:
        return {"SHELL2HTTP_PROGRAMS": json.dumps({name: self.argvs[name][0] for name in ("true", "echo")})}

    def call(self, program: str) -> Call:
        body = {"args": self.argvs[program][1:], "force_unique_key": True}

        def then(answer: bytes) -> bytes:
            key = json.loads(answer[answer.index(b"\r\n\r\n") :])["key"]
            return request("GET", f"/{program}?key={key}&wait=true")

        sent = request("POST", f"/{program}", body=json.dumps(body).encode())
        return Call(request=sent, holds=_HOLDS[program] or b'"returncode":0', then=then)


class Naive(Server):
    """starlette and asyncio, written in a minute; see naive.py."""

    name = "naive asyncio"
    modules = ("starlette", "uvicorn", "httptools")

    def prepare(self, place: Place) -> list[list[str]]:
        flags = ["--port", str(place.port), "--no-access-log", "--log-level", "warning", "--http", "httptools"]
        return [[sys.executable, "-m", "uvicorn", *flags, "benchmarks.local.naive:application"]]

    def environment(self) -> Mapping[str, str]:
        return {"NAIVE_PROGRAMS": json.dumps(dict(self.argvs))}

    def call(self, program: str) -> Call:
        holds = f'"stdout":"{WORD}\\n"'.encode() if program == "echo" else b'"exit_code":0'
        return Call(request=request("POST", f"/run/{program}", body=b"{}"), holds=holds)

    def streamed(self, program: str) -> Streamed | None:
        return Streamed(target=f"/stream/{program}")


class Cat(Server):
    """The floor of output: the program through a pipe to `cat`, which writes to the connection; see floor.py."""

    name = "floor: cat"

    def prepare(self, place: Place) -> list[list[str]]:
        return [[sys.executable, "-I", "-S", str(Path(__file__).with_name("floor.py")), "cat", str(place.port)]]

    def environment(self) -> Mapping[str, str]:
        return {"FLOOR_PROGRAMS": json.dumps(dict(self.argvs))}

    def call(self, program: str) -> Call:
        return Call(request=request("GET", f"/{program}"), holds=_HOLDS[program])

    def streamed(self, program: str) -> Streamed | None:
        return Streamed(target=f"/{program}", method="GET")


def contenders(argvs: Mapping[str, list[str]]) -> tuple[Cmdhttp, list[Server]]:
    """We, and the servers to be held against."""
    return Cmdhttp(argvs), [Webhook(argvs), Nginx(argvs), Flask(argvs), Naive(argvs)]


def _found(program: str) -> str:
    path = find(program)
    if path is None:
        raise RuntimeError(f"{program} is gone since it was looked for")
    return path


def _nginx_conf(folder: Path, port: int) -> str:
    user = f"user {pwd.getpwuid(0).pw_name};" if os.geteuid() == 0 else ""
    kinds = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    temporary = "\n".join(f"    {kind}_temp_path {folder}/{kind};" for kind in kinds)
    return f"""\
{user}
daemon off;
worker_processes 2;
pid {folder}/nginx.pid;
events {{ worker_connections 1024; }}
http {{
    access_log off;
    keepalive_requests 100000000;
{temporary}
    server {{
        listen 127.0.0.1:{port};
        fastcgi_buffering off;
        fastcgi_read_timeout 600s;
        fastcgi_param SCRIPT_FILENAME {folder}$uri;
        fastcgi_param REQUEST_METHOD $request_method;
        set $at_once "";
        if ($uri = /ticks) {{ set $at_once 1; }}
        fastcgi_param NO_BUFFERING $at_once if_not_empty; # else fcgiwrap collects small writes
        location / {{ fastcgi_pass unix:{folder}/fcgi.sock; }}
    }}
}}
"""
