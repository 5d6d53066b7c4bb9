"""What a job's document says, read so that no document can break the reader: whatever is of another type is not there."""

from cmdhttp.client.failures import Document

TERMINAL = frozenset({"succeeded", "failed", "timed_out", "canceled", "lost"})
"""The states that a job does not leave."""


def has_ended(job: Document) -> bool:
    return text(job, "state") in TERMINAL


def is_several(job: Document) -> bool:
    """Whether the job is of the kind that has runs in place of one host's fields."""
    return isinstance(job.get("runs"), list)


def runs_of(job: Document) -> list[Document]:
    """Return the runs of a job; of one host the job itself, which has the fields of its run."""
    return objects(job, "runs") if is_several(job) else [job]


def objects(document: Document, name: str) -> list[Document]:
    found = document.get(name)
    return [item for item in found if isinstance(item, dict)] if isinstance(found, list) else []


def an_object(document: Document, name: str) -> Document:
    found = document.get(name)
    return found if isinstance(found, dict) else {}


def text(document: Document, name: str) -> str:
    found = document.get(name)
    return found if isinstance(found, str) else ""
