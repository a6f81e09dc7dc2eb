import json
import os
import signal
import socket
import subprocess
from pathlib import Path

import pytest

from tests.support.supervised import ENVIRONMENT, Appliance


def test_processes_start_in_the_order_of_their_needs_and_share_the_listener(appliance: Appliance):
    appliance.options["listeners"] = ["http"]
    appliance.add("migrate", "exit_with", "0", "0.2", ready="exit")
    for name in ("api-1", "api-2"):
        appliance.add(name, "serve", role="api", needs=["migrate"], sockets=["http"])
    appliance.start()
    assert appliance.process("migrate")["state"] == "done"
    assert Path(appliance.path("was-ready")).exists()
    instances = {str(appliance.process(name)["instance"]) for name in ("api-1", "api-2")}
    port = int(Path(appliance.path("http.port")).read_text())
    with socket.create_connection(("127.0.0.1", port), timeout=10) as connection:
        assert connection.recv(100).decode() in instances
    assert appliance.stop() == 0


def test_status_tells_what_each_process_is_and_costs(appliance: Appliance):
    appliance.add("api-1", "serve", role="api")
    appliance.start()
    status = appliance.control.status()
    assert status["pid"] == appliance.main.pid
    (api,) = status["processes"]
    assert api.pop("rssBytes") > 1 << 20
    assert api.pop("uptimeSeconds") >= 0
    pid = api.pop("pid")
    assert api.pop("instance").startswith("api-1.")
    assert api == {
        "name": "api-1",
        "role": "api",
        "state": "ready",
        "part": "serving",
        "isPaused": False,
        "retryInSeconds": None,
        "restarts": 0,
        "reason": "",
        "status": "",
    }
    assert os.getsid(pid) == pid


@pytest.mark.parametrize("code", [78, 69])
def test_a_one_shot_that_can_not_start_ends_the_first_start_with_its_code(
    appliance: Appliance, code: int
):
    appliance.add("redis", "serve")
    restart = {"fatal_first_exit_codes": [69, 78]}
    appliance.add("migrate", "exit_with", str(code), ready="exit", needs=["redis"], restart=restart)
    appliance.add("api", "serve", needs=["migrate"])
    appliance.start(wait_for=None, stderr=subprocess.PIPE)
    _, said = appliance.main.communicate(timeout=30)
    assert appliance.main.returncode == code
    lines = said.decode().splitlines()
    assert f"leaving with {code}" in lines
    assert any(f"migrate can not start: exit {code}" in line for line in lines)


def test_an_exit_code_that_is_not_fatal_is_tried_again(appliance: Appliance):
    appliance.add("migrate", "fail_once", appliance.path("tried"), ready="exit")
    appliance.start()
    assert appliance.process("migrate")["restarts"] == 1


def test_after_the_first_start_a_config_error_stays_with_its_process(appliance: Appliance):
    appliance.add("migrate", "exit_with", "0", ready="exit")
    appliance.add("api", "serve")
    appliance.add("late", "exit_with", "78", "1.5", required=False, ready="exit")
    appliance.start()
    appliance.wait_for("late", "config_error")
    assert appliance.state() == "ready"
    assert appliance.process("api")["state"] == "ready"


def test_a_program_that_is_not_there_is_said_and_tried_again(appliance: Appliance):
    appliance.add("api", "serve")
    appliance.processes[0]["argv"] = ("/nonexistent/program",)
    appliance.start(wait_for="starting")
    appliance.wait_until(lambda: appliance.process("api")["restarts"] >= 1)
    reason = str(appliance.process("api")["reason"])
    assert "can not start /nonexistent/program: No such file or directory" in reason


def test_a_second_supervisor_on_the_same_directory_is_refused(appliance: Appliance):
    appliance.add("api", "serve")
    appliance.start()
    second = appliance.launch(stderr=subprocess.PIPE)
    _, said = second.communicate(timeout=30)
    assert second.returncode == 75
    assert f"held by pid {appliance.main.pid} since 20".encode() in said
    assert appliance.state() == "ready"


def test_a_child_inherits_nothing_but_what_its_spec_says(appliance: Appliance, tmp_path: Path):
    appliance.options["listeners"] = ["http", "other"]
    seen = appliance.path("seen.json")
    appliance.add("look", "look_around", seen, ready="exit", sockets=["http"], cwd=str(tmp_path))

    def be_unclean() -> None:
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
        signal.signal(signal.SIGUSR1, signal.SIG_IGN)
        signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGUSR2])

    secret = {"NOTIFY_SOCKET": "/nonexistent", "SECRET": "x"}
    appliance.start(preexec_fn=be_unclean, environ=secret)
    child = json.loads(Path(seen).read_text())
    added = {key: value for key, value in child["environ"].items() if key not in ENVIRONMENT}
    added.pop("LC_CTYPE", None)  # Python's own, in a C locale
    listener = int(added.pop("SUPERVISOR_LISTEN_FDS").removeprefix("http="))
    assert child["fds"] == sorted({0, 1, 2, listener, int(added.pop("SUPERVISOR_LINK_FD"))})
    assert set(added) == {"SUPERVISOR_INSTANCE", "SUPERVISOR_RUN"}
    assert child["blocked"] == 0
    # Python itself ignores these two in every process. What the C library keeps for its own
    # threads (32 to 33) cannot be set by a program: it stays as the machine hands it down.
    reserved = 1 << 31 | 1 << 32
    assert child["ignored"] & ~reserved == 1 << signal.SIGPIPE - 1 | 1 << signal.SIGXFSZ - 1
    assert child["session"] == child["group"] == child["pid"]
    assert child["cwd"] == str(tmp_path)


def test_the_service_manager_hears_how_we_are(appliance: Appliance):
    path = appliance.path("notify.sock")
    appliance.add("api", "serve")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(path)
        manager.settimeout(20)
        appliance.start(environ={"NOTIFY_SOCKET": path, "WATCHDOG_USEC": "200000"})
        heard = [manager.recv(1000).decode()]
        while heard.count("WATCHDOG=1") < 3 or "READY=1" not in heard:
            heard.append(manager.recv(1000).decode())
        assert "STATUS=starting: 0 of 1 processes ready; api starting" in heard
        assert appliance.stop() == 0
        while "STOPPING=1" not in heard:
            heard.append(manager.recv(1000).decode())
