import json
import os
import signal
import subprocess
import time
from pathlib import Path

import pytest

from supervisor.control import NotRunning
from tests.support.supervised import (
    Appliance,
    descendants_of,
    is_alive,
    marked_with,
    run_of,
)


def exits_of(said: bytes) -> list[tuple[str, str]]:
    lines = [json.loads(line) for line in said.splitlines() if line.startswith(b"{")]
    ended = [line for line in lines if line["event"] == "process exited"]
    return [(line["name"], line["reason"]) for line in ended]


def test_a_stop_goes_by_rank_and_waits_for_each(appliance: Appliance):
    appliance.add("redis", "serve", stop={"rank": 2})
    appliance.add("consumer", "serve", "0.2", needs=["redis"], stop={"rank": 1})
    appliance.add("api", "serve", "0.3", needs=["redis"], stop={"rank": 0})
    appliance.start(stderr=subprocess.PIPE)
    appliance.main.send_signal(signal.SIGTERM)
    _, said = appliance.main.communicate(timeout=30)
    assert appliance.main.returncode == 0
    asked = "stop asked, exit 0"
    assert exits_of(said) == [("api", asked), ("consumer", asked), ("redis", asked)]


def test_a_child_that_ignores_its_signal_is_killed_at_the_deadline(appliance: Appliance):
    appliance.add("api", "deaf", stop={"deadline_seconds": 0.5})
    appliance.start(stderr=subprocess.PIPE)
    started = time.monotonic()
    appliance.main.send_signal(signal.SIGINT)
    _, said = appliance.main.communicate(timeout=30)
    assert time.monotonic() - started >= 0.5
    assert exits_of(said) == [("api", "stop asked, killed by SIGKILL")]
    assert appliance.main.returncode == 0


def test_a_second_signal_hurries(appliance: Appliance):
    for rank, name in enumerate(("api", "redis")):
        appliance.add(name, "deaf", stop={"deadline_seconds": 300, "rank": rank})
    appliance.start()
    appliance.main.send_signal(signal.SIGTERM)
    appliance.wait_for("api", "draining")
    assert appliance.process("redis")["state"] == "ready"
    assert appliance.state() == "stopping"
    assert appliance.stop() == 0


def test_the_control_socket_stops_and_the_next_start_follows_at_once(appliance: Appliance):
    appliance.add("api", "serve")
    for _ in range(3):
        appliance.start()
        appliance.control.stop()
        with pytest.raises(NotRunning):
            appliance.control.status()
    assert [main.wait(30) for main in appliance.started] == [0, 0, 0]


def test_what_a_child_left_in_its_group_ends_with_it(appliance: Appliance):
    appliance.add("api", "stubborn_family", appliance.path("kin"), stop={"deadline_seconds": 0.2})
    appliance.start()
    kin = json.loads(Path(appliance.path("kin")).read_text())
    assert all(is_alive(pid) for pid in kin)
    assert appliance.stop() == 0
    assert not any(is_alive(pid) for pid in kin)


@pytest.mark.chaos
def test_after_a_killed_supervisor_nothing_lives_and_the_next_one_starts(appliance: Appliance):
    appliance.options["listeners"] = ["http"]
    appliance.add("api", "serve", sockets=["http"])
    quick = {"deadline_seconds": 0.2}
    appliance.add("deaf", "deaf", stop=quick)
    appliance.add("family", "stubborn_family", appliance.path("kin"), stop=quick)
    appliance.add("orphan", "leave_orphans", appliance.path("orphans"), ready="exit")
    appliance.add("store", "store", appliance.path("store.sock"), ready="probe")
    appliance.processes[-1]["readiness"]["path"] = appliance.path("store.sock")
    appliance.start()
    kin = json.loads(Path(appliance.path("kin")).read_text())
    pids = {*descendants_of(appliance.main.pid), *kin}
    assert len(pids) >= 9  # five processes, the guard, three grandchildren, an orphan
    mark = run_of(appliance.pid("api"))
    os.kill(appliance.pid("api"), signal.SIGSTOP)
    appliance.main.kill()
    appliance.main.wait(30)
    deadline = time.monotonic() + 2
    appliance.start(wait_for=None)
    while any(is_alive(pid) for pid in pids) or marked_with(mark):
        assert time.monotonic() < deadline
        time.sleep(0.02)
    appliance.wait_until(lambda: appliance.state() == "ready")
    assert appliance.stop() == 0


@pytest.mark.chaos
def test_a_killed_guard_is_replaced_and_still_does_its_work(appliance: Appliance):
    appliance.add("family", "stubborn_family", appliance.path("kin"))
    appliance.start()
    kin = json.loads(Path(appliance.path("kin")).read_text())
    (guard,) = set(descendants_of(appliance.main.pid)) - set(kin)
    os.kill(guard, signal.SIGKILL)
    appliance.wait_until(lambda: len(descendants_of(appliance.main.pid)) == len(kin) + 1)
    appliance.wait_until(lambda: not is_alive(guard))
    appliance.main.kill()
    appliance.main.wait(30)
    deadline = time.monotonic() + 2
    while any(is_alive(pid) for pid in kin):
        assert time.monotonic() < deadline
        time.sleep(0.02)
