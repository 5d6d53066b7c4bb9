"""What the runs of a job printed, as the data that its command promises. Read when it is asked for; nothing is kept.

Only a run that succeeded has data. Reading never changes how a run ended, and all runs of a job together get a few seconds.
"""

import anyio

from cmdhttp.execution.model import Stream
from cmdhttp.jobs.journal import Journal
from cmdhttp.jobs.state import Job, Run
from cmdhttp.results.model import MAX_DATA, MAX_OUTPUT, DataErrorCode, Parsed, Unreadable
from cmdhttp.results.parsers import Parsers

_JOB_SECONDS = 5.0
_JOB_DATA = 8 << 20
"""Bytes of JSON that the data of one answer may become, over all its runs."""

_TRUNCATED = Unreadable(DataErrorCode.TRUNCATED, "the run reached its output limit, so a part is missing").parsed()
_REMOVED = Unreadable(DataErrorCode.TRUNCATED, "the output is no longer kept").parsed()
_LATE = Unreadable(DataErrorCode.TIMED_OUT, "the parser's turn did not come in time; ask again").parsed()


class DataReader:
    """Reads stdout from the journal and runs the command's parser on it."""

    def __init__(self, journal: Journal, parsers: Parsers) -> None:
        self._journal = journal
        self._parsers = parsers

    async def read(self, job: Job) -> tuple[Parsed, ...]:
        """Return one entry a run, in order, or none at all if the job's command declares no parser."""
        if job.parser is None:
            return ()
        if not job.output_kept:
            return tuple(_REMOVED if run.ok else Parsed() for run in job.runs)
        found = [_without_reading(run) for run in job.runs]
        if None in found:
            with anyio.move_on_after(_JOB_SECONDS):
                await self._fill(job, job.parser, found)
        return tuple(parsed or _LATE for parsed in found)

    async def _fill(self, job: Job, parser: str, found: list[Parsed | None]) -> None:
        async with self._parsers.open(parser, most=min(MAX_DATA, _JOB_DATA // len(job.runs))) as parse:
            for run, known in enumerate(found):
                if known is None:
                    output = await self._journal.read_output(
                        job.id, run, Stream.STDOUT, offset=0, size=min(job.runs[run].stdout.size, MAX_OUTPUT + 1)
                    )
                    found[run] = await parse(output)


def _without_reading(run: Run) -> Parsed | None:
    """What is known of a run's data before its output is looked at."""
    if run.truncated:
        return _TRUNCATED
    return None if run.ok else Parsed()
