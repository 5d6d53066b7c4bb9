"""The routes: parse, call the service, encode. The contract of names, states and status codes is `docs/reference/http.md`."""

import base64
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from cmdhttp.api.body import Answer, drop_body, read_object, run_request
from cmdhttp.api.catalogue import CatalogueRoutes
from cmdhttp.api.encoders import Media
from cmdhttp.api.inline import longest, page_of
from cmdhttp.api.query import (
    Query,
    artefact_number,
    follow_start,
    idempotency_key,
    last_event_id,
    media_for,
    run_index,
)
from cmdhttp.api.replies import WaitResponse, json_reply, principal_of, stored
from cmdhttp.api.streams import EventChunks, StreamResponse, Telling
from cmdhttp.api.wire import Inline, download_name, job_document
from cmdhttp.auth.principal import Principal
from cmdhttp.catalogue import Catalogue
from cmdhttp.errors import NotFound
from cmdhttp.execution.model import Stream
from cmdhttp.job_access import JobAccess
from cmdhttp.jobs.listing import Filter
from cmdhttp.jobs.state import Job, Kept
from cmdhttp.plan.model import Step, UnsupportedTarget
from cmdhttp.policy.decide import Decision, Verdict
from cmdhttp.results.model import Parsed
from cmdhttp.service import Service

_STREAMED = (Media.SSE, Media.NDJSON)
_MAX_PAGE, _PAGE = 200, 50
_MAX_WAIT = 90.0
_RETRY_AFTER = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class ApiSettings:
    """Times in seconds, sizes in bytes."""

    wait: float
    body_max: int
    inline_max: int


