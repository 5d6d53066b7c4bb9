"""Something that answers a client and is not the service, and the events that a service would send."""

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


@contextmanager
def answering(answer: Callable[[BaseHTTPRequestHandler, int], object]) -> Iterator[tuple[str, list[dict[str, str]]]]:
    """Something that is not the service; yields its URL and the headers of what it was sent."""
    seen: list[dict[str, str]] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            seen.append({name.lower(): value for name, value in self.headers.items()} | {"": self.path})
            self.rfile.read(int(self.headers.get("Content-Length", 0)))
            answer(self, len(seen))

        do_GET = do_POST  # noqa: N815

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_address[1]}", seen
        finally:
            server.shutdown()
            thread.join()


def reply(handler: BaseHTTPRequestHandler, status: int, body: bytes, **headers: str) -> None:
    handler.send_response(status)
    for name, value in {"Content-Length": str(len(body)), **headers}.items():
        handler.send_header(name.replace("_", "-"), value)
    handler.end_headers()
    handler.wfile.write(body)


def problem(status: int, code: str) -> bytes:
    return json.dumps({"title": "T", "status": status, "detail": "D", "code": code, "hint": "", "errors": []}).encode()


JOB = "job_01M8D100000000000000000000"
ONE_HOST: dict[str, Any] = {"id": JOB, "state": "queued", "ok": False, "host": "web1"}


def event(number: int, kind: str, **fields: object) -> bytes:
    document = {"type": kind, "job_id": JOB, "seq": number, "ts": "2026-11-02T09:30:00Z", **fields}
    return json.dumps(document).encode() + b"\n"


def printed(number: int, text: str, *, offset: int) -> bytes:
    return event(number, "output", run=0, host="web1", stream="stdout", offset=offset, text=text)


def ended(number: int, *, sha256: str | None = None) -> bytes:
    job = {**ONE_HOST, "state": "succeeded", "ok": True, "exit_code": 0, "sha256": {"stdout": sha256, "stderr": None}}
    return event(number, "finished", job=job)


ACCEPTED = event(1, "accepted", job=ONE_HOST)
SUM_OF_ABC = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
