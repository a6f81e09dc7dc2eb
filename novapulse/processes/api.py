"""An API process: the application on the inherited socket, until told to drain."""

import asyncio

from novapulse.core import openapi
from novapulse.core.health import Health
from novapulse.ops.routes import Description
from novapulse.processes import entry
from novapulse.processes.app import build_app
from novapulse.processes.entry import Child
from novapulse.processes.features import ROUTES
from novapulse.processes.runtime import add_identity, open_runtime, outbound_client
from novapulse.processes.server import Server
from novapulse.stores.layout import MongoRole


async def serve(child: Child) -> None:
    loaded = child.loaded
    stopping = entry.stop_event()
    async with open_runtime(loaded, role=MongoRole.API) as runtime:
        add_identity(runtime, loaded)
        client = outbound_client(loaded)
        runtime.add(client)
        health = Health(runtime, state_directory=loaded.paths.state)
        runtime.add(health)
        runtime.add(Description(openapi.document(ROUTES)))
        gate = build_app(runtime, ROUTES)
        server = Server(gate)
        await entry.until_available(runtime.db.ping)
        await server.start(child.link.listeners["http"])
        beat = asyncio.create_task(entry.attended(child.link, stopping))
        child.link.ready()
        await stopping.wait()
        health.is_draining = True
        await server.drain(seconds=loaded.settings.server.drain_seconds)
        beat.cancel()
        await client.aclose()


def main(child: Child) -> None:
    asyncio.run(serve(child))
