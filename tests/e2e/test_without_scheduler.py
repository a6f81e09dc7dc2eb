"""An appliance whose roles leave out the scheduler looks after its own ended processes."""

import os
import shutil
import signal
import socket
from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from novapulse.processes.places import control_socket
from supervisor.control import ControlClient
from tests.support.appliance import OPEN_CONFIG, Appliance, appliance_in_temporary_root
from tests.support.stores import RunningStores

pytestmark = [pytest.mark.slow, pytest.mark.chaos]
# Nothing here may come from a lease that lapses.
LEASE_SECONDS = 600
SOON_SECONDS = 30.0  # beside others; a lease is twenty times as long
BACK_SECONDS = 60.0


@dataclass(frozen=True)
class Two:
    """`front` has the API, `back` the consumer of webhooks; both are not started yet."""

    stores: RunningStores
    front: Appliance
    back: Appliance

    def start(self, *, front: str, back: str) -> None:
        """With these roles and the same keys."""
        self.front.start("--roles", front)
        secrets = self.back.root / "state" / "secrets"
        secrets.parent.mkdir(mode=0o700)
        shutil.copytree(self.front.root / "state" / "secrets", secrets)
        self.back.start("--roles", back)


@pytest.fixture
def two(private_stores: RunningStores) -> Iterator[Two]:
    mongo, redis = private_stores.mongo_uri, private_stores.redis_url
    places = f'[mongo]\nuri = "{mongo}"\n\n[redis]\nurl = "{redis}"\n'
    lease = f"[queues.webhook]\nlease_seconds = {LEASE_SECONDS}\n"
    config = f"{places}\n{OPEN_CONFIG}\n{lease}"
    with appliance_in_temporary_root(config) as front, appliance_in_temporary_root(config) as back:
        yield Two(private_stores, front, back)


def test_what_a_killed_consumer_held_is_taken_again_at_once(two: Two):
    two.start(front="api,scheduler", back="consumer:webhook")
    assert names(two.front) == {"fork-server", "migrate", "scheduler", "api-1", "api-2"}
    assert names(two.back) == {"fork-server", "migrate", "caretaker", "webhook-1"}
    admin = two.front.found_company()
    with socket.create_server(("127.0.0.1", 0)) as receiver:  # takes requests and never answers
        receiver.settimeout(SOON_SECONDS)
        admin.subscribe(f"http://127.0.0.1:{receiver.getsockname()[1]}/", "task.created")
        killed = two.back.process("webhook-1")["pid"]
        admin.create_task("sent twice")
        first, _ = receiver.accept()
        os.kill(killed, signal.SIGKILL)
        second, _ = receiver.accept()
        for connection in (first, second):
            connection.close()
    assert two.back.process("webhook-1")["pid"] != killed
    assert two.back.stop() == 0


def test_a_replaced_process_leaves_no_numbers_of_a_redis_that_was_away(two: Two):
    two.front.start("--roles", "api")
    assert names(two.front) == {"fork-server", "migrate", "caretaker", "api-1", "api-2"}
    two.stores.redis.kill()
    two.front.wait_for(lambda: redis_status(two.front) == 0, seconds=SOON_SECONDS)
    for name in ("api-1", "api-2", "caretaker"):
        replace(two.front, name)
    two.stores.redis.start()
    two.front.wait_for(lambda: redis_status(two.front) == 1, seconds=SOON_SECONDS)
    assert writers(two.front) <= living(two.front)


def names(appliance: Appliance) -> set[str]:
    return {row["name"] for row in appliance.status()["processes"]}


def replace(appliance: Appliance, name: str) -> None:
    """Kill the process, and wait for the next one."""
    killed = appliance.process(name)["pid"]
    os.kill(killed, signal.SIGKILL)

    def is_back() -> bool:
        row = appliance.process(name)
        return row["state"] == "ready" and row["pid"] != killed

    appliance.wait_for(is_back, seconds=BACK_SECONDS)


def redis_status(appliance: Appliance) -> float:
    text = appliance.cli("metrics").stdout
    (line,) = (one for one in text.splitlines() if one.startswith("redis_connection_status "))
    return float(line.split()[1])


def writers(appliance: Appliance) -> set[str]:
    """The incarnations that have files of numbers."""
    files = (appliance.root / "run" / "metrics").glob("*.db")
    return {file.stem.rpartition("_")[2] for file in files}


def living(appliance: Appliance) -> set[str]:
    rows = ControlClient(control_socket(appliance.root / "run")).status()["processes"]
    return {row["instance"] for row in rows if row["pid"]}
