"""kill -9 of every process while somebody works: what was accepted is kept and delivered."""

import os
import signal
import time
from collections.abc import Iterator

import pytest

from tests.support.accepted import Scene, Writer
from tests.support.appliance import OPEN_CONFIG, Appliance, appliance_in_temporary_root, note
from tests.support.receiver import WebhookReceiver, webhook_receiver

pytestmark = [pytest.mark.chaos, pytest.mark.slow]
BACK_SECONDS = 30.0  # beside others; tests/chaos/test_supervision.py holds the 10 s


@pytest.fixture(scope="module")
def scene() -> Iterator[Scene]:
    with appliance_in_temporary_root(OPEN_CONFIG) as one, webhook_receiver() as receiver:
        one.start()
        yield Scene(one, receiver)


@pytest.mark.parametrize("name", ["api-1", "webhook-1", "scheduler", "redis", "mongod"])
def test_a_killed_process_comes_back_and_nothing_accepted_is_lost(scene: Scene, name: str):
    killed = scene.appliance.process(name)["pid"]
    with Writer(scene.admin) as writer:
        writer.wait_for_more(20, seconds=BACK_SECONDS)
        os.kill(killed, signal.SIGKILL)
        stalled = writer.wait_for_more(20, seconds=BACK_SECONDS)
        back = scene.appliance.wait_for(
            lambda: is_whole(scene.appliance, name, killed), seconds=BACK_SECONDS
        )
        writer.wait_for_more(20, seconds=BACK_SECONDS)
    note(f"{name}: 20 more tasks after {stalled:.1f} s, all ready after {stalled + back:.1f} s")
    scene.check(writer)


def is_whole(appliance: Appliance, name: str, killed: int) -> bool:
    """Everything is ready, and the killed process is another one."""
    report = appliance.status()
    pids = {row["name"]: row["pid"] for row in report["processes"]}
    return report["state"] == "ready" and pids[name] not in (None, killed)


def test_a_killed_supervisor_takes_everything_along_and_the_next_start_goes_on(
    appliance: Appliance, receiver: WebhookReceiver
):
    appliance.start()
    scene = Scene(appliance, receiver)
    scheduler = appliance.process("scheduler")["pid"]
    with Writer(scene.admin) as writer:
        writer.wait_for_more(10, seconds=BACK_SECONDS)
        # Without a scheduler nothing new is sent: there is surely work left.
        os.kill(scheduler, signal.SIGSTOP)
        writer.wait_for_more(20, seconds=BACK_SECONDS)
        before = appliance.live_pids()
        appliance.signal(signal.SIGKILL)
        killed_at = time.monotonic()
        appliance.wait()
        while appliance.live_pids():
            assert time.monotonic() - killed_at <= 2, appliance.live_pids()
            time.sleep(0.02)
        note(f"{len(before)} processes gone in {time.monotonic() - killed_at:.2f} s")
    assert len(before) >= 8
    told = {request.event["data"]["task"]["id"] for request in receiver.requests}
    assert set(writer.accepted.values()) - told
    appliance.start()
    scene.check(writer)


def test_a_supervisor_that_is_killed_while_it_starts_leaves_nothing(appliance: Appliance):
    appliance.launch()
    appliance.wait_for(lambda: len(appliance.live_pids()) >= 4, seconds=10)
    appliance.signal(signal.SIGKILL)
    killed_at = time.monotonic()
    appliance.wait()
    while appliance.live_pids():
        assert time.monotonic() - killed_at <= 2, appliance.live_pids()
        time.sleep(0.02)
    appliance.start()
    assert appliance.found_company().get("/tasks").status == 200
