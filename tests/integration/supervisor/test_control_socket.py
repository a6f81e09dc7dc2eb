import json
import socket
from pathlib import Path

import pytest

from supervisor.control import ControlClient, ControlError, NotRunning
from tests.support.supervised import Appliance

GARBAGE = (b"\xff\xfe\n", b"GET / HTTP/1.1\r\n\r\n", b"[]\n", b"x" * 300_000, b"{" * 70_000 + b"\n")


@pytest.fixture
def running(appliance: Appliance) -> Appliance:
    appliance.add("api", "serve")
    appliance.start()
    return appliance


def connect(appliance: Appliance) -> socket.socket:
    connection = socket.socket(socket.AF_UNIX)
    connection.settimeout(20)
    connection.connect(appliance.path("control.sock"))
    return connection


def test_only_the_supervisors_user_may_talk_to_it(running: Appliance):
    assert Path(running.path("control.sock")).stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("garbage", GARBAGE, ids=lambda data: repr(data[:8]))
def test_garbage_gets_an_error_and_the_end_of_the_line(running: Appliance, garbage: bytes):
    with connect(running) as connection:
        try:
            connection.sendall(garbage)
            said = connection.makefile().readline()
        except ConnectionError:  # it hung up while we were still talking
            said = ""
        if said:
            assert json.loads(said)["ok"] is False
    assert running.state() == "ready"


@pytest.mark.parametrize("request_", [{"verb": "dance"}, {"verb": 7}, {"verb": {}}, {}])
def test_an_unknown_verb_is_refused_by_name(running: Appliance, request_: dict[str, object]):
    with connect(running) as connection:
        connection.sendall(json.dumps(request_).encode() + b"\n")
        answer = json.loads(connection.makefile().readline())
    assert answer["ok"] is False
    assert "there are drain, restart, status, stop, subscribe" in answer["error"]
    with pytest.raises(ControlError, match="no such verb: 'dance'"):
        running.control.call("dance")


def test_several_requests_and_half_ones_share_a_connection(running: Appliance):
    with connect(running) as connection, connection.makefile() as answers:
        connection.sendall(b'{"verb":"status"}\n{"verb":"status"}\n{"verb":')
        assert [json.loads(answers.readline())["ok"] for _ in range(2)] == [True, True]
        connection.sendall(b'"status"}\n')
        assert json.loads(answers.readline())["state"] == "ready"


def test_clients_that_never_read_or_never_speak_disturb_nobody(running: Appliance):
    idle = [connect(running) for _ in range(10)]
    with connect(running) as greedy:
        greedy.setblocking(False)
        try:
            while True:
                greedy.send(b'{"verb":"status"}\n' * 1000)
        except (BlockingIOError, ConnectionError):
            pass  # full, or dropped because it does not read
        assert running.state() == "ready"
    for connection in idle:
        connection.close()
    assert running.stop() == 0


def test_nobody_listening_is_told_apart_from_a_refusal(tmp_path: Path):
    with pytest.raises(NotRunning):
        ControlClient(tmp_path / "control.sock").status()
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(tmp_path / "dead.sock"))
    with pytest.raises(NotRunning):
        ControlClient(tmp_path / "dead.sock").status()


def test_a_supervisor_that_does_not_answer_costs_no_more_than_the_timeout(tmp_path: Path):
    with socket.socket(socket.AF_UNIX) as mute:
        mute.bind(str(tmp_path / "mute.sock"))
        mute.listen()
        with pytest.raises(ControlError, match=r"no answer within 0\.1 s"):
            ControlClient(tmp_path / "mute.sock", timeout_seconds=0.1).status()
