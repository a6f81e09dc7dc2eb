"""`make bench-jobs`: no-op jobs against BullMQ and stock Huey, alternating in one run.

Prints medians and ratios; asserts only that every racer did all its jobs.
"""

import asyncio
import json
import os
import statistics
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from novapulse.core.jobs.kinds import Queue, job
from tests.benchmarks.jobs.ledger import fill
from tests.benchmarks.peer_setup import CHECKOUT, PEERS, PlainRedis, cpu_seconds, peers, plain_redis
from tests.support.stores import RunningStores

ROUNDS = int(os.environ.get("BENCH_ROUNDS", "5"))
JOBS = int(os.environ.get("BENCH_JOBS", "20000"))
CONCURRENCY = 50
__all__ = ["peers", "plain_redis"]  # fixtures


@job("bench.noop", queue=Queue.EMAIL)
async def noop(ctx: object, *, x: str) -> None:
    """Declared here too, so that the harness may enqueue it."""


@dataclass(frozen=True)
class Lap:
    jobs_per_second: float
    cpu_microseconds: float  # a job, over all processes


def lap(command: list[str], *, servers: list[int], cwd: Path, env: dict[str, str]) -> Lap:
    before = sum(map(cpu_seconds, servers))
    done = subprocess.run(
        command,
        cwd=cwd,
        env={**os.environ, **env},
        check=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        timeout=300,
    )
    told = json.loads(done.stdout.splitlines()[-1])
    cpu = told["cpuSeconds"] + sum(map(cpu_seconds, servers)) - before
    return Lap(JOBS / told["seconds"], cpu / JOBS * 1e6)


def ours(stores: RunningStores, database: str) -> Lap:
    filling = fill(
        stores.mongo_uri, database, redis_url=stores.redis_url, kind="bench.noop", jobs=JOBS
    )
    asyncio.run(filling)
    env = {
        "BENCH_MONGO": stores.mongo_uri,
        "BENCH_REDIS": stores.redis_url,
        "BENCH_DATABASE": database,
    }
    command = [sys.executable, "-m", "tests.benchmarks.jobs.our_consumer"]
    return lap(
        [*command, str(JOBS), str(CONCURRENCY)],
        servers=[stores.mongod.pid, stores.redis.pid],
        cwd=CHECKOUT,
        env=env,
    )


def bullmq(peers: Path, redis: PlainRedis) -> Lap:
    arguments = [str(redis.socket), str(JOBS), str(CONCURRENCY)]
    subprocess.run(["node", "bullmq.mjs", "load", *arguments], cwd=peers, check=True)
    command = ["node", "bullmq.mjs", "work", *arguments]
    return lap(command, servers=[redis.pid], cwd=peers, env={})


def stock_huey(redis: PlainRedis) -> Lap:
    script = [sys.executable, str(Path(__file__).with_name("huey_worker.py"))]
    arguments = [str(redis.socket), str(JOBS)]
    subprocess.run([*script, "load", *arguments], check=True)
    return lap([*script, "work", *arguments], servers=[redis.pid], cwd=PEERS, env={})


def test_noop_jobs_against_bullmq_and_huey(
    private_stores: RunningStores, plain_redis: PlainRedis, peers: Path
):
    database = private_stores.database_name("bench")
    racers: dict[str, Callable[[], Lap]] = {
        "NovaPulse": lambda: ours(private_stores, database),
        "BullMQ 6": lambda: bullmq(peers, plain_redis),
        "Huey, 8 threads": lambda: stock_huey(plain_redis),
    }
    laps: dict[str, list[Lap]] = {name: [] for name in racers}
    for _ in range(ROUNDS):
        for name, race in racers.items():
            laps[name].append(race())
    report(laps)
    assert all(len(done) == ROUNDS for done in laps.values())


def report(laps: dict[str, list[Lap]]) -> None:
    own = laps["NovaPulse"]
    print(f"\n{JOBS} no-op jobs, concurrency {CONCURRENCY}, medians of {ROUNDS} laps")
    for name, done in laps.items():
        rate = statistics.median(one.jobs_per_second for one in done)
        cpu = statistics.median(one.cpu_microseconds for one in done)
        ratios = [a.jobs_per_second / b.jobs_per_second for a, b in zip(own, done, strict=True)]
        cpus = [a.cpu_microseconds / b.cpu_microseconds for a, b in zip(own, done, strict=True)]
        print(
            f"{name:16} {rate:8.0f} jobs/s {cpu:6.0f} us CPU a job   "
            f"ours: {statistics.median(ratios):.2f}x as fast, {statistics.median(cpus):.2f}x CPU"
        )
