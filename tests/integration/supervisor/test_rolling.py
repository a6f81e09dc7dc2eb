"""Changes to a running table: rolls, slots, messages, drains; well and badly ended ones."""

import json
import os
import signal
import socket
import subprocess
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from supervisor.control import ControlError
from tests.support.supervised import Appliance, is_alive


class Asked:
    """A control verb that takes long, in a thread."""

    def __init__(self, appliance: Appliance, verb: str, **arguments: object) -> None:
        self.progress: list[str] = []
        self.answer: dict[str, Any] = {}
        self.error: ControlError | None = None
        self._call = (appliance, verb, arguments)
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def _run(self) -> None:
        appliance, verb, arguments = self._call
        try:
            self.answer = appliance.control.follow(verb, progress=self.progress.append, **arguments)
        except ControlError as error:
            self.error = error

    def wait(self) -> "Asked":
        self._thread.join(40)
        assert not self._thread.is_alive()
        return self


def ask(appliance: Appliance, verb: str, **arguments: object) -> Asked:
    return Asked(appliance, verb, **arguments).wait()


def pids(appliance: Appliance) -> dict[str, object]:
    rows = appliance.control.status()["processes"]
    return {row["name"]: row["pid"] for row in rows if row["part"] == "serving"}


@pytest.fixture
def pair(appliance: Appliance) -> Appliance:
    """Two slots on one listener, which drain for a moment."""
    appliance.options = {"listeners": ["http"], "reloads": True}
    for number in (1, 2):
        appliance.add(f"api-{number}", "serve", "0.1", role="api", sockets=["http"])
    return appliance


def table(appliance: Appliance, *known: str) -> None:
    """What the next reload reads: all that was added to the appliance."""
    given = {"processes": appliance.processes, "known": known}
    Path(appliance.path("table.json")).write_text(json.dumps(given))


def test_a_restart_replaces_slot_after_slot_without_a_refused_connection(pair: Appliance):
    pair.start()
    port = int(Path(pair.path("http.port")).read_text())
    before = pids(pair)
    restart = Asked(pair, "restart", target="api")
    answers = []
    live = []
    while not restart.answer:
        assert restart.error is None
        with socket.create_connection(("127.0.0.1", port), timeout=10) as connection:
            answers.append(connection.recv(100))
        rows = pair.control.status()["processes"]
        live.append(sum(row["pid"] is not None for row in rows))
        ready = [row["name"] for row in rows if row["state"] == "ready"]
        assert sorted(ready) == ["api-1", "api-2"]
    restart.wait()
    assert restart.answer["done"] == ["api-1: replaced", "api-2: replaced"]
    assert restart.progress == restart.answer["done"]
    assert all(answers)
    assert max(live) == 3
    after = pids(pair)
    assert set(before.values()).isdisjoint(after.values())
    assert not any(is_alive(pid) for pid in before.values())
    assert pair.state() == "ready"


def test_a_restart_of_one_name_leaves_the_others(pair: Appliance):
    pair.start()
    before = pids(pair)
    ask(pair, "restart", target="api-2")
    after = pids(pair)
    assert after["api-1"] == before["api-1"]
    assert after["api-2"] != before["api-2"]


def test_there_is_no_restart_of_what_is_not_there(pair: Appliance):
    pair.start()
    error = ask(pair, "restart", target="apo").error
    assert error is not None
    assert "there are api, api-1, api-2" in str(error)
    assert error.facts["code"] == "not_found"


@pytest.mark.parametrize("how", ["exit", "hang"])
def test_a_successor_that_does_not_get_ready_is_given_up_and_the_old_one_serves_on(
    appliance: Appliance, how: str
):
    bad = appliance.path("bad")
    slow = {"readiness": {"start_timeout_seconds": 1.0}, "stop": {"hung_seconds": 0.2}}
    appliance.add("api-1", "serve_unless", bad, how, role="api", **slow)
    appliance.add("api-2", "serve_unless", bad, how, role="api", **slow)
    appliance.start()
    before = pids(appliance)
    Path(bad).touch()
    restart = ask(appliance, "restart", target="api")
    assert restart.error is not None
    assert ("exit 1" if how == "exit" else "not ready within 1.0 s") in str(restart.error)
    assert restart.error.facts["done"] == []
    assert pids(appliance) == before
    assert appliance.state() == "ready"
    Path(bad).unlink()
    assert ask(appliance, "restart", target="api").error is None
    assert set(before.values()).isdisjoint(pids(appliance).values())


