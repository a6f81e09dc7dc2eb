"""Rolling restarts, drains and scaling while clients are at work."""

import json
import signal
import socket
import subprocess
import sys
import time

import pytest

from supervisor.control import ControlClient
from tests.support.appliance import (
    OPEN_CONFIG,
    PROGRAM,
    Appliance,
    appliance_in_temporary_root,
)
from tests.support.load import KeepAliveLoad, SlowUploads

pytestmark = pytest.mark.slow
DRAIN_SECONDS = 4.0  # server.drain_seconds, unless told


def pids(appliance: Appliance) -> dict[str, int | None]:
    rows = appliance.status()["processes"]
    return {row["name"]: row["pid"] for row in rows if row["part"] == "serving"}


@pytest.fixture(scope="module")
def running():
    with appliance_in_temporary_root(OPEN_CONFIG) as one:
        one.start()
        yield one, one.found_company()


def test_a_rolling_restart_under_load_loses_no_request(running):
    appliance, admin = running
    before = pids(appliance)
    load = KeepAliveLoad(
        appliance.address, "/api/v1/tasks?limit=20", headers=admin.headers, connections=32
    )
    with load:
        load.wait_for_more(100)
        done = appliance.cli("restart", "api")
        load.wait_for_more(100)
    print(load.summary())
    assert (done.returncode, done.stdout) == (0, "")
    replaced = ["fork-server", "api-1", "api-2"]
    assert done.stderr.splitlines() == [f"{name}: replaced" for name in replaced]
    assert load.faults == []
    assert set(load.statuses) == {200}
    after = pids(appliance)
    changed = {name for name in before if before[name] != after[name]}
    assert changed == set(replaced)


def test_ctrl_c_ends_the_waiting_and_not_the_restart(running):
    appliance, _ = running
    before = pids(appliance)
    with subprocess.Popen(
        [PROGRAM, "restart", "api", "--root", appliance.root], stderr=subprocess.PIPE, text=True
    ) as restarting:
        # Asked without our command line, which takes as long as a part of the restart.
        supervisor = ControlClient(appliance.root / "run" / "control.sock")
        appliance.wait_for(lambda: bool(supervisor.status()["operations"]), seconds=60)
        restarting.send_signal(signal.SIGINT)
        _, said = restarting.communicate(timeout=60)
    assert restarting.returncode == 130
    assert "Traceback" not in said
    appliance.wait_for(lambda: pids(appliance)["api-2"] not in (None, before["api-2"]), seconds=60)
    appliance.wait_for(lambda: not appliance.status()["operations"], seconds=60)
    assert appliance.status()["state"] == "ready"


def test_a_restart_of_everything_keeps_the_stores(running):
    appliance, _ = running
    before = pids(appliance)
    assert appliance.cli("restart", "-q").returncode == 0
    after = pids(appliance)
    same = {name for name in before if before[name] == after[name]}
    assert same == {"redis", "mongod", "migrate"}
    assert appliance.status()["state"] == "ready"


def test_a_store_comes_back_from_a_restart_and_so_does_the_whole(running):
    appliance, admin = running
    before = pids(appliance)
    assert appliance.cli("restart", "redis").returncode == 0
    assert pids(appliance)["redis"] != before["redis"]
    assert admin.get("/tasks").status == 200


def test_only_what_is_there_can_be_restarted(running):
    appliance, _ = running
    done = appliance.cli("restart", "apo")
    assert done.returncode == 66
    assert "there are api, api-1" in done.stderr
    done = appliance.cli("restart", "migrate", "--json")
    assert done.returncode == 1
    problem = json.loads(done.stdout)
    assert problem["schema"] == 1
    assert "migrate" in problem["detail"]


def test_slots_are_added_and_drained_at_run_time(running):
    appliance, admin = running
    headers, path = admin.headers, "/api/v1/tasks?limit=1"
    with KeepAliveLoad(appliance.address, path, headers=headers, connections=8) as load:
        more = json.loads(appliance.cli("scale", "api=3", "--json").stdout)
        assert more["done"] == ["api-3: started"]
        load.wait_for_more(50)
        assert {"api-1", "api-2", "api-3"} <= set(pids(appliance))
        fewer = appliance.cli("scale", "api=1", "consumer:webhook=2")
        load.wait_for_more(50)
    assert fewer.returncode == 0
    assert "server.processes: 3 → 1" in fewer.stdout
    assert load.faults == []
    assert set(load.statuses) == {200}
    assert {name for name in pids(appliance) if name.startswith("api")} == {"api-1"}
    assert "webhook-2" in pids(appliance)
    assert appliance.cli("reload").returncode == 0
    assert "webhook-2" in pids(appliance), "a reload without another number keeps what was scaled"
    assert appliance.cli("scale", "api=2", "webhook=1").returncode == 0


@pytest.mark.parametrize("wrong", ["api=0", "api=65", "redis=2", "api", "api=-1", "api=x"])
def test_a_scale_that_makes_no_sense_changes_nothing(running, wrong: str):
    appliance, _ = running
    before = pids(appliance)
    assert appliance.cli("scale", wrong).returncode in (2, 65)
    assert pids(appliance) == before


def test_a_drained_appliance_sends_its_clients_away_and_takes_no_jobs(running):
    appliance, admin = running
    drained = appliance.cli("drain")
    assert drained.returncode == 0, drained.stderr
    try:
        assert admin.get("/health/ready").status == 503
        answer = admin.get("/tasks")
        assert answer.status == 200
        assert answer.headers["connection"] == "close"
        status = appliance.status()
        assert status["state"] == "drained"
        assert "novapulse drain --undo" in status["next"]
        assert appliance.cli("check", "ready").returncode == 1
        states = {row["name"]: row["state"] for row in status["processes"]}
        assert states["webhook-1"] == states["email-1"] == "stopped"
        # A new incarnation knows it too.
        assert appliance.cli("restart", "api").returncode == 0
        assert admin.get("/health/ready").status == 503
    finally:
        assert appliance.cli("drain", "--undo").returncode == 0
    assert admin.get("/health/ready").status == 200
    assert appliance.status()["state"] == "ready"
    assert appliance.cli("check", "ready").returncode == 0


