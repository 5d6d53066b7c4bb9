"""flask-shell2http as its own documentation shows it, with as many threads for commands as there may be clients.

It keeps what runs in the memory of its process, so gunicorn can have one worker only. `SHELL2HTTP_PROGRAMS` holds a JSON
object of names and programs. It lives in the benchmarks' environment alone, hence the imports by name.
"""

import importlib
import json
import os
from typing import Any

_THREADS = 64


def _application() -> Any:
    app = importlib.import_module("flask").Flask("benchmark")
    app.config["EXECUTOR_MAX_WORKERS"] = _THREADS
    app.config["EXECUTOR_FUTURES_MAX_LENGTH"] = 2 * _THREADS  # it drops the oldest report beyond 50
    executor = importlib.import_module("flask_executor").Executor(app)
    extension = importlib.import_module("flask_shell2http").Shell2HTTP(app, executor, base_url_prefix="/")
    for name, program in json.loads(os.environ["SHELL2HTTP_PROGRAMS"]).items():
        extension.register_command(endpoint=name, command_name=program)
    return app


application = _application()