def test_a_store_is_stopped_before_it_is_started_again(appliance: Appliance):
    socket_path = appliance.path("store.sock")
    appliance.add("redis", "store", socket_path, ready="probe", readiness={"path": socket_path})
    appliance.add("api", "serve", needs=["redis"])
    appliance.start()
    before = pids(appliance)
    assert ask(appliance, "restart", target="redis").error is None
    after = pids(appliance)
    assert after["redis"] != before["redis"]
    assert after["api"] == before["api"]


def test_a_reload_adds_rolls_and_drains_slots(pair: Appliance):
    pair.start()
    before = pids(pair)
    pair.processes[0]["stop"] = {"deadline_seconds": 7}
    del pair.processes[1]
    pair.add("worker", "serve")
    table(pair, "api-1", "api-2")
    reload = ask(pair, "reload")
    assert reload.answer["done"] == [
        "api-1: replaced",
        "worker: started",
        "api-2: finished its work and left",
    ]
    assert reload.answer["processes"] == 2
    after = pids(pair)
    assert sorted(after) == ["api-1", "worker"]
    assert before["api-1"] != after["api-1"]
    assert not is_alive(before["api-2"])
    marks = {path.name for path in pair.directory.glob("reload-*")}
    assert marks == {"reload-commit", "reload-keep", "reload-close"}


def test_a_reload_that_fails_half_way_is_taken_back(pair: Appliance):
    pair.start()
    pair.add("worker", "exit_with", "1")
    table(pair, "api-1", "api-2")
    reload = ask(pair, "reload")
    assert reload.error is not None
    assert "worker: exit 1" in str(reload.error)
    assert reload.error.facts["done"] == ["api-1: replaced", "api-2: replaced"]
    assert reload.error.facts["undone"] == [
        "worker: finished its work and left",
        "api-2: replaced",
        "api-1: replaced",
    ]
    assert sorted(pids(pair)) == ["api-1", "api-2"]
    assert pair.state() == "ready"
    marks = {path.name for path in pair.directory.glob("reload-*")}
    assert marks == {"reload-commit", "reload-abort", "reload-close"}


def test_a_refused_reload_changes_nothing(pair: Appliance):
    pair.start()
    before = pids(pair)
    reload = ask(pair, "reload")
    assert reload.error is not None
    assert reload.error.facts == {"code": "broken"}
    assert pids(pair) == before
    assert list(pair.directory.glob("reload-*")) == []


def test_sighup_reloads_where_the_program_can_and_leaves_it_running(pair: Appliance):
    pair.start()
    table(pair, "api-1", "api-2")
    before = pids(pair)
    pair.main.send_signal(signal.SIGHUP)
    pair.wait_until((pair.directory / "reload-close").exists)
    assert set(before.values()).isdisjoint(pids(pair).values())
    assert pair.state() == "ready"


def test_changes_queue_up_and_each_gets_its_answer(pair: Appliance):
    pair.start()
    asked = [Asked(pair, "restart", target="api-1") for _ in range(3)]
    answers = [one.wait().answer["done"] for one in asked]
    assert answers == [["api-1: replaced"]] * 3


def test_a_roll_is_no_restart_but_a_death_after_it_is_one(pair: Appliance):
    pair.start()
    for _ in range(2):
        ask(pair, "restart", target="api-1")
    assert pair.process("api-1")["restarts"] == 0
    os.kill(pair.pid("api-1"), signal.SIGKILL)
    pair.wait_until(lambda: pair.process("api-1")["restarts"] == 1)
    pair.wait_for("api-1", "ready")
    ask(pair, "restart", target="api-1")
    assert pair.process("api-1")["restarts"] == 1


def test_a_stop_ends_a_roll_and_its_caller_hears_it(appliance: Appliance):
    appliance.options["reloads"] = True
    bad = appliance.path("bad")
    appliance.add("api", "serve_unless", bad, "hang", stop={"deadline_seconds": 0.5})
    appliance.start()
    Path(bad).touch()
    restart = Asked(appliance, "restart")
    appliance.wait_until(lambda: appliance.control.status()["operations"] == ["restart"])
    started = time.monotonic()
    assert appliance.stop() == 0
    assert time.monotonic() - started < 5
    assert str(restart.wait().error) == "the supervisor is stopping"


