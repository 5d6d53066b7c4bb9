"""The routes of the API, without a service behind them."""

from typing import Any, cast

from starlette.routing import Route

from cmdhttp.api.routes import Api, ApiSettings


def api_routes() -> list[Route]:
    nobody = cast("Any", None)
    settings = ApiSettings(wait=1, body_max=1024, inline_max=1024)
    return Api(nobody, jobs=nobody, catalogue=nobody, settings=settings, now=lambda: 0.0).routes()
