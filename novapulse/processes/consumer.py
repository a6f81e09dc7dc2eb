"""A consumer: Huey's consumer program on one queue, its worker on the ledger."""

import asyncio
import multiprocessing
import os
from concurrent.futures import Executor, ProcessPoolExecutor, ThreadPoolExecutor
from functools import partial
from typing import Any

from novapulse.core.context import Runtime
from novapulse.core.errors import ConfigurationInvalid
from novapulse.core.jobs.kinds import Pool, Queue, hueys
from novapulse.core.jobs.worker import Worker
from novapulse.core.settings import Loaded
from novapulse.dispatch.dispatcher import Dispatcher
from novapulse.mail.mailer import Mailer
from novapulse.processes import entry, mailing, places
from novapulse.processes.entry import Child
from novapulse.processes.features import declared_queues
from novapulse.processes.runtime import WaysOut, open_runtime
from novapulse.stores.layout import MongoRole
from supervisor.child import set_parent_death_signal


async def serve(child: Child, queue: Queue, stopping: asyncio.Event) -> None:
    """The worker's life, in the event loop that Huey's consumer gave it."""
    loaded = child.loaded
    async with open_runtime(loaded, role=MongoRole.WORKER) as runtime:
        ways_out = WaysOut(loaded, use=runtime.add)
        if queue is Queue.EMAIL:
            runtime.add(mailing.mailer(loaded))
        worker = _worker(child, runtime, queue)
        await entry.until_available(runtime.db.ping)
        child.on_settings(lambda new: _adopt(runtime, ways_out, new))
        beat = asyncio.create_task(child.attend(stopping))
        running = asyncio.create_task(
            worker.run(drain_seconds=loaded.settings.server.drain_seconds)
        )
        child.link.ready()
        await _until_stopped(stopping, running)
        worker.stop()
        await running
        beat.cancel()
        await _close(runtime)
        await ways_out.aclose()


def _worker(child: Child, runtime: Runtime, queue: Queue) -> Worker:
    """The worker of the queue; deliveries have an order of their own."""
    queues = child.loaded.settings.queues
    owner, concurrency = places.owner(child.loaded, child.instance), queues.concurrency_of(queue)
    lease_seconds = queues.lease_seconds_of(queue)
    parts: dict[str, Any] = {}
    if queue is Queue.WEBHOOK:
        runtime.add(dispatcher := Dispatcher(runtime))
        parts = dispatcher.worker_parts(
            owner=owner, concurrency=concurrency, lease_seconds=lease_seconds
        )
    return Worker(
        runtime,
        queue,
        owner=owner,
        concurrency=concurrency,
        lease_seconds=lease_seconds,
        make_pool=make_pool,
        **parts,
    )


def _adopt(runtime: Runtime, ways_out: WaysOut, loaded: Loaded) -> None:
    runtime.adopt(loaded.settings)
    ways_out.adopt(loaded)


def make_pool(kind: Pool) -> Executor:
    """Where CPU-bound kinds compute; processes are spawned and die with their consumer."""
    if kind is Pool.THREAD:
        return ThreadPoolExecutor(thread_name_prefix="compute")
    return ProcessPoolExecutor(
        max_workers=os.cpu_count(),
        mp_context=multiprocessing.get_context("spawn"),
        initializer=set_parent_death_signal,
    )


async def _until_stopped(stopping: asyncio.Event, running: asyncio.Task[None]) -> None:
    asked = asyncio.create_task(stopping.wait())
    await asyncio.wait((asked, running), return_when=asyncio.FIRST_COMPLETED)
    asked.cancel()


async def _close(runtime: Runtime) -> None:
    if (dispatcher := runtime.find_feature(Dispatcher)) is not None:
        await dispatcher.aclose()
    if (mailer := runtime.find_feature(Mailer)) is not None:
        await mailer.aclose()


def main(child: Child, queue_name: str) -> None:
    queue = Queue(queue_name)
    if queue not in declared_queues():
        raise ConfigurationInvalid(f"No job kind is declared for the queue {queue.public_name}")
    consumer = hueys[queue].create_consumer(partial(serve, child, queue))
    consumer.run()
    consumer.raise_failure()
