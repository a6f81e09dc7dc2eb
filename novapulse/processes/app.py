"""The ASGI application out of the declared routes."""

from collections.abc import Mapping, Sequence

from starlette.routing import Route as StarletteRoute
from starlette.routing import Router

from novapulse.core import http
from novapulse.core.clients import ClientResolver
from novapulse.core.context import Runtime
from novapulse.core.endpoint import Door, Endpoint
from novapulse.core.errors import MethodNotAllowed, NotFound
from novapulse.core.routing import Route
from novapulse.identity.credentials import authenticate


class Methods:
    """One path's endpoints by their method; HEAD goes with GET."""

    def __init__(self, endpoints: Mapping[str, Endpoint]) -> None:
        self._endpoints = dict(endpoints)
        if "GET" in endpoints:
            self._endpoints["HEAD"] = endpoints["GET"]

    async def __call__(self, scope: http.ASGIScope, receive: http.Receive, send: http.Send) -> None:
        if not scope["path"].isprintable():
            raise NotFound("There is nothing at this address")  # the router's $ passes a newline
        endpoint = self._endpoints.get(scope["method"])
        if endpoint is None:
            raise MethodNotAllowed(tuple(sorted(self._endpoints)))
        await endpoint(scope, receive, send)


def build_app(runtime: Runtime, routes: Sequence[Route]) -> http.Gate:
    """The gate with a router of all routes behind it."""
    door = Door(runtime, authenticate, ClientResolver(runtime.settings.server.trusted_proxies))
    paths: dict[str, dict[str, Endpoint]] = {}
    for route in routes:
        paths.setdefault(route.template, {})[route.method] = Endpoint(door, route)
    table = [StarletteRoute(path, Methods(endpoints)) for path, endpoints in paths.items()]
    return http.Gate(Router(table, redirect_slashes=False, default=_not_found))


async def _not_found(scope: http.ASGIScope, receive: http.Receive, send: http.Send) -> None:
    raise NotFound("There is nothing at this address")
