"""What the appliance costs while nobody asks anything of it; and its start and stop."""

import os
import time
from pathlib import Path

import redis

from novapulse.core.settings import load
from novapulse.processes import places
from novapulse.stores.redis import redis_password
from supervisor.procfs import all_pids, find_rss_bytes
from tests.support.appliance import Appliance, appliance_in_temporary_root

SECONDS = float(os.environ.get("IDLE_SECONDS", "60"))
_TICKS = os.sysconf("SC_CLK_TCK")


def cpu_seconds(pid: int) -> float:
    try:
        fields = Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()
    except OSError:
        return 0.0
    return (int(fields[11]) + int(fields[12])) / _TICKS


def command_count(appliance: Appliance) -> int:
    layout = places.layout(load(root=appliance.root, environ={}))
    client = redis.Redis(
        unix_socket_path=str(layout.redis_socket),
        username="novapulse",
        password=redis_password(layout),
    )
    with client:
        return int(client.info("stats")["total_commands_processed"])


def test_an_idle_appliance_costs_next_to_nothing():
    with appliance_in_temporary_root() as one:
        asked = time.monotonic()
        one.start()
        print(f"\nfirst start: ready after {time.monotonic() - asked:.1f} s")
        one.stop()
        asked = time.monotonic()
        one.start()
        print(f"second start: ready after {time.monotonic() - asked:.1f} s")
        time.sleep(10)
        names = {row["pid"]: row["name"] for row in one.status()["processes"] if row["pid"]}
        names[one.pid] = "supervisor"
        before = {pid: cpu_seconds(pid) for pid in names}
        commands, began = command_count(one), time.monotonic()
        time.sleep(SECONDS)
        span = time.monotonic() - began
        commands = command_count(one) - commands - 3  # our own
        total = 0.0
        for pid, name in sorted(names.items(), key=lambda item: item[1]):
            share = 100 * (cpu_seconds(pid) - before[pid]) / span
            total += share
            rss = (find_rss_bytes(pid) or 0) / 2**20
            print(f"{name:<12} {rss:6.1f} MiB  {share:5.2f} % of a core")
        print(f"total {total:.2f} % of a core, {60 * commands / span:.0f} Redis commands a minute")
        assert set(names) <= set(all_pids())
        asked = time.monotonic()
        assert one.stop() == 0
        print(f"idle stop: {time.monotonic() - asked:.1f} s")
