"""The routes: parse, call the service, encode. The contract of names, states and status codes is `docs/reference/http.md`."""

import base64
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from cmdhttp.api.body import Answer, read_object, run_request
from cmdhttp.api.commands import command_document, oversight_document, quota_document
from cmdhttp.api.encoders import Media, encode_json
from cmdhttp.api.inline import longest, page_of
from cmdhttp.api.query import (
    Query,
    artefact_number,
    byte_range,
    follow_start,
    idempotency_key,
    last_event_id,
    media_for,
    run_index,
)
from cmdhttp.api.streams import Encoded, StreamResponse, event_chunks, until_gone_or
from cmdhttp.api.wire import Inline, download_name, job_document
from cmdhttp.auth.principal import Principal
from cmdhttp.errors import NotFound
from cmdhttp.execution.model import Stream
from cmdhttp.jobs.listing import Filter
from cmdhttp.jobs.state import Job, Kept
from cmdhttp.plan.model import Step, UnsupportedTarget
from cmdhttp.policy.compiled import Command
from cmdhttp.policy.decide import Decision, Verdict
from cmdhttp.results.model import Parsed
from cmdhttp.service import Service

_STREAMED = (Media.SSE, Media.NDJSON)
_MAX_PAGE, _PAGE = 200, 50
_MAX_WAIT = 90.0
_READ = 256 << 10
_RETRY_AFTER = 2
_NO_STORE = {"cache-control": "no-store", "x-content-type-options": "nosniff"}


@dataclass(frozen=True, slots=True, kw_only=True)
class ApiSettings:
    """Times in seconds, sizes in bytes."""

    wait: float
    heartbeat: float
    body_max: int
    inline_max: int


