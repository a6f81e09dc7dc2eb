"""What the appliance costs while nobody asks anything of it; and its start and stop.

The bounds are the budget that the documents promise; on a busy machine they mean nothing.
"""

import os
import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
from redis import Redis

from novapulse.core.settings import load
from novapulse.processes import places
from novapulse.stores.addresses import redis_url
from supervisor.procfs import find_rss_bytes
from tests.support.appliance import Appliance, appliance_in_temporary_root
from tests.support.stores import RunningStores, running_stores, temporary_layout

SECONDS = float(os.environ.get("IDLE_SECONDS", "60"))
STARTS = 3
SETTLING_SECONDS = 10.0
MOST_COMMANDS, SUPERVISOR_MIB, API_MIB = 200, 30, 80
SHARE_WITHOUT_STORES = 1.5
_STORES = ("redis", "mongod")
_TICKS = os.sysconf("SC_CLK_TCK")

pytestmark = pytest.mark.timeout(SECONDS + 180)


@dataclass(frozen=True)
class Bounds:
    """In seconds, and in percent of one core."""

    ready: float
    stop: float
    share: float


EMBEDDED = Bounds(ready=5.0, stop=5.0, share=3.0)
EXTERNAL = Bounds(ready=2.0, stop=1.0, share=SHARE_WITHOUT_STORES)


def cpu_seconds(pid: int) -> float:
    """Of the process and of the children that it buried."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()
    except OSError:
        return 0.0
    return sum(map(int, fields[11:15])) / _TICKS


def command_count(url: str) -> int:
    with Redis.from_url(url) as client:
        return int(client.info("stats")["total_commands_processed"])


def names_by_pid(appliance: Appliance) -> dict[int, str]:
    """Everything that runs for it, also what the status does not name."""
    named = {row["pid"]: row["name"] for row in appliance.status()["processes"]}
    named[appliance.pid] = "supervisor"
    return {pid: named.get(pid, "guard") for pid in appliance.live_pids()}


def external_config(stores: RunningStores) -> str:
    return (
        f'[mongo]\nuri = "{stores.mongo_uri}"\ndatabase = "{stores.database_name("idle")}"\n'
        f'\n[redis]\nurl = "{stores.redis_url}"\n'
    )


@contextmanager
def prepared(kind: str) -> Iterator[tuple[Appliance, Callable[[], str]]]:
    """One that does not run yet, and what tells its Redis' address once it did."""
    if kind == "embedded":
        with appliance_in_temporary_root() as one:
            yield one, lambda: redis_url(places.layout(load(root=one.root, environ={})))
        return
    with (
        temporary_layout() as layout,
        running_stores(layout) as stores,
        appliance_in_temporary_root(external_config(stores)) as one,
    ):
        yield one, lambda: stores.redis_url


@pytest.mark.parametrize(("kind", "bounds"), [("embedded", EMBEDDED), ("external", EXTERNAL)])
def test_an_idle_appliance_costs_next_to_nothing(kind: str, bounds: Bounds):
    with prepared(kind) as (one, address):
        ready, stopped = zip(*(start_and_stop(one) for _ in range(STARTS)), strict=True)
        one.start()
        redis = address()
        time.sleep(SETTLING_SECONDS)
        names = names_by_pid(one)
        before, began = {pid: cpu_seconds(pid) for pid in names}, time.monotonic()
        commands = command_count(redis)
        time.sleep(SECONDS)
        commands = 60 * (command_count(redis) - commands - 3) / (time.monotonic() - began)
        span = time.monotonic() - began
        shares = {pid: 100 * (cpu_seconds(pid) - before[pid]) / span for pid in names}
        memory = {pid: (find_rss_bytes(pid) or 0) / 2**20 for pid in names}
        assert set(names) == one.live_pids()
        one.stop()
    print(f"\n{kind} stores: ready after {listed(ready)}, stopped after {listed(stopped)}")
    for pid, name in sorted(names.items(), key=lambda item: item[1]):
        print(f"{name:<12} {memory[pid]:6.1f} MiB  {shares[pid]:5.2f} % of a core")
    total = sum(shares.values())
    without = sum(share for pid, share in shares.items() if names[pid] not in _STORES)
    print(f"total {total:.2f} %, without stores {without:.2f} % of a core")
    print(f"{commands:.0f} Redis commands a minute")
    assert statistics.median(ready) <= bounds.ready
    assert statistics.median(stopped) <= bounds.stop
    assert total <= bounds.share
    assert without <= SHARE_WITHOUT_STORES
    assert commands <= MOST_COMMANDS
    for pid, name in names.items():
        most = API_MIB if name.startswith("api-") else SUPERVISOR_MIB
        assert memory[pid] <= most or not name.startswith(("api-", "supervisor")), name


def start_and_stop(appliance: Appliance) -> tuple[float, float]:
    """How long each took, seen from outside: from its launch, and to the end of its process."""
    asked = time.monotonic()
    appliance.start()
    ready = time.monotonic() - asked
    time.sleep(3)  # idle again
    asked = time.monotonic()
    assert appliance.stop() == 0
    return ready, time.monotonic() - asked


def listed(seconds: tuple[float, ...]) -> str:
    return ", ".join(f"{one:.2f}" for one in seconds) + " s"
