"""`make bench-webhooks`: deliveries against NestJS with BullMQ, and BullMQ with undici.

Prints medians and ratios, alternating in one run; asserts only that every
racer delivered everything. `BENCH_PEERS=nest` or `undici` races with one of
them alone, for a machine that is not quiet for long.
"""

import asyncio
import json
import os
import statistics
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from tests.benchmarks.peer_setup import CHECKOUT, PlainRedis, cpu_seconds, peers, plain_redis
from tests.benchmarks.webhooks.backlog import BODY_BYTES, WEBHOOKS_OF_ALL, fill
from tests.support.stores import RunningStores

ROUNDS = int(os.environ.get("BENCH_ROUNDS", "5"))
DELIVERIES = int(os.environ.get("BENCH_DELIVERIES", "20000"))
CONCURRENCY = 100
PEERS = {"nest": "NestJS, axios", "undici": "BullMQ, undici"}
CHOSEN = os.environ.get("BENCH_PEERS", ",".join(PEERS)).split(",")
__all__ = ["peers", "plain_redis"]  # fixtures


@dataclass(frozen=True)
class Lap:
    per_second: float
    cpu_microseconds: float  # a delivery, over all processes but the receiver


@contextmanager
def instant_sink() -> Iterator[str]:
    """The receiver of both sides; the value is its URL."""
    program = str(Path(__file__).with_name("sink.py"))
    child = subprocess.Popen(
        [sys.executable, program], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert child.stdin is not None
    assert child.stdout is not None
    with child.stdin, child.stdout:
        yield f"http://127.0.0.1:{int(child.stdout.readline())}"
    child.wait()


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
    return Lap(DELIVERIES / told["seconds"], cpu / DELIVERIES * 1e6)


def ours(stores: RunningStores, database: str, sink: str) -> Lap:
    filling = fill(
        stores.mongo_uri, database, redis_url=stores.redis_url, sink=sink, deliveries=DELIVERIES
    )
    asyncio.run(filling)
    env = {
        "BENCH_MONGO": stores.mongo_uri,
        "BENCH_REDIS": stores.redis_url,
        "BENCH_DATABASE": database,
    }
    command = [sys.executable, "-m", "tests.benchmarks.webhooks.our_dispatcher"]
    return lap(
        [*command, str(DELIVERIES), str(CONCURRENCY)],
        servers=[stores.mongod.pid, stores.redis.pid],
        cwd=CHECKOUT,
        env=env,
    )


@dataclass(frozen=True)
class Peer:
    """The dispatchers of `peers/webhooks.mjs`, over the same mongod."""

    stores: RunningStores
    redis: PlainRedis
    folder: Path
    database: str
    sink: str

    def race(self, kind: str) -> Lap:
        env = {
            "MONGO": self.stores.mongo_uri,
            "DATABASE": self.database,
            "SINK": self.sink,
            "BODY_BYTES": str(BODY_BYTES),
            "WEBHOOKS": str(WEBHOOKS_OF_ALL),
        }
        arguments = [str(self.redis.socket), str(DELIVERIES), str(CONCURRENCY)]
        loading = ["node", "webhooks.mjs", "load", *arguments]
        subprocess.run(loading, cwd=self.folder, check=True, env={**os.environ, **env})
        return lap(
            ["node", "webhooks.mjs", kind, *arguments],
            servers=[self.stores.mongod.pid, self.redis.pid],
            cwd=self.folder,
            env=env,
        )


def test_deliveries_against_nest_and_undici(
    private_stores: RunningStores, plain_redis: PlainRedis, peers: Path
):
    database = private_stores.database_name("bench")
    with instant_sink() as sink:
        peer = Peer(private_stores, plain_redis, peers, f"{database}_peer", sink)
        racers: dict[str, Callable[[], Lap]] = {
            "NovaPulse": lambda: ours(private_stores, database, sink),
            **{PEERS[kind]: partial(peer.race, kind) for kind in CHOSEN},
        }
        laps: dict[str, list[Lap]] = {name: [] for name in racers}
        for _ in range(ROUNDS):
            for name, race in racers.items():
                laps[name].append(race())
                print(f"{name}: {laps[name][-1].per_second:.0f}/s", end="  ", flush=True)
    report(laps)
    assert all(len(done) == ROUNDS for done in laps.values())


def report(laps: dict[str, list[Lap]]) -> None:
    own = laps["NovaPulse"]
    print(f"\n{DELIVERIES} deliveries, concurrency {CONCURRENCY}, medians of {ROUNDS} laps")
    for name, done in laps.items():
        rate = statistics.median(one.per_second for one in done)
        cpu = statistics.median(one.cpu_microseconds for one in done)
        ratios = [a.per_second / b.per_second for a, b in zip(own, done, strict=True)]
        cpus = [a.cpu_microseconds / b.cpu_microseconds for a, b in zip(own, done, strict=True)]
        print(
            f"{name:16} {rate:7.0f} deliveries/s {cpu:6.0f} us CPU each   "
            f"ours: {statistics.median(ratios):.2f}x as fast, {statistics.median(cpus):.2f}x CPU"
        )