class Api:
    """All routes over one service."""

    def __init__(self, service: Service, *, settings: ApiSettings, now: Callable[[], float]) -> None:
        self._service = service
        self._settings = settings
        self._now = now
        self._encoded = Encoded()

    def routes(self) -> list[Route]:
        return [
            Route("/v1/run/{command}", self.run, methods=["POST"]),
            Route("/v1/explain/{command}", self.explain, methods=["POST"]),
            Route("/v1/jobs", self.jobs, methods=["GET"]),
            Route("/v1/jobs/{id}", self.job, methods=["GET"]),
            Route("/v1/jobs/{id}/events", self.events, methods=["GET", "POST"]),
            Route("/v1/jobs/{id}/output/{stream}", self.output, methods=["GET"]),
            Route("/v1/jobs/{id}/artefacts/{number}", self.artefact, methods=["GET"]),
            Route("/v1/jobs/{id}/cancel", self.cancel, methods=["POST"]),
            Route("/v1/commands", self.commands, methods=["GET"]),
            Route("/v1/commands/{name}", self.command, methods=["GET"]),
            Route("/v1/hosts", self.hosts, methods=["GET"]),
            Route("/v1/me", self.me, methods=["GET"]),
        ]

    # -- run

    async def run(self, request: Request) -> "StreamResponse | _WaitResponse":
        media = media_for(request, (Media.JSON, *_STREAMED, Media.TEXT))
        wanted = run_request(
            request.path_params["command"],
            await read_object(request, limit=self._settings.body_max),
            header_key=idempotency_key(request),
            request_id=request.state.request_id,
        )
        call = replace(wanted.call, one_host=media is Media.TEXT)
        submitted = await self._service.submit(_principal(request), call)
        job = submitted.job
        if media is not Media.JSON:
            self._service.require_stored(job)
        headers = {"Idempotency-Replayed": "true"} if submitted.replayed else {}

        async def on_gone() -> None:
            if not submitted.replayed:
                await self._service.disconnected(job)

        if media is Media.JSON:
            wait = self._settings.wait if wanted.answer.wait is None else wanted.answer.wait
            fail = request.query_params.get("fail") == "http"

            async def reply(job: Job) -> Response:
                return await self._answer(job, wanted.answer, headers, fail=fail)

            return _WaitResponse(self._service, job, wait=wait, reply=reply, on_gone=on_gone)
        if media is Media.TEXT:
            chunks = self._service.follow_output(_principal(request), job, 0, Stream.STDOUT, offset=0)
            return StreamResponse(
                chunks,
                media="text/plain; charset=utf-8",
                headers={**headers, "Location": f"/v1/jobs/{job.id}"},
                on_gone=on_gone,
            )
        return self._event_stream(_principal(request), job, media, after=0, headers=headers, on_gone=on_gone)

    async def explain(self, request: Request) -> Response:
        body = await read_object(request, limit=self._settings.body_max)
        wanted = run_request(request.path_params["command"], body, header_key=None, request_id=request.state.request_id)
        explanation = await self._service.explain(_principal(request), wanted.call)
        plan, decisions = explanation.plan, explanation.decisions
        hosts = [_explained_step(step, decisions[step.host]) for step in plan.steps]
        return _json(
            {
                "command": plan.command,
                "decision": explanation.verdict,
                "policy": plan.policy,
                "params": dict(plan.shown_params),
                "hosts": hosts,
            }
        )

    # -- jobs

    async def jobs(self, request: Request) -> Response:
        query = Query(request)
        limit = query.count("limit", high=_MAX_PAGE) or _PAGE
        wanted = Filter(
            principal=query.principal(own=_principal(request).name),
            limit=limit + 1,
            before=query.cursor(),
            states=query.states(),
            command=query.text("command"),
            host=query.text("host"),
            since=query.instant("since"),
            until=query.instant("until"),
        )
        query.check()
        found = await self._service.page(_principal(request), wanted)
        page = page_of(found.jobs, limit=limit)
        last = page[-1].id if len(found.jobs) > len(page) else found.looked_at_to
        cursor = base64.urlsafe_b64encode(last.encode()).decode() if last else None
        return _json({"jobs": [self._document(job, None) for job in page], "next_cursor": cursor})

    async def job(self, request: Request) -> "Response | _WaitResponse":
        query = Query(request)
        wait = query.seconds("wait", high=_MAX_WAIT) or 0.0
        query.check()
        principal = _principal(request)
        job = await self._service.get(principal, request.path_params["id"])
        if wait <= 0 or job.state.terminal:
            return await self._shown(job)

        async def reply(job: Job) -> Response:
            self._service.require_readable(principal, job)
            return await self._shown(job)

        return _WaitResponse(self._service, job, wait=wait, reply=reply)

    async def cancel(self, request: Request) -> Response:
        await read_object(request, limit=self._settings.body_max)
        job = await self._service.cancel(_principal(request), request.path_params["id"])
        return await self._shown(job)

    async def events(self, request: Request) -> StreamResponse:
        if request.method == "POST":
            await read_object(request, limit=self._settings.body_max)
        media = media_for(request, (Media.NDJSON, Media.SSE))
        query = Query(request)
        after = query.position("after")
        query.check()
        if after is None:
            after = last_event_id(request)
        job = await self._service.stored(_principal(request), request.path_params["id"])
        return self._event_stream(_principal(request), job, media, after=after, headers={}, on_gone=None)

    async def output(self, request: Request) -> "Response | StreamResponse":
        job = await self._service.stored(_principal(request), request.path_params["id"])
        name = request.path_params["stream"]
        if name not in list(Stream):
            raise NotFound("There is no such output stream; the streams are stdout and stderr.")
        stream = Stream(name)
        run = run_index(job, request.query_params.get("host"))
        size = job.runs[run].stdout.size if stream is Stream.STDOUT else job.runs[run].stderr.size
        headers = {
            "accept-ranges": "bytes",
            "content-disposition": f'attachment; filename="{job.id}.{run}.{stream}"',
        }
        if request.query_params.get("follow") in ("1", "true"):
            start = follow_start(request.headers.get("range"))
            chunks = self._service.follow_output(_principal(request), job, run, stream, offset=start)
            return StreamResponse(chunks, media="application/octet-stream", headers=headers)

        def read(offset: int, size: int) -> Awaitable[bytes]:
            return self._service.output(job, run, stream, offset=offset, size=size)

        return _stored(request, read, self._service.reading(job), size=size, headers=headers)

    async def artefact(self, request: Request) -> StreamResponse:
        job = await self._service.stored(_principal(request), request.path_params["id"])
        run = run_index(job, request.query_params.get("host"))
        number = artefact_number(job.runs[run], request.path_params["number"])
        kept = job.runs[run].kept or Kept()
        name = download_name(kept.artefacts[number].name)

        def read(offset: int, size: int) -> Awaitable[bytes]:
            return self._service.artefact(job, run, number, offset=offset, size=size)

        headers = {"accept-ranges": "bytes", "content-disposition": f'attachment; filename="{name}"'}
        size = kept.artefacts[number].size
        return _stored(request, read, self._service.reading(job), size=size, headers=headers)

    # -- what the caller may do

    async def commands(self, request: Request) -> Response:
        found = self._service.commands(_principal(request))
        return _json({"commands": [self._command(command, hosts) for command, hosts in found]})

    async def command(self, request: Request) -> Response:
        command, hosts = self._service.command(_principal(request), request.path_params["name"])
        return _json(self._command(command, hosts))

    async def hosts(self, request: Request) -> Response:
        reachable: dict[str, list[str]] = {}
        for command, hosts in self._service.commands(_principal(request)):
            for host in hosts:
                reachable.setdefault(host, []).append(command.name)
        policy = self._service.policy
        return _json(
            {
                "hosts": [
                    {"name": name, "labels": dict(policy.hosts[name].labels), "commands": reachable[name]}
                    for name in sorted(reachable)
                    if name in policy.hosts
                ]
            }
        )

    async def me(self, request: Request) -> Response:
        principal = _principal(request)
        used = quota_document(*self._service.used_by(principal))
        limits = {"wait": _MAX_WAIT, "body_bytes": self._settings.body_max} | used
        return _json(
            {
                "principal": principal.name,
                "authenticated_by": principal.method,
                "credential": principal.credential,
                "roles": list(self._service.roles(principal)),
                "jobs_of_others": [oversight_document(*each) for each in self._service.overseen(principal)],
                "policy": self._service.policy.digest,
                "limits": limits,
            }
        )

    # -- shared

    def _command(self, command: Command, hosts: list[str]) -> dict[str, object]:
        return command_document(command, hosts, self._service.rate_left(command))

    async def _answer(self, job: Job, answer: Answer, headers: dict[str, str], *, fail: bool) -> Response:
        """The JSON answer of a run: 200 with the end, or 202 with the job so far."""
        document = self._document(job, await self._inline(job, answer), await self._service.data(job))
        if job.state.terminal:
            return _json(document, status=422 if fail and not job.ok else 200, headers=headers)
        headers = headers | {"Location": f"/v1/jobs/{job.id}", "Retry-After": str(_RETRY_AFTER)}
        return _json(document, status=202, headers=headers)

    async def _shown(self, job: Job) -> Response:
        return _json(self._document(job, await self._inline(job, Answer()), await self._service.data(job)))

    def _document(self, job: Job, inline: list[Inline] | None, data: Sequence[Parsed] = ()) -> dict[str, object]:
        return job_document(job, inline=inline, data=data, place=self._service.queue_place(job))

    async def _inline(self, job: Job, answer: Answer) -> list[Inline]:
        wanted = self._settings.inline_max if answer.max_bytes is None else answer.max_bytes
        sizes = (size for run in job.runs for size in (run.stdout.size, run.stderr.size))
        most = longest(sizes, each=wanted)

        async def first(index: int, stream: Stream, size: int) -> bytes:
            return await self._service.output(job, index, stream, offset=0, size=min(size, most))

        return [
            Inline(
                stdout=await first(index, Stream.STDOUT, run.stdout.size),
                stderr=await first(index, Stream.STDERR, run.stderr.size),
                encoding=answer.encoding,
            )
            for index, run in enumerate(job.runs)
        ]

    def _event_stream(
        self,
        principal: Principal,
        job: Job,
        media: Media,
        *,
        after: int,
        headers: dict[str, str],
        on_gone: Callable[[], Awaitable[None]] | None,
    ) -> StreamResponse:
        chunks = event_chunks(
            self._service.follow(principal, job, after=after, silence=self._settings.heartbeat),
            job_id=job.id,
            media=media,
            last_seq=after,
            now=self._now,
            job=lambda: self._service.now(job),
            readable=lambda: self._service.may_read(principal, job),
            encoded=self._encoded,
        )
        return StreamResponse(
            chunks, media=media.value, headers={**headers, "Location": f"/v1/jobs/{job.id}"}, on_gone=on_gone
        )


