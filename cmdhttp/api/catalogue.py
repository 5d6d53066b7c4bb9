"""The routes that tell a caller what it may do."""

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from cmdhttp.api.commands import command_document, oversight_document, quota_document
from cmdhttp.api.replies import json_reply, principal_of
from cmdhttp.catalogue import Catalogue
from cmdhttp.policy.compiled import Command


class CatalogueRoutes:
    """They read the policy in force, and change nothing."""

    def __init__(self, catalogue: Catalogue, *, longest_wait: float, body_max: int) -> None:
        """`longest_wait` in seconds and `body_max` in bytes are bounds that a caller is told."""
        self._catalogue = catalogue
        self._longest_wait = longest_wait
        self._body_max = body_max

    def routes(self) -> list[Route]:
        return [
            Route("/v1/commands", self.commands, methods=["GET"]),
            Route("/v1/commands/{name}", self.command, methods=["GET"]),
            Route("/v1/hosts", self.hosts, methods=["GET"]),
            Route("/v1/me", self.me, methods=["GET"]),
        ]

    async def commands(self, request: Request) -> Response:
        found = self._catalogue.commands(principal_of(request))
        return json_reply({"commands": [self._command(command, hosts) for command, hosts in found]})

    async def command(self, request: Request) -> Response:
        command, hosts = self._catalogue.command(principal_of(request), request.path_params["name"])
        return json_reply(self._command(command, hosts))

    async def hosts(self, request: Request) -> Response:
        reachable: dict[str, list[str]] = {}
        for command, hosts in self._catalogue.commands(principal_of(request)):
            for host in hosts:
                reachable.setdefault(host, []).append(command.name)
        policy = self._catalogue.policy
        return json_reply(
            {
                "hosts": [
                    {"name": name, "labels": dict(policy.hosts[name].labels), "commands": reachable[name]}
                    for name in sorted(reachable)
                    if name in policy.hosts
                ]
            }
        )

    async def me(self, request: Request) -> Response:
        principal = principal_of(request)
        used = quota_document(*self._catalogue.used_by(principal))
        limits = {"wait": self._longest_wait, "body_bytes": self._body_max} | used
        return json_reply(
            {
                "principal": principal.name,
                "authenticated_by": principal.method,
                "credential": principal.credential,
                "roles": list(self._catalogue.roles(principal)),
                "jobs_of_others": [oversight_document(*each) for each in self._catalogue.overseen(principal)],
                "policy": self._catalogue.policy.digest,
                "limits": limits,
            }
        )

    def _command(self, command: Command, hosts: list[str]) -> dict[str, object]:
        return command_document(command, hosts, self._catalogue.rate_left(command))