def test_slow_requests_are_answered_by_the_processes_that_leave(running):
    """Each takes longer than what is between the two drains, so one is met in flight for sure."""
    appliance, admin = running
    slow = SlowUploads(
        *(appliance.address, "/api/v1/tasks"),
        headers=admin.headers,
        connections=16,
        body=json.dumps({"title": "slow but sure"}).encode(),
        seconds=DRAIN_SECONDS - 1.5,
    )
    with slow:
        time.sleep(1)
        assert appliance.cli("restart", "api").returncode == 0
        slow.wait_for_more(16)
    print(slow.summary())
    assert slow.faults == []
    assert set(slow.statuses) == {201}


def _begin(appliance: Appliance, headers: dict[str, str], body: bytes) -> socket.socket:
    """A request whose body stays unfinished."""
    host, _, port = appliance.address.rpartition(":")
    connection = socket.create_connection((host, int(port)), timeout=20)
    head = (
        f"POST /api/v1/tasks HTTP/1.1\r\nHost: {appliance.address}\r\n"
        f"Authorization: {headers['Authorization']}\r\n"
        f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    connection.sendall(head.encode() + body[:5])
    return connection


def test_a_request_that_never_ends_is_cut_off_a_second_after_the_deadline(running):
    """On every Python that runs it: some end a server without waiting, some wait for ever."""
    appliance, admin = running
    connections = [_begin(appliance, admin.headers, b"x" * 100) for _ in range(16)]
    time.sleep(0.5)
    restarting = subprocess.Popen(
        [PROGRAM, "restart", "api", "--root", appliance.root], stderr=subprocess.DEVNULL
    )
    seconds = leaving_seconds(appliance, until=restarting)
    for connection in connections:
        connection.close()
    print(f"processes with stuck requests left in {seconds}")
    assert restarting.returncode == 0
    assert len(seconds) == 2
    # One of the two may have taken all of them; it ends no sooner and hardly later.
    assert max(seconds) > DRAIN_SECONDS - 0.5
    assert max(seconds) < DRAIN_SECONDS + 1 + 0.5
    assert admin.get("/tasks").status == 200


def leaving_seconds(appliance: Appliance, *, until: subprocess.Popen[bytes]) -> list[float]:
    """How long each API process was there from its order to leave to its end."""
    control = ControlClient(appliance.root / "run" / "control.sock")
    began: dict[int, float] = {}
    ended: dict[int, float] = {}
    while until.poll() is None:
        rows, now = control.status()["processes"], time.monotonic()
        leaving = {row["pid"] for row in rows if (row["role"], row["part"]) == ("api", "leaving")}
        for pid in leaving:
            began.setdefault(pid, now)
        for pid in began.keys() - leaving:
            ended.setdefault(pid, now)
        time.sleep(0.02)
    now = time.monotonic()
    return [round(ended.get(pid, now) - at, 2) for pid, at in began.items()]


def test_roles_say_what_runs_here(appliance: Appliance):
    appliance.launch("--roles", "scheduler,consumer:webhook")
    appliance.wait_for(lambda: appliance.cli("check", "ready").returncode == 0, seconds=30)
    always = ["fork-server", "migrate", "mongod", "redis"]
    assert sorted(pids(appliance)) == [*always, "scheduler", "webhook-1"]
    assert appliance.cli("run", "--roles", "boss").returncode == 2
    assert appliance.stop() == 0


def test_worn_processes_are_replaced(appliance: Appliance):
    config = appliance.root / "config.toml"
    config.write_text(
        OPEN_CONFIG + "\n[server]\nprocesses = 1\n\n[supervisor]\nmax_requests = 200\n"
    )
    appliance.start()
    admin = appliance.found_company()
    before = pids(appliance)["api-1"]
    load = KeepAliveLoad(
        appliance.address, "/api/v1/tasks?limit=1", headers=admin.headers, connections=4
    )
    with load:
        appliance.wait_for(lambda: pids(appliance)["api-1"] != before, seconds=40)
    print(load.summary())
    assert load.faults == []
    assert set(load.statuses) == {200}
    assert "answered" in (appliance.root / "log" / "supervisor.log").read_text()


def test_a_socket_units_listener_is_taken_over(appliance: Appliance):
    with socket.create_server(("127.0.0.1", 0)) as inherited:
        port = inherited.getsockname()[1]
        shim = (
            "import os, sys; os.dup2(int(sys.argv[1]), 3);"
            "os.environ.update(LISTEN_PID=str(os.getpid()), LISTEN_FDS='1');"
            "os.execv(sys.argv[2], sys.argv[2:])"
        )
        fd = str(inherited.fileno())
        run = [str(PROGRAM), "run", "--root", str(appliance.root)]
        with subprocess.Popen(
            [sys.executable, "-c", shim, fd, *run],
            pass_fds=[inherited.fileno()],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        ) as main:
            try:
                assert main.stdout is not None
                line = main.stdout.readline().decode()
                assert f"is ready at http://127.0.0.1:{port}" in line
                assert appliance.cli("reload").returncode == 0
                assert appliance.cli("check", "ready").returncode == 0
            finally:
                main.terminate()
                main.wait(30)
    assert main.returncode == 0
