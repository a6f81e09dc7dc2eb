"""`/health*`, `/metrics`, `/openapi.json` and `/docs`."""

import os
from collections.abc import Callable
from functools import cache, cached_property
from importlib import resources
from pathlib import Path
from typing import Any

from novapulse.core import wire
from novapulse.core.access import Scope
from novapulse.core.context import Context
from novapulse.core.errors import NotFound, Unavailable
from novapulse.core.health import Health
from novapulse.core.routing import Guard, Reply, Routes
from novapulse.core.telemetry import scrape
from novapulse.ops import service
from novapulse.ops.model import HealthReport

routes = Routes("operations")
_JSON = [(b"content-type", b"application/json; charset=utf-8")]
# The viewer writes style attributes; scripts come from files only.
_VIEWER_POLICY = (
    b"default-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; "
    b"frame-ancestors 'none'"
)
_ASSETS = {
    "swagger-ui.css": b"text/css; charset=utf-8",
    "swagger-ui-bundle.js": b"text/javascript; charset=utf-8",
    "start.js": b"text/javascript; charset=utf-8",
}


class Description:
    """The rendered OpenAPI document: made when it is first asked for, which few processes are."""

    def __init__(self, make: Callable[[], dict[str, Any]]) -> None:
        self._make = make

    @cached_property
    def body(self) -> bytes:
        return wire.encode(self._make())


@routes.add("GET", "/health", scope=Scope.SYSTEM_READ, guard=Guard.OPTIONAL, limit=None)
async def health(ctx: Context) -> Reply:
    """Whether the appliance is well: 200, or 503 when it can not serve."""
    report: HealthReport = await service.health_report(ctx)
    status = 503 if report.status == "down" else 200
    return Reply(wire.encode(report), status, _JSON)


@routes.add("GET", "/health/live", scope=None, limit=None)
async def live(ctx: Context) -> HealthReport:
    """The process answers; no dependency is asked."""
    return HealthReport(status="ok")


@routes.add("GET", "/health/ready", scope=None, limit=None)
async def ready(ctx: Context) -> HealthReport:
    """Whether requests may be sent here: 503 while starting, draining or without a store."""
    if not await ctx.runtime.feature(Health).is_ready():
        raise Unavailable("Not ready: starting, draining, or a store is away")
    return HealthReport(status="ok")


@routes.add(
    "GET",
    "/metrics",
    scope=Scope.SYSTEM_READ,
    guard=Guard.LOCAL,
    limit=None,
    media_type="text/plain",
)
async def metrics(ctx: Context) -> Reply:
    """Prometheus text of all processes together."""
    text = scrape.text(Path(os.environ["PROMETHEUS_MULTIPROC_DIR"]))
    return Reply(text, 200, [(b"content-type", scrape.CONTENT_TYPE)])


@routes.add("GET", "/openapi.json", scope=None)
async def openapi(ctx: Context) -> Reply:
    """This API as an OpenAPI 3.1 document."""
    return Reply(ctx.runtime.feature(Description).body, 200, _JSON)


@routes.add("GET", "/docs", scope=None, media_type="text/html")
async def docs(ctx: Context) -> Reply:
    """The API's documentation, readable without a network."""
    headers = [
        (b"content-type", b"text/html; charset=utf-8"),
        (b"content-security-policy", _VIEWER_POLICY),
    ]
    return Reply(_asset("index.html"), 200, headers)


@routes.add("GET", "/docs/{name}", scope=None, limit=None, media_type="text/javascript")
async def docs_asset(ctx: Context, name: str) -> Reply:
    """A part of the documentation page."""
    if name not in _ASSETS:
        raise NotFound()
    return Reply(_asset(name), 200, [(b"content-type", _ASSETS[name])])


@cache
def _asset(name: str) -> bytes:
    return (resources.files("novapulse.ops") / "viewer" / name).read_bytes()
