"""Logs: one line an event, with control characters escaped, so that no output or name can forge a line."""

import json
import logging
import sys

from cmdhttp.clock import rfc3339


class JsonLines(logging.Formatter):
    """One JSON object a line on stderr."""

    def format(self, record: logging.LogRecord) -> str:
        document: dict[str, object] = {
            "time": rfc3339(record.created),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        if record.exc_info:
            document["exception"] = self.formatException(record.exc_info)
        return json.dumps(document, ensure_ascii=True)


def set_up_logging(level: str) -> None:
    """Send every log record of this process to stderr as JSON lines."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonLines())
    logging.basicConfig(level=level.upper(), handlers=[handler], force=True)
    logging.getLogger("uvicorn.error").setLevel(logging.WARNING)  # its start and stop lines repeat ours
