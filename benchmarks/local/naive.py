"""The server that one writes first: starlette and `asyncio.create_subprocess_exec`, with no token, policy, journal or limit.

`NAIVE_PROGRAMS` holds a JSON object of names and argument lists. `POST /run/NAME` answers with the whole result,
`POST /stream/NAME` with the output as it comes.
"""

import asyncio
import json
import os
from collections.abc import AsyncIterator

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, StreamingResponse
from starlette.routing import Route

_PROGRAMS: dict[str, list[str]] = json.loads(os.environ["NAIVE_PROGRAMS"])
_PIPE = asyncio.subprocess.PIPE
_READ = 1 << 16


async def _run(request: Request) -> JSONResponse:
    await request.json()
    argv = _PROGRAMS[request.path_params["name"]]
    process = await asyncio.create_subprocess_exec(*argv, stdin=asyncio.subprocess.DEVNULL, stdout=_PIPE, stderr=_PIPE)
    out, err = await process.communicate()
    found = {"exit_code": process.returncode, "stdout": out.decode(), "stderr": err.decode()}
    return JSONResponse(found)


async def _stream(request: Request) -> StreamingResponse:
    argv = _PROGRAMS[request.path_params["name"]]
    process = await asyncio.create_subprocess_exec(*argv, stdin=asyncio.subprocess.DEVNULL, stdout=_PIPE)
    return StreamingResponse(_output(process))


async def _output(process: asyncio.subprocess.Process) -> AsyncIterator[bytes]:
    if process.stdout is None:
        raise RuntimeError("the process has no pipe")
    while data := await process.stdout.read(_READ):
        yield data
    await process.wait()


application = Starlette(
    routes=[Route("/run/{name}", _run, methods=["POST"]), Route("/stream/{name}", _stream, methods=["POST"])]
)