class Api:
    """All routes of the calls."""

    def __init__(
        self,
        service: Service,
        *,
        jobs: JobAccess,
        catalogue: Catalogue,
        settings: ApiSettings,
        now: Callable[[], float],
    ) -> None:
        self._service = service
        self._jobs = jobs
        self._catalogue = CatalogueRoutes(catalogue, longest_wait=_MAX_WAIT, body_max=settings.body_max)
        self._settings = settings
        self._telling = Telling(jobs=jobs, now=now)

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
            *self._catalogue.routes(),
        ]

    # -- run

    async def run(self, request: Request) -> "StreamResponse | WaitResponse":
        media = media_for(request, (Media.JSON, *_STREAMED, Media.TEXT))
        wanted = run_request(
            request.path_params["command"],
            await read_object(request, limit=self._settings.body_max),
            header_key=idempotency_key(request),
            request_id=request.state.request_id,
        )
        call = replace(wanted.call, one_host=media is Media.TEXT)
        submitted = await self._service.submit(principal_of(request), call)
        job = submitted.job
        if media is not Media.JSON:
            self._jobs.require_stored(job)
        headers = {"Idempotency-Replayed": "true"} if submitted.replayed else {}

        async def on_gone() -> None:
            if not submitted.replayed:
                await self._jobs.disconnected(job)

        if media is Media.JSON:
            wait = self._settings.wait if wanted.answer.wait is None else wanted.answer.wait
            fail = request.query_params.get("fail") == "http"

            async def reply(job: Job) -> Response:
                return await self._answer(job, wanted.answer, headers, fail=fail)

            return WaitResponse(self._jobs, job, wait=wait, reply=reply, on_gone=on_gone)
        if media is Media.TEXT:
            chunks = self._jobs.follow_output(principal_of(request), job, 0, Stream.STDOUT, offset=0)
            return StreamResponse(
                chunks,
                media="text/plain; charset=utf-8",
                headers={**headers, "Location": f"/v1/jobs/{job.id}"},
                on_gone=on_gone,
            )
        return self._event_stream(principal_of(request), job, media, after=0, headers=headers, on_gone=on_gone)

    async def explain(self, request: Request) -> Response:
        body = await read_object(request, limit=self._settings.body_max)
        wanted = run_request(request.path_params["command"], body, header_key=None, request_id=request.state.request_id)
        explanation = await self._service.explain(principal_of(request), wanted.call)
        plan, decisions = explanation.plan, explanation.decisions
        hosts = [_explained_step(step, decisions[step.host]) for step in plan.steps]
        return json_reply(
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
            principal=query.principal(own=principal_of(request).name),
            limit=limit + 1,
            before=query.cursor(),
            states=query.states(),
            command=query.text("command"),
            host=query.text("host"),
            since=query.instant("since"),
            until=query.instant("until"),
        )
        query.check()
        found = await self._jobs.page(principal_of(request), wanted)
        page = page_of(found.jobs, limit=limit)
        last = page[-1].id if len(found.jobs) > len(page) else found.looked_at_to
        cursor = base64.urlsafe_b64encode(last.encode()).decode() if last else None
        places = self._jobs.queue_places(page)
        documents = [job_document(job, inline=None, place=places.get(job.id)) for job in page]
        return json_reply({"jobs": documents, "next_cursor": cursor})

    async def job(self, request: Request) -> "Response | WaitResponse":
        query = Query(request)
        wait = query.seconds("wait", high=_MAX_WAIT) or 0.0
        query.check()
        principal = principal_of(request)
        job = await self._jobs.get(principal, request.path_params["id"])
        if wait <= 0 or job.state.terminal:
            return await self._shown(job)

        async def reply(job: Job) -> Response:
            self._jobs.require_readable(principal, job)
            return await self._shown(job)

        return WaitResponse(self._jobs, job, wait=wait, reply=reply)

    async def cancel(self, request: Request) -> Response:
        await read_object(request, limit=self._settings.body_max)
        job = await self._jobs.cancel(principal_of(request), request.path_params["id"])
        return await self._shown(job)

    async def events(self, request: Request) -> StreamResponse:
        if request.method == "POST":
            await read_object(request, limit=self._settings.body_max)
        else:
            await drop_body(request)
        media = media_for(request, (Media.NDJSON, Media.SSE))
        query = Query(request)
        after = query.position("after")
        query.check()
        if after is None:
            after = last_event_id(request)
        job = await self._jobs.stored(principal_of(request), request.path_params["id"])
        return self._event_stream(principal_of(request), job, media, after=after, headers={}, on_gone=None)

    async def output(self, request: Request) -> "Response | StreamResponse":
        await drop_body(request)
        job = await self._jobs.stored(principal_of(request), request.path_params["id"])
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
            chunks = self._jobs.follow_output(principal_of(request), job, run, stream, offset=start)
            return StreamResponse(chunks, media="application/octet-stream", headers=headers)

        def read(offset: int, size: int) -> Awaitable[bytes]:
            return self._jobs.output(job, run, stream, offset=offset, size=size)

        return stored(request, read, self._jobs.reading(job), size=size, headers=headers)

    async def artefact(self, request: Request) -> StreamResponse:
        await drop_body(request)
        job = await self._jobs.stored(principal_of(request), request.path_params["id"])
        run = run_index(job, request.query_params.get("host"))
        number = artefact_number(job.runs[run], request.path_params["number"])
        kept = job.runs[run].kept or Kept()
        name = download_name(kept.artefacts[number].name)

        def read(offset: int, size: int) -> Awaitable[bytes]:
            return self._jobs.artefact(job, run, number, offset=offset, size=size)

        headers = {"accept-ranges": "bytes", "content-disposition": f'attachment; filename="{name}"'}
        size = kept.artefacts[number].size
        return stored(request, read, self._jobs.reading(job), size=size, headers=headers)

    # -- shared

    async def _answer(self, job: Job, answer: Answer, headers: dict[str, str], *, fail: bool) -> Response:
        """The JSON answer of a run: 200 with the end, or 202 with the job so far."""
        document = self._document(job, await self._inline(job, answer), await self._jobs.data(job))
        if job.state.terminal:
            return json_reply(document, status=422 if fail and not job.ok else 200, headers=headers)
        headers = headers | {"Location": f"/v1/jobs/{job.id}", "Retry-After": str(_RETRY_AFTER)}
        return json_reply(document, status=202, headers=headers)

    async def _shown(self, job: Job) -> Response:
        return json_reply(self._document(job, await self._inline(job, Answer()), await self._jobs.data(job)))

    def _document(self, job: Job, inline: list[Inline] | None, data: Sequence[Parsed] = ()) -> dict[str, object]:
        return job_document(job, inline=inline, data=data, place=self._jobs.queue_place(job))

    async def _inline(self, job: Job, answer: Answer) -> list[Inline]:
        wanted = self._settings.inline_max if answer.max_bytes is None else answer.max_bytes
        sizes = (size for run in job.runs for size in (run.stdout.size, run.stderr.size))
        most = longest(sizes, each=wanted)

        async def first(index: int, stream: Stream, size: int) -> bytes:
            return await self._jobs.output(job, index, stream, offset=0, size=min(size, most))

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
        told = self._jobs.follow(principal, job, after=after)
        chunks = EventChunks(self._telling, told, principal=principal, job_id=job.id, media=media, last_seq=after)
        return StreamResponse(
            chunks, media=media.value, headers={**headers, "Location": f"/v1/jobs/{job.id}"}, on_gone=on_gone
        )


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