def test_messages_reach_every_child_and_are_confirmed(appliance: Appliance):
    appliance.options["reloads"] = True
    notes = Path(appliance.path("notes"))
    for number in (1, 2):
        appliance.add(f"api-{number}", "note", str(notes))
    appliance.start()
    assert ask(appliance, "tell", message={"word": "hello"}).error is None
    heard = [json.loads(line) for line in notes.read_text().splitlines()]
    assert [one["word"] for one in heard] == ["hello"] * 2
    assert len({one["instance"] for one in heard}) == 2


def test_a_message_that_is_not_confirmed_is_a_failure_with_the_childs_name(appliance: Appliance):
    appliance.options["reloads"] = True
    appliance.add("api", "note", appliance.path("notes"))
    appliance.start(stderr=subprocess.DEVNULL)
    error = ask(appliance, "tell", message={"fail": True}).error
    assert str(error) == "api: no confirmation"
    assert appliance.state() == "ready"


def test_a_child_may_ask_to_be_replaced(appliance: Appliance):
    appliance.options["reloads"] = True
    appliance.add("api", "note", appliance.path("notes"))
    appliance.start()
    before = appliance.pid("api")
    ask(appliance, "tell", message={"wish": True})
    appliance.wait_until(lambda: not is_alive(before))
    assert appliance.process("api")["state"] == "ready"


def test_a_drain_pauses_who_takes_work_and_tells_who_serves(appliance: Appliance):
    notes = Path(appliance.path("notes"))
    appliance.add("api", "note", str(notes), drain="BE_TOLD")
    appliance.add("worker", "serve", "0.3", drain="STOP")
    appliance.add("clock", "serve")
    appliance.start()
    drain = ask(appliance, "drain")
    assert drain.answer["done"] == ["told to drain: api", "worker: takes no more work"]
    assert appliance.state() == "drained"
    assert appliance.process("worker")["state"] == "stopped"
    assert appliance.process("clock")["state"] == "ready"
    # A new incarnation has to know it too, and a restart does not end the pause.
    ask(appliance, "restart", target="api")
    ask(appliance, "restart", target="worker")
    assert appliance.process("worker")["state"] == "stopped"
    undo = ask(appliance, "drain", undo=True)
    assert undo.answer["done"] == ["worker: takes work again", "told to serve: api"]
    assert appliance.state() == "ready"
    heard = [json.loads(line)["drain"] for line in notes.read_text().splitlines()]
    assert heard == [True, True, False]


def test_a_crash_of_the_old_one_during_its_roll_does_not_end_the_roll(appliance: Appliance):
    appliance.add("api", "serve_unless", appliance.path("never"))
    appliance.start()
    old = appliance.pid("api")
    restart = Asked(appliance, "restart")
    os.kill(old, signal.SIGKILL)
    assert restart.wait().error is None
    assert appliance.process("api")["state"] == "ready"


def test_the_service_manager_hears_of_a_reload_and_of_its_end(pair: Appliance):
    path = pair.path("notify")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(path)
        manager.settimeout(20)
        pair.start(environ={"NOTIFY_SOCKET": path})
        while b"READY=1" not in manager.recv(4096):
            pass
        table(pair, "api-1", "api-2")
        reload = Asked(pair, "reload")
        said = []
        while b"READY=1" not in said:
            said.append(manager.recv(4096))
        reload.wait()
    fields = [one for one in said if not one.startswith(b"STATUS=")]
    assert fields[0].startswith(b"RELOADING=1\nMONOTONIC_USEC=")
    assert fields[1:] == [b"READY=1"]


def test_a_program_that_fails_to_plan_or_to_write_costs_the_reload_only(pair: Appliance):
    pair.start()
    Path(pair.path("table.json")).write_text("{}")
    error = ask(pair, "reload").error
    assert error is not None
    assert str(error).startswith("a bug: KeyError")
    table(pair, "api-1", "api-2")
    Path(pair.path("reload-commit")).symlink_to("/nonexistent/place")
    error = ask(pair, "reload").error
    assert error is not None
    assert "can not be put in place" in str(error)
    assert error.facts["done"] == []
    assert pair.state() == "ready"


def test_whoever_closes_the_terminal_ends_what_runs_in_it(pair: Appliance):
    ours, theirs = os.openpty()
    pair.start(stderr=theirs)
    os.close(theirs)
    os.close(ours)
    pair.main.send_signal(signal.SIGHUP)
    assert pair.main.wait(30) == 0
