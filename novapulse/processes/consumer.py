"""A consumer: Huey's consumer program on one queue, its worker on the ledger."""

import asyncio
from functools import partial

from novapulse.core.context import Runtime
from novapulse.core.jobs.kinds import Queue, hueys
from novapulse.core.jobs.worker import Worker
from novapulse.processes import entry, places
from novapulse.processes.entry import Child
from novapulse.processes.runtime import open_runtime, outbound_client
from novapulse.stores.layout import MongoRole
from novapulse.webhooks.delivery import Dispatcher


async def serve(child: Child, queue: Queue, stopping: asyncio.Event) -> None:
    """The worker's life, in the event loop that Huey's consumer gave it."""
    loaded = child.loaded
    queues = loaded.settings.queues
    async with open_runtime(loaded, role=MongoRole.WORKER) as runtime:
        client = outbound_client(loaded)
        runtime.add(Dispatcher(runtime, client))
        worker = Worker(
            runtime,
            queue,
            owner=places.owner(loaded, child.instance),
            concurrency=queues.concurrency_of(queue),
            lease_seconds=queues.lease_seconds_of(queue),
        )
        await entry.until_available(runtime.db.ping)
        beat = asyncio.create_task(entry.attended(child.link, stopping))
        running = asyncio.create_task(
            worker.run(drain_seconds=loaded.settings.server.drain_seconds)
        )
        child.link.ready()
        await _until_stopped(stopping, running)
        worker.stop()
        await running
        beat.cancel()
        await _close(runtime)
        await client.aclose()


async def _until_stopped(stopping: asyncio.Event, running: asyncio.Task[None]) -> None:
    asked = asyncio.create_task(stopping.wait())
    await asyncio.wait((asked, running), return_when=asyncio.FIRST_COMPLETED)
    asked.cancel()


async def _close(runtime: Runtime) -> None:
    await runtime.feature(Dispatcher).attempts.close()


def main(child: Child, queue_name: str) -> None:
    queue = Queue(queue_name)
    consumer = hueys[queue].create_consumer(partial(serve, child, queue))
    consumer.run()
    consumer.raise_failure()
