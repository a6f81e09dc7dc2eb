"""A Redis with two replicas and three Sentinels on loopback, each with a password.

The ports come from the kernel; who is spoken to has proved on a socket of its own directory
that it is the process that was started.
"""

import secrets
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from redis import Redis
from redis.exceptions import RedisError

from novapulse.stores.find import clean_environment, find_store
from novapulse.stores.process import StoreProcess
from novapulse.stores.redis import judge_ping
from tests.support.replicas import free_port
from tests.support.stores import RunningStore, temporary_layout

SERVICE = "nova"
_DOWN_MILLISECONDS = 1_000
_WHOLE_SECONDS = 30.0
_PASSWORD, _SENTINEL_PASSWORD = secrets.token_hex(16), secrets.token_hex(16)
_SERVER = """\
bind 127.0.0.1
port {port}
unixsocket {directory}/sock
dir {directory}
save ""
requirepass {password}
"""
_REPLICATED = """\
masterauth {password}
maxmemory-policy noeviction
"""
_SENTINEL = """\
sentinel monitor {service} 127.0.0.1 {master} 2
sentinel auth-pass {service} {password}
sentinel sentinel-pass {own_password}
sentinel down-after-milliseconds {service} {down}
sentinel failover-timeout {service} 5000
"""


class Node:
    """A server or a Sentinel: start, pause, kill and ask it."""

    def __init__(self, directory: Path, more: str, *, password: str, is_sentinel: bool) -> None:
        directory.mkdir(parents=True)
        self.port = free_port()
        self.address = f"127.0.0.1:{self.port}"
        self._password = password
        config = directory / "redis.conf"
        given = _SERVER.format(port=self.port, directory=directory, password=password)
        config.write_text(given + more)
        kind = ("--sentinel",) if is_sentinel else ()
        process = StoreProcess(
            argv=(str(find_store("redis-server")), str(config), *kind),
            env=clean_environment(),
            cwd=directory,
            socket_path=directory / "sock",
            probe_request=f"AUTH {password}\r\nPING\r\n".encode(),
            probe_verdict=judge_ping,
        )
        self.store = RunningStore(process, directory / "log")

    def ask(self, *words: str) -> Any:
        """One command's answer; None when it does not answer."""
        try:
            with Redis(
                port=self.port,
                password=self._password,
                socket_timeout=2,
                socket_connect_timeout=2,
                retry=None,
                decode_responses=True,
            ) as client:
                return client.execute_command(*words)
        except (RedisError, OSError):
            return None


class WatchedRedis:
    """Three servers, one of which is the master, and three who watch them."""

    def __init__(self, directory: Path) -> None:
        replicated = _REPLICATED.format(password=_PASSWORD)
        self.servers: list[Node] = []
        for number in range(3):
            follows = f"replicaof 127.0.0.1 {self.servers[0].port}\n" if number else ""
            place = directory / f"s{number}"
            self.servers.append(
                Node(place, replicated + follows, password=_PASSWORD, is_sentinel=False)
            )
        told = _SENTINEL.format(
            service=SERVICE,
            master=self.servers[0].port,
            password=_PASSWORD,
            own_password=_SENTINEL_PASSWORD,
            down=_DOWN_MILLISECONDS,
        )
        self.sentinels = [
            Node(directory / f"w{number}", told, password=_SENTINEL_PASSWORD, is_sentinel=True)
            for number in range(3)
        ]

    @property
    def url(self) -> str:
        places = ",".join(one.address for one in self.sentinels)
        own = f"sentinel_password={_SENTINEL_PASSWORD}"
        return f"redis+sentinel://:{_PASSWORD}@{places}/{SERVICE}?{own}"

    def start(self) -> None:
        for node in (*self.servers, *self.sentinels):
            node.store.start()
        until(self.is_whole, "the Sentinels do not know each other and both replicas")

    def is_whole(self) -> bool:
        """Every Sentinel that answers knows the two others, and a master with two replicas."""
        for sentinel in self.sentinels:
            said = sentinel.ask("SENTINEL", "MASTER", SERVICE)
            if said is None or (said["num-slaves"], said["num-other-sentinels"]) != ("2", "2"):
                return False
        master = self.master()
        return all(one is master or _follows(one) for one in self.servers)

    def master(self) -> Node:
        """By the word of the first Sentinel that answers."""
        for sentinel in self.sentinels:
            if found := sentinel.ask("SENTINEL", "GET-MASTER-ADDR-BY-NAME", SERVICE):
                return next(one for one in self.servers if one.port == int(found[1]))
        raise AssertionError("no Sentinel answers")

    def kill(self) -> None:
        for node in (*self.sentinels, *self.servers):
            node.store.kill()


def _follows(server: Node) -> bool:
    said = server.ask("INFO", "replication")
    return said is not None and said.get("master_link_status") == "up"


def until(condition: Any, complaint: str, *, seconds: float = _WHOLE_SECONDS) -> float:
    """How long it took."""
    began = time.monotonic()
    while not condition():
        if time.monotonic() > began + seconds:
            pytest.fail(f"{complaint} within {seconds:g} s")
        time.sleep(0.05)
    return time.monotonic() - began


@contextmanager
def watched_redis() -> Iterator[WatchedRedis]:
    """Started, and gone afterwards, whatever happens."""
    with temporary_layout() as layout:
        redis = WatchedRedis(layout.state.parent)
        try:
            redis.start()
            yield redis
        finally:
            redis.kill()
