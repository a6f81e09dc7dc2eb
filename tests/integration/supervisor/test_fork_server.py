"""Children that are forked from one that has loaded the program, and what if that is away."""

import json
import os
import signal
import socket
import time
from pathlib import Path

from supervisor.procfs import find_stat
from tests.support.supervised import (
    Appliance,
    descendants_of,
    is_alive,
    marked_with,
    run_of,
)

SERVER = "fork-server"


def add_server(appliance: Appliance, *files: str, **fields: object) -> None:
    paths = [appliance.path(name) for name in files]
    appliance.add(SERVER, "fork_server", *paths, required=False, **fields)


def add_forked(appliance: Appliance, name: str, *argv: str, **fields: object) -> None:
    appliance.add(name, *argv, fork_server=SERVER, **fields)


def is_forked(pid: int) -> bool:
    """From the fork server: its environment is still that with which it was executed."""
    return b"SUPERVISOR_INSTANCE=fork-server." in Path(f"/proc/{pid}/environ").read_bytes()


def seen(appliance: Appliance, name: str) -> dict[str, object]:
    appliance.wait_for(name, "done")
    found: dict[str, object] = json.loads(Path(appliance.path(f"{name}.json")).read_text())
    return found


def test_a_forked_child_finds_what_an_executed_one_finds(appliance: Appliance):
    appliance.options["listeners"] = ["http"]
    add_server(appliance)
    given = {"sockets": ["http"], "ready": "exit"}
    here = {"cwd": str(appliance.directory), "env": {"COLOUR": "blue", "PYTHONPATH": "/else"}}
    add_forked(appliance, "forked", "look_around", appliance.path("forked.json"), **given, **here)
    appliance.add("executed", "look_around", appliance.path("executed.json"), **given)
    appliance.start()
    forked, executed = seen(appliance, "forked"), seen(appliance, "executed")
    environ = forked["environ"]
    run = executed["environ"]["SUPERVISOR_RUN"]
    assert environ.pop("SUPERVISOR_INSTANCE").startswith("forked.")
    assert len({environ.pop("SUPERVISOR_LINK_FD"), environ.pop("SUPERVISOR_LISTEN_FDS")}) == 2
    ours = {"COLOUR": "blue", "PYTHONPATH": "/else", "FORKED": "yes", "SUPERVISOR_RUN": run}
    assert environ == ours
    assert forked["cwd"] == str(appliance.directory)
    assert forked["session"] == forked["group"] == forked["pid"]
    assert len(forked["fds"]) == len(executed["fds"]) == 5  # three standard ones, link, listener
    assert (forked["blocked"], forked["ignored"]) == (executed["blocked"], executed["ignored"])


def test_a_forked_child_is_the_supervisors_own_and_looks_like_an_executed_one(
    appliance: Appliance,
):
    add_server(appliance, "broken", "hung")
    add_forked(appliance, "api", "serve")
    appliance.start()
    pid = appliance.pid("api")
    assert is_forked(pid)
    stat = find_stat(pid)
    assert stat is not None
    assert stat.parent == appliance.main.pid
    command = Path(f"/proc/{pid}/cmdline").read_bytes().rstrip(b"\0").split(b"\0")
    assert command == [os.fsencode(word) for word in appliance.processes[1]["argv"]]
    mine = set(descendants_of(appliance.main.pid))
    assert len(mine) == 3  # the fork server, the child and the guard: nobody in between
    assert appliance.stop() == 0
    assert not any(map(is_alive, mine))


def test_children_start_when_the_fork_server_has_loaded(appliance: Appliance):
    hung = Path(appliance.path("hung"))
    hung.touch()
    add_server(appliance, "broken", "hung")
    add_forked(appliance, "api", "serve")
    appliance.add("other", "serve")
    appliance.start(wait_for=None)
    appliance.wait_until(lambda: appliance.state() == "starting")
    appliance.wait_for("other", "ready")
    api = appliance.process("api")
    assert (api["state"], api["pid"]) == ("starting", None)
    hung.unlink()
    appliance.wait_until(lambda: appliance.state() == "ready")
    assert is_forked(appliance.pid("api"))


def test_a_role_that_is_offered_does_not_wait_for_the_rest(appliance: Appliance):
    hung = Path(appliance.path("hung"))
    hung.touch()
    add_server(appliance, "broken", "hung")
    appliance.processes[0]["argv"] = (*appliance.processes[0]["argv"], "first")
    add_forked(appliance, "first", "serve")
    add_forked(appliance, "second", "serve")
    appliance.start(wait_for=None)
    appliance.wait_until(lambda: appliance.state() == "starting")
    appliance.wait_for("first", "ready")
    first = appliance.pid("first")
    assert is_forked(first)
    second = appliance.process("second")
    assert (second["state"], second["pid"]) == ("starting", None)
    assert appliance.process(SERVER)["state"] == "starting"
    hung.unlink()
    appliance.wait_until(lambda: appliance.state() == "ready")
    assert is_forked(appliance.pid("second"))
    assert appliance.pid("first") == first