class _WaitResponse:
    """Waits for the end of a job while it watches whether the caller is still there, then replies."""

    def __init__(
        self,
        service: Service,
        job: Job,
        *,
        wait: float,
        reply: Callable[[Job], Awaitable[Response]],
        on_gone: Callable[[], Awaitable[None]] | None = None,
    ) -> None:
        self._service = service
        self._job = job
        self._wait = wait
        self._reply = reply
        self._on_gone = on_gone

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        with self._service.reading(self._job):
            gone, job = await until_gone_or(receive, self._service.end(self._job.id), wait=self._wait)
            if gone:
                if self._on_gone is not None:
                    await self._on_gone()
                return
            response = await self._reply(job or await self._service.now(self._job))
        await response(scope, receive, send)


def _stored(
    request: Request,
    read: Callable[[int, int], Awaitable[bytes]],
    lease: AbstractContextManager[None],
    *,
    size: int,
    headers: dict[str, str],
) -> StreamResponse:
    """Answer with stored bytes, or the one range of them that the request asks for; `read(offset, size)` gives some.

    The lease keeps them there until the last is sent.
    """
    span = byte_range(request.headers.get("range"), size)
    start, end = span or (0, size)
    headers = {**headers, "content-length": str(end - start)}
    if span:
        headers["content-range"] = f"bytes {start}-{end - 1}/{size}"
    chunks = _chunks(read, lease, start=start, end=end)
    return StreamResponse(chunks, media="application/octet-stream", headers=headers, status=206 if span else 200)


async def _chunks(
    read: Callable[[int, int], Awaitable[bytes]], lease: AbstractContextManager[None], *, start: int, end: int
) -> AsyncGenerator[bytes]:
    with lease:
        while start < end:
            data = await read(start, min(_READ, end - start))
            if not data:
                return
            yield data
            start += len(data)


def _principal(request: Request) -> Principal:
    principal = request.state.principal
    if not isinstance(principal, Principal):
        raise TypeError("a route was reached without the gate")
    return principal


def _explained_step(step: Step, decision: Decision) -> dict[str, object]:
    """What a caller may know of its own rights: of a denial only that it is one, never the rule."""
    denied = decision.verdict is Verdict.DENY
    return {
        "host": step.host,
        "decision": decision.verdict,
        "role": None if denied else decision.why,
        "argv": None if denied else list(step.shown_argv),
        "script_sha256": step.script.sha256 if step.script and not denied else None,
        "timeout": step.timeout,
        "unsupported": step.target.what if isinstance(step.target, UnsupportedTarget) and not denied else None,
    }


def _json(document: object, *, status: int = 200, headers: dict[str, str] | None = None) -> Response:
    return Response(encode_json(document), status, {**_NO_STORE, **(headers or {})}, media_type="application/json")
