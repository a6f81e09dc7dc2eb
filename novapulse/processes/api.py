"""An API process: the application on the inherited socket, until told to drain."""

import asyncio
from functools import partial

from novapulse.core import openapi
from novapulse.core.context import Runtime
from novapulse.core.garbage import collect_seldom
from novapulse.core.health import Health
from novapulse.core.http import Gate
from novapulse.core.settings import Loaded
from novapulse.core.settings import sections as keys
from novapulse.core.turnstile import Turnstile
from novapulse.ops.routes import Description
from novapulse.processes import entry
from novapulse.processes.app import build_app
from novapulse.processes.entry import Child
from novapulse.processes.features import ROUTES
from novapulse.processes.protocol import Limits
from novapulse.processes.runtime import WaysOut, add_identity, open_runtime
from novapulse.processes.server import Server
from novapulse.processes.tls import server_context
from novapulse.stores.layout import MongoRole


async def serve(child: Child) -> None:
    loaded = child.loaded
    stopping = entry.stop_event()
    async with open_runtime(loaded, role=MongoRole.API) as runtime:
        add_identity(runtime, loaded)
        ways_out = WaysOut(loaded, use=runtime.add)
        health = Health(runtime, state_directory=loaded.paths.state)
        runtime.add(health)
        runtime.add(Turnstile())
        runtime.add(Description(partial(openapi.document, ROUTES)))
        gate = build_app(runtime, ROUTES)
        served = loaded.settings.server
        server = Server(gate, _limits(served), tls=server_context(served))
        await entry.until_available(runtime.db.ping)
        child.on_settings(lambda new: _adopt(runtime, ways_out, new))
        child.on_drain(lambda is_drained: _drain(health, gate, is_drained=is_drained))
        await runtime.db.warm_up()
        await server.start(child.link.listeners["http"])
        beat = asyncio.create_task(child.attend(stopping, requests=lambda: gate.answered))
        collect_seldom()
        child.link.ready()
        await stopping.wait()
        health.is_draining = True
        await server.drain(seconds=runtime.settings.server.drain_seconds)
        beat.cancel()
        await ways_out.aclose()


def _adopt(runtime: Runtime, ways_out: WaysOut, loaded: Loaded) -> None:
    runtime.adopt(loaded.settings)
    ways_out.adopt(loaded)


def _drain(health: Health, gate: Gate, *, is_drained: bool) -> None:
    """Out of service: who asks is sent away, and yet answered; no connection is kept."""
    health.is_draining = gate.is_draining = is_drained


def _limits(settings: keys.Server) -> Limits:
    return Limits(
        max_body_bytes=settings.max_body_bytes,
        header_seconds=settings.header_timeout_seconds,
        body_seconds=settings.body_timeout_seconds,
    )


def main(child: Child) -> None:
    asyncio.run(serve(child))
