import os
import signal
import threading
import time
from pathlib import Path

from supervisor.control import ControlClient
from tests.support.supervised import Appliance, descendants_of, is_alive

FAST_BEAT = {"heartbeat_seconds": 0.1, "missed": 5}


class Listener:
    """What a subscriber hears, on a thread of its own."""

    def __init__(self, client: ControlClient) -> None:
        self.events: list[dict[str, dict[str, object]]] = []
        self._stream = client.subscribe()
        self._thread = threading.Thread(target=self._listen)
        self._thread.start()

    def _listen(self) -> None:
        self.events.extend(self._stream)

    def heard(self) -> list[dict[str, dict[str, object]]]:
        """All events, after the supervisor's end."""
        self._thread.join(30)
        return self.events


def test_a_killed_child_comes_back_and_its_exit_is_announced(appliance: Appliance):
    appliance.add("api-1", "serve", role="api")
    appliance.start()
    listener = Listener(appliance.control)
    time.sleep(0.2)  # the subscription is under way on its thread
    before = appliance.process("api-1")
    os.kill(appliance.pid("api-1"), signal.SIGKILL)
    appliance.wait_until(lambda: appliance.process("api-1")["restarts"] == 1)
    after = appliance.wait_for("api-1", "ready")
    assert after["instance"] != before["instance"]
    assert after["reason"] == "killed by SIGKILL"
    appliance.stop()
    exits = [event["exit"] for event in listener.heard() if "exit" in event]
    assert exits[0] == {
        "name": "api-1",
        "role": "api",
        "instance": before["instance"],
        "pid": before["pid"],
        "reason": "killed by SIGKILL",
    }
    states = [event["state"]["state"] for event in listener.events if "state" in event]
    assert states == ["backoff", "starting", "ready", "draining", "stopped"]


def test_a_child_that_stands_still_is_replaced(appliance: Appliance):
    appliance.add("api", "serve", readiness=FAST_BEAT, stop={"hung_seconds": 0.3})
    appliance.start()
    pid = appliance.pid("api")
    os.kill(pid, signal.SIGSTOP)
    appliance.wait_for("api", "unhealthy")
    appliance.wait_until(lambda: appliance.process("api")["restarts"] == 1)
    after = appliance.wait_for("api", "ready")
    assert not is_alive(pid)
    assert str(after["reason"]).startswith("silent for 0.")
    assert str(after["reason"]).endswith("killed by SIGKILL")


def test_a_supervisor_that_stood_still_does_not_blame_its_children(appliance: Appliance):
    appliance.add("api", "serve", readiness=FAST_BEAT)
    appliance.start()
    pids = [appliance.main.pid, appliance.pid("api")]
    for pid in pids:
        os.kill(pid, signal.SIGSTOP)
    time.sleep(2)
    os.kill(pids[0], signal.SIGCONT)
    time.sleep(0.2)
    os.kill(pids[1], signal.SIGCONT)
    time.sleep(0.6)
    assert appliance.pid("api") == pids[1]


def test_a_user_whose_store_is_away_is_blocked_until_it_is_back(appliance: Appliance):
    appliance.add("store", "store", appliance.path("store.sock"), ready="probe")
    appliance.processes[0]["readiness"]["path"] = appliance.path("store.sock")
    appliance.add("api", "exit_without", appliance.path("store.sock"), needs=["store"])
    appliance.start()
    Path(appliance.path("store.sock")).unlink()
    os.kill(appliance.pid("store"), signal.SIGKILL)
    appliance.wait_for("api", "blocked")
    assert appliance.state() == "degraded"
    appliance.wait_until(lambda: appliance.state() == "ready")
    assert appliance.process("api")["reason"] == "exit 69"


def test_a_crash_loop_slows_down_into_quarantine_and_stops_at_once(appliance: Appliance):
    fast = {"base_seconds": 0.01, "cap_seconds": 0.05}
    appliance.add("api", "exit_with", "1", restart=fast)
    appliance.start(wait_for="starting")
    assert appliance.wait_for("api", "quarantined")["restarts"] == 5
    assert appliance.stop() == 0


def probed(appliance: Appliance, name: str, *argv: str, **readiness: object) -> None:
    path = appliance.path("store.sock")
    appliance.add(name, "store", path, *argv, ready="probe")
    appliance.processes[-1]["readiness"].update(path=path, **readiness)


def test_a_store_is_ready_when_it_gives_the_right_answer(appliance: Appliance):
    probed(appliance, "store", start_interval_seconds=0.05)
    appliance.start()


def test_a_store_with_the_wrong_answer_is_not_ready_and_is_replaced(appliance: Appliance):
    probed(appliance, "store", "LOADING", start_timeout_seconds=1)
    appliance.start(wait_for="starting")
    appliance.wait_until(lambda: "not ready within 1." in str(appliance.process("store")["reason"]))


def test_a_silent_store_is_replaced(appliance: Appliance):
    quick = {"interval_seconds": 0.1, "timeout_seconds": 0.2, "replace_after_seconds": 0.8}
    probed(appliance, "store", **quick)
    appliance.processes[0]["stop"] = {"hung_seconds": 0.2}
    appliance.start()
    pid = appliance.pid("store")
    os.kill(pid, signal.SIGSTOP)
    appliance.wait_for("store", "unhealthy")
    appliance.wait_until(lambda: appliance.process("store")["state"] == "ready")
    assert not is_alive(pid)


def test_somebody_elses_server_on_the_path_is_not_our_store(appliance: Appliance):
    """The child sleeps; another process answers the probe correctly on its path."""
    path = appliance.path("store.sock")
    appliance.add("stranger", "store", path, ready="exit", required=False)
    appliance.add("store", "exit_with", "0", "300", ready="probe")
    appliance.processes[-1]["readiness"]["path"] = path
    appliance.start(wait_for="starting")
    appliance.wait_until(
        lambda: "not by the child" in str(appliance.process("store")["reason"]),
    )
    stranger = appliance.pid("stranger")
    assert f"served by pid {stranger}" in str(appliance.process("store")["reason"])


def test_orphans_are_adopted_and_reaped_and_none_outlives_a_stop(appliance: Appliance):
    import json

    appliance.add("api", "serve")
    appliance.add("parent", "leave_orphans", appliance.path("orphans.json"), ready="exit")
    appliance.start()
    lasting, short = json.loads(Path(appliance.path("orphans.json")).read_text())
    appliance.wait_until(lambda: not Path(f"/proc/{short}").exists())
    assert lasting in descendants_of(appliance.main.pid)
    assert appliance.stop() == 0
    assert not is_alive(lasting)