def test_a_stop_does_not_wait_for_a_fork_server_that_loads(appliance: Appliance):
    Path(appliance.path("hung")).touch()
    add_server(appliance, "broken", "hung")
    add_forked(appliance, "api", "serve")
    appliance.start(wait_for=None)
    appliance.wait_until(lambda: appliance.state() == "starting")
    appliance.wait_for("api", "starting")
    assert appliance.stop() == 0


def test_without_a_fork_server_children_are_executed(appliance: Appliance):
    Path(appliance.path("broken")).touch()
    add_server(appliance, "broken")
    add_forked(appliance, "api", "serve")
    appliance.start()
    assert not is_forked(appliance.pid("api"))
    assert appliance.process(SERVER)["state"] in ("starting", "backoff")


def test_a_killed_fork_server_takes_nobody_along_and_comes_back(appliance: Appliance):
    appliance.options["listeners"] = ["http"]
    add_server(appliance)
    quick = {"base_seconds": 0.05}
    add_forked(appliance, "api", "serve", sockets=["http"], restart=quick)
    appliance.processes[0]["restart"] = quick
    appliance.start()
    port = int(Path(appliance.path("http.port")).read_text())
    served, server = appliance.pid("api"), appliance.pid(SERVER)
    os.kill(server, signal.SIGKILL)
    appliance.wait_until(lambda: not is_alive(server))
    with socket.create_connection(("127.0.0.1", port), timeout=10) as connection:
        assert connection.recv(100).startswith(b"api.")
    assert appliance.pid("api") == served
    appliance.wait_until(lambda: appliance.process(SERVER)["pid"] not in (None, server))
    os.kill(served, signal.SIGKILL)
    appliance.wait_until(lambda: appliance.process("api")["pid"] not in (None, served))
    appliance.wait_until(lambda: appliance.state() == "ready")
    assert appliance.process("api")["restarts"] == 1


def test_a_fork_server_that_stands_still_is_done_without(appliance: Appliance):
    add_server(appliance)
    add_forked(appliance, "api", "serve", restart={"base_seconds": 0.05})
    appliance.start()
    served, server = appliance.pid("api"), appliance.pid(SERVER)
    os.kill(server, signal.SIGSTOP)
    os.kill(served, signal.SIGKILL)
    appliance.wait_until(lambda: appliance.process("api")["pid"] not in (None, served))
    assert not is_forked(appliance.pid("api"))
    appliance.wait_until(lambda: not is_alive(server))
    appliance.wait_until(lambda: appliance.state() == "ready")


def test_how_a_forked_child_ended_is_known(appliance: Appliance):
    add_server(appliance)
    once = {"quarantine_exits": 0}
    add_forked(appliance, "left", "exit_with", "3", restart=once)
    appliance.start(wait_for=None)
    appliance.wait_until(lambda: appliance.state() is not None)
    assert appliance.wait_for("left", "quarantined")["reason"] == "exit 3"


def test_a_restart_begins_with_a_fork_server_that_has_loaded_anew(appliance: Appliance):
    add_server(appliance)
    add_forked(appliance, "api", "serve")
    appliance.start()
    before = appliance.pid(SERVER)
    answer = appliance.control.follow("restart", target="api", progress=lambda _text: None)
    assert answer["done"] == ["fork-server: replaced", "api: replaced"]
    assert appliance.pid(SERVER) != before
    assert is_forked(appliance.pid("api"))


def test_after_a_killed_supervisor_neither_fork_server_nor_forked_child_lives(
    appliance: Appliance,
):
    add_server(appliance)
    add_forked(appliance, "deaf", "deaf")
    add_forked(appliance, "family", "stubborn_family", appliance.path("kin"))
    appliance.start()
    kin = json.loads(Path(appliance.path("kin")).read_text())
    pids = {*descendants_of(appliance.main.pid), *kin}
    assert len(pids) >= 7  # three processes, the guard, three grandchildren
    mark = run_of(appliance.pid("deaf"))
    appliance.main.kill()
    appliance.main.wait(30)
    deadline = time.monotonic() + 2
    while any(is_alive(pid) for pid in pids) or marked_with(mark):
        assert time.monotonic() < deadline
        time.sleep(0.02)
