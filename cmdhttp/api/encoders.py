"""Documents become bytes. Pure. Everything is ASCII JSON, so no output of a command can break a line or a frame."""

import json
from collections.abc import Mapping
from enum import StrEnum


class Media(StrEnum):
    JSON = "application/json"
    SSE = "text/event-stream"
    NDJSON = "application/x-ndjson"
    TEXT = "text/plain"


_ENCODER = json.JSONEncoder(separators=(",", ":"), ensure_ascii=True)


def encode_json(document: object) -> bytes:
    return _ENCODER.encode(document).encode()


def encode_event(document: Mapping[str, object], media: Media) -> bytes:
    """Return one event as a line of NDJSON or as a frame of SSE (`id` only where the event is numbered)."""
    data = encode_json(document)
    if media is Media.NDJSON:
        return data + b"\n"
    number = f"id: {document['seq']}\n" if "seq" in document else ""
    return f"{number}event: {document['type']}\ndata: ".encode() + data + b"\n\n"


def choose_media(accept: str, offered: tuple[Media, ...]) -> Media | None:
    """Return the offered type that an `Accept` header prefers; the first offered if it has no preference; None if none fits."""
    ranked: list[tuple[float, int, Media]] = []
    for part in (accept or "*/*").split(","):
        pattern, *parameters = (piece.strip() for piece in part.split(";"))
        weight = _weight(parameters)
        for place, media in enumerate(offered):
            if weight > 0 and _covers(pattern.lower(), media):
                exact = 0 if pattern.lower() == media else 1
                ranked.append((-weight, exact * len(offered) + place, media))
    return min(ranked)[2] if ranked else None


def _covers(pattern: str, media: Media) -> bool:
    return pattern in (media.value, "*/*", media.split("/")[0] + "/*")


def _weight(parameters: list[str]) -> float:
    for parameter in parameters:
        if parameter.startswith("q="):
            try:
                return min(max(float(parameter[2:]), 0.0), 1.0)
            except ValueError:
                return 0.0
    return 1.0
