"""The child's side alone: a socketpair stands for the supervisor."""

import asyncio
import json
import os
import socket
import subprocess
import sys
from collections.abc import Iterator

import pytest

from supervisor.child import Link, attend
from supervisor.listeners import bind_tcp, bind_unix
from tests.support.supervised import ENVIRONMENT


@pytest.fixture
def pair() -> Iterator[tuple[socket.socket, Link]]:
    ours, theirs = socket.socketpair()
    link = Link(theirs, instance="api-1.abc", beat_seconds=0.05)
    with ours:
        yield ours, link
    link.close()


def test_without_a_supervisor_there_is_no_link():
    assert Link.from_environ({"PATH": "/bin"}) is None


def test_what_the_supervisor_hands_down_is_taken_out_of_the_environment():
    ours, theirs = socket.socketpair()
    with ours, bind_tcp("127.0.0.1", 0) as http:
        fd = os.dup(http.fileno())
        environ = {
            "SUPERVISOR_LINK_FD": str(theirs.detach()),
            "SUPERVISOR_LISTEN_FDS": f"http={fd}",
            "SUPERVISOR_INSTANCE": "api-1.abc",
            "SUPERVISOR_BEAT_SECONDS": "0.5",
            "SUPERVISOR_RUN": "stays",
        }
        link = Link.from_environ(environ)
        assert link is not None
        assert environ == {"SUPERVISOR_RUN": "stays"}
        assert (link.instance, link.beat_seconds) == ("api-1.abc", 0.5)
        assert link.listeners["http"].getsockname() == http.getsockname()
        assert not os.get_inheritable(link.fileno())
        link.listeners["http"].close()
        link.close()


def test_readiness_names_the_incarnation(pair: tuple[socket.socket, Link]):
    ours, link = pair
    link.ready(version="1.2")
    link.say("warm")
    link.beat()
    assert [json.loads(line) for line in ours.recv(1000).splitlines()] == [
        {"ready": {"version": "1.2", "pid": os.getpid(), "instance": "api-1.abc"}},
        {"status": "warm"},
        {"beat": True},
    ]


def test_a_supervisor_that_stands_still_or_is_gone_disturbs_no_child(
    pair: tuple[socket.socket, Link],
):
    ours, link = pair
    for _ in range(10_000):
        link.beat()
    assert not link.is_gone()
    ours.close()
    link.beat()
    link.ready()
    assert link.is_gone()


def test_an_attended_link_beats_until_the_supervisor_is_gone(pair: tuple[socket.socket, Link]):
    ours, link = pair
    gone: list[bool] = []

    async def live() -> None:
        task = asyncio.create_task(attend(link, on_gone=lambda: gone.append(True)))
        await asyncio.sleep(0.3)
        assert ours.recv(1000).count(b"beat") >= 2
        ours.close()
        await asyncio.wait_for(task, 10)

    asyncio.run(live())
    assert gone == [True]


def test_a_port_that_somebody_holds_is_an_error_and_not_shared():
    with bind_tcp("127.0.0.1", 0) as first, pytest.raises(OSError, match="in use"):
        bind_tcp("127.0.0.1", first.getsockname()[1])


def test_a_unix_listener_replaces_what_a_former_run_left(tmp_path):
    path = tmp_path / "api.sock"
    bind_unix(path).close()
    with bind_unix(path, mode=0o660):
        assert path.stat().st_mode & 0o777 == 0o660


def test_sockets_of_a_socket_unit_are_taken_by_their_names():
    """As systemd hands them down: from descriptor 3 on, named, for exactly this pid."""
    code = (
        "import fcntl, os, sys\n"
        "from supervisor.listeners import systemd_listeners as take\n"
        "high = [fcntl.fcntl(int(fd), fcntl.F_DUPFD, 50) for fd in sys.argv[1:]]\n"
        "[os.dup2(fd, n) for n, fd in enumerate(high, 3)]\n"
        "found = take({**os.environ, 'LISTEN_PID': str(os.getpid())})\n"
        "print(sorted((name, one.getsockname()[1]) for name, one in found.items()))\n"
        "print(take({**os.environ, 'LISTEN_PID': '1'}))\n"
        "[one.close() for one in found.values()]"
    )
    with bind_tcp("127.0.0.1", 0) as first, bind_tcp("127.0.0.1", 0) as second:
        fds = (first.fileno(), second.fileno())
        said = subprocess.run(
            (sys.executable, "-c", code, *map(str, fds)),
            env={**ENVIRONMENT, "LISTEN_FDS": "2", "LISTEN_FDNAMES": "http:http"},
            pass_fds=fds,
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        ports = [("http", first.getsockname()[1]), ("http-1", second.getsockname()[1])]
        assert said.splitlines() == [str(ports), "{}"]
