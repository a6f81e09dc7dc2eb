"""The ASGI application out of the declared routes."""

from collections.abc import Mapping, Sequence

from starlette.routing import Route as StarletteRoute
from starlette.routing import Router, compile_path

from novapulse.core import http
from novapulse.core.clients import ClientResolver
from novapulse.core.context import Runtime
from novapulse.core.endpoint import Door, Endpoint
from novapulse.core.errors import MethodNotAllowed, NotFound
from novapulse.core.query import scalars
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


class Table:
    """All paths: those without placeholders in a dict, the others tried one after another."""

    def __init__(self, paths: Mapping[str, Methods]) -> None:
        self._fixed = {path: methods for path, methods in paths.items() if "{" not in path}
        others = [StarletteRoute(path, paths[path]) for path in paths if path not in self._fixed]
        self._others = Router(others, redirect_slashes=False, default=_not_found)

    async def __call__(self, scope: http.ASGIScope, receive: http.Receive, send: http.Send) -> None:
        methods = self._fixed.get(scope["path"])
        if methods is None:
            await self._others(scope, receive, send)
        else:
            scope["path_params"] = {}
            await methods(scope, receive, send)


def build_app(runtime: Runtime, routes: Sequence[Route]) -> http.Gate:
    """The gate with a table of all routes behind it."""
    door = Door(runtime, authenticate, ClientResolver(runtime.settings.server.trusted_proxies))
    paths: dict[str, dict[str, Endpoint]] = {}
    for route in routes:
        paths.setdefault(route.template, {})[route.method] = Endpoint(door, route)
    return http.Gate(Table({path: Methods(ends) for path, ends in paths.items()}))


def prepare(routes: Sequence[Route]) -> None:
    """Work out once what every `build_app` needs, for all that are forked from this process."""
    for route in routes:
        if route.query is not None:
            scalars(route.query)
        if "{" in route.template:
            compile_path(route.template)  # its expression stays in the cache of `re`


async def _not_found(scope: http.ASGIScope, receive: http.Receive, send: http.Send) -> None:
    raise NotFound("There is nothing at this address")
