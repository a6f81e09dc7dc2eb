"""From a change's commit to its arrival at the receiver: a whole appliance, 50 changes a second.

Once alone, and once beside a receiver that never answers and has 10,000 deliveries
due. Counted from the event's `createdAt`, which lies before the commit: nothing is
flattered. The aims are 15 ms (median) and 100 ms (99th percentile) alone, 1 s beside.
"""

import asyncio
import itertools
import os
import socket
import statistics
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime

from novapulse.core.settings import load
from novapulse.processes import places
from novapulse.stores.layout import MongoRole
from tests.support.appliance import (
    OPEN_CONFIG,
    Appliance,
    Client,
    appliance_in_temporary_root,
    note,
)
from tests.support.dispatching import house_over
from tests.support.receiver import Received, WebhookReceiver, webhook_receiver

SECONDS = float(os.environ.get("LATENCY_SECONDS", "25"))
BACKLOG = int(os.environ.get("LATENCY_BACKLOG", "10000"))
PER_SECOND = 50
WRITERS = 4
HANGS_FOR = 30
# Held here; the aims for a receiver alone depend on the machine and are only told.
MOST_BESIDE_MS = 1_000


@contextmanager
def hanging_receiver() -> Iterator[str]:
    """Takes every connection and says nothing; the value is its URL."""
    taken: list[socket.socket] = []

    def take() -> None:
        while True:
            try:
                taken.append(server.accept()[0])
            except OSError:
                return

    with socket.create_server(("127.0.0.1", 0), backlog=128) as server:
        thread = threading.Thread(target=take)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.getsockname()[1]}/hangs"
        finally:
            server.shutdown(socket.SHUT_RDWR)
            thread.join()
            for one in taken:
                one.close()


async def pile_up(appliance: Appliance, company_id: str) -> None:
    """Due deliveries for whoever asked for `task.completed`, with the program's own rows."""
    loaded = load(root=appliance.root, environ={})
    uri = places.mongo_uri(loaded, MongoRole.MIGRATE)
    name, cache = loaded.settings.mongo.database, places.redis_url(loaded)
    async with house_over(uri, name, redis_url=cache) as house:
        house.sequences = itertools.count(1_000_000)  # beside those that the program gives
        for _ in range(BACKLOG // 500):
            await house.emit(500, event="task.completed", company_id=company_id)


def write(client: Client) -> None:
    """Create tasks at an even pace, from several threads."""
    started, numbers = time.monotonic(), itertools.count()
    total = round(SECONDS * PER_SECOND)

    def run() -> None:
        while (number := next(numbers)) < total:
            time.sleep(max(0.0, started + number / PER_SECOND - time.monotonic()))
            client.create_task(f"number {number}")

    threads = [threading.Thread(target=run) for _ in range(WRITERS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def measure(client: Client, receiver: WebhookReceiver, name: str) -> list[float]:
    """Milliseconds of each event that came meanwhile, in order of size."""
    before = len(receiver.requests)
    expected = before + round(SECONDS * PER_SECOND)
    write(client)
    came = receiver.wait_for(lambda all_: len(all_) >= expected, seconds=60)[before:]
    offset = time.time() - time.monotonic()
    waits = sorted(1_000 * wait(one, offset) for one in came)
    p99 = waits[round(0.99 * (len(waits) - 1))]
    note(
        f"{name}: {len(waits)} events, p50 {statistics.median(waits):.1f} ms, "
        f"p99 {p99:.1f} ms, longest {waits[-1]:.1f} ms"
    )
    return waits


def wait(one: Received, offset: float) -> float:
    return one.at + offset - datetime.fromisoformat(one.event["createdAt"]).timestamp()


def test_a_healthy_receiver_alone_and_beside_one_that_hangs():
    with (
        appliance_in_temporary_root(OPEN_CONFIG) as appliance,
        webhook_receiver() as receiver,
        hanging_receiver() as hanging,
    ):
        appliance.start()
        client = appliance.found_company()
        client.subscribe(receiver.url, "task.created")
        client.create_task("warm")
        receiver.wait_for(lambda all_: len(all_) >= 1, seconds=20)
        assert measure(client, receiver, "alone")
        made = {"url": hanging, "events": ["task.completed"], "timeoutSeconds": HANGS_FOR}
        slow = client.post("/webhooks", made).must(201)
        company_id = receiver.requests[0].event["companyId"]
        asyncio.run(pile_up(appliance, company_id))
        beside = measure(client, receiver, f"beside {BACKLOG} due at one that hangs")
        assert beside[round(0.99 * (len(beside) - 1))] <= MOST_BESIDE_MS
        waiting = client.get(f"/webhooks/{slow['id']}/deliveries?state=pending&limit=1").must(200)
        assert waiting["data"], "the backlog was gone before the end"
