"""Consumers as programs of their own: Huey's consumer on the engine's ledger, without supervisor.

Run as a program this module is the consumer; `consumers` starts some and ends them.
"""

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

from novapulse.core.context import Runtime
from novapulse.core.crypto import KeyRing
from novapulse.core.jobs.bell import Bell
from novapulse.core.jobs.context import JobContext
from novapulse.core.jobs.kinds import Queue, hueys, job
from novapulse.core.jobs.worker import Worker
from novapulse.core.mongo import Database
from novapulse.core.redis import Cache
from novapulse.core.settings import Settings
from novapulse.core.telemetry import logs
from tests.support.engine import Engine, until

EFFECTS = "effects"
_START_SECONDS = 90.0


class RunningConsumer:
    """One consumer program; it said that it claims."""

    def __init__(self, child: subprocess.Popen[bytes], owner: str) -> None:
        self.child = child
        self.owner = owner

    def kill(self) -> None:
        self.child.kill()
        self.child.wait()

    def terminate(self) -> None:
        self.child.send_signal(signal.SIGTERM)

    async def exit_code(self, *, seconds: float) -> int:
        """Wait for its end by itself."""
        await until(lambda: self.child.poll() is not None, what="the exit", seconds=seconds)
        return int(self.child.returncode)


async def start_consumer(engine: Engine, **options: Any) -> RunningConsumer:
    """A consumer of `nova:email`; `options` are those of `_Program`."""
    owner = f"program/{next(engine.owners)}"
    told = {
        "mongo": engine.mongo_uri,
        "redis": engine.redis_url,
        "database": engine.db.raw.name,
        "owner": owner,
        **options,
    }
    child = subprocess.Popen(  # noqa: ASYNC220 - a start is quick, and its end is polled
        [sys.executable, "-m", "tests.support.consumers", json.dumps(told)],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
    )
    running = RunningConsumer(child, owner)

    async def claims() -> bool:
        assert child.poll() is None, "the consumer did not start"
        return await engine.db.platform("consumers").find_one({"_id": owner}) is not None

    try:
        await until(claims, what="the consumer's first beat", seconds=_START_SECONDS)
    except BaseException:
        running.kill()
        raise
    return running


@asynccontextmanager
async def consumers(
    engine: Engine, *, number: int, **options: Any
) -> AsyncIterator[list[RunningConsumer]]:
    """Some consumer programs, all gone after the block."""
    started: list[RunningConsumer] = []
    try:
        while len(started) < number:
            started.append(await start_consumer(engine, **options))
        yield started
    finally:
        for one in started:
            if one.child.poll() is None:
                one.kill()


async def _note(ctx: JobContext) -> None:
    """The effect that a test counts: a row a run."""
    row = {"jobId": ctx.job.id, "attempt": ctx.job.attempt}
    await ctx.runtime.db.platform(EFFECTS).insert(row)


def _declare(told: dict[str, Any]) -> None:
    @job("test.quick", queue=Queue.EMAIL)
    async def quick(ctx: JobContext) -> None:
        await _note(ctx)

    @job("test.slow", queue=Queue.EMAIL)
    async def slow(ctx: JobContext) -> None:
        await asyncio.sleep(told.get("slow_seconds", 1.0))
        await _note(ctx)

    @job("test.blocks", queue=Queue.EMAIL)
    async def blocks(ctx: JobContext) -> None:
        time.sleep(told.get("block_seconds", 1.0))  # noqa: ASYNC251 - the misdeed in question

    @job("test.kills", queue=Queue.EMAIL)
    async def kills(ctx: JobContext) -> None:
        os.kill(os.getpid(), signal.SIGKILL)


async def _serve(told: dict[str, Any], stopping: asyncio.Event) -> None:
    db = Database(told["mongo"], told["database"], timeout_seconds=5.0, max_pool_size=20)
    cache = Cache(told["redis"], timeout_seconds=0.25)
    bell = Bell(cache)
    keys = KeyRing("k1", {"k1": b"1" * 32})
    runtime = Runtime(settings=Settings(), db=db, cache=cache, bell=bell, keys=keys)
    worker = Worker(
        runtime,
        Queue.EMAIL,
        owner=told["owner"],
        concurrency=told.get("concurrency", 5),
        lease_seconds=told.get("lease_seconds", 30.0),
        make_pool=lambda _: ThreadPoolExecutor(),
    )
    drain = told.get("drain_seconds", 10.0)
    running = asyncio.create_task(worker.run(drain_seconds=drain))
    await stopping.wait()
    worker.stop()
    await running
    await bell.close()
    await cache.close()
    await db.close()


def main() -> None:
    told = json.loads(sys.argv[1])
    logs.configure(told["owner"], level="warning", style="json")
    _declare(told)
    consumer = hueys[Queue.EMAIL].create_consumer(partial(_serve, told))
    consumer.run()
    consumer.raise_failure()


if __name__ == "__main__":
    main()
