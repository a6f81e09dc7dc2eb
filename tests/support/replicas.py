"""A replica set of three on loopback, and a Redis with a password: what several appliances share.

The ports come from the kernel. A member answers only for itself: before it is spoken to, the
process behind its port has proved that it is the one that was started.
"""

import atexit
import random
import secrets
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from pymongo import MongoClient
from pymongo.errors import PyMongoError

from novapulse.stores.addresses import redis_url
from novapulse.stores.find import find_store
from novapulse.stores.layout import StoreLayout, prepare_layout
from novapulse.stores.mongod import HELLO, judge_hello, mongod_process
from novapulse.stores.process import StoreProcess
from novapulse.stores.redis import prepare_redis, redis_process
from tests.support.stores import RunningStore, temporary_layout

SET_NAME = "tests"
MEMBERS = 3
# The default of ten seconds would be most of every test; two are enough on loopback.
ELECTION_MILLISECONDS = 2_000
_ELECTED_SECONDS = 90.0  # patience: a busy machine is slow to start a killed member
_WHOLE = ["PRIMARY", "SECONDARY", "SECONDARY"]
_PASSWORD = secrets.token_hex(16)


def free_port() -> int:
    """A port that nobody has, and that no outgoing connection gets before it is bound."""
    lowest = int(Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()[0])
    for port in random.SystemRandom().sample(range(10_000, lowest), 100):
        with socket.socket() as probe, suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port
    raise AssertionError("no port is free")


class Member:
    """One mongod of the set; start, kill and ask it."""

    def __init__(self, directory: Path, key: Path, program: Path) -> None:
        directory.mkdir()
        self.port = free_port()
        self.address = f"127.0.0.1:{self.port}"
        self.store = RunningStore(self._process(directory, key, program), directory / "log")

    def _process(self, directory: Path, key: Path, program: Path) -> StoreProcess:
        layout = StoreLayout(state=directory / "state", sockets=directory / "run")
        prepare_layout(layout)
        embedded = mongod_process(layout, program, cache_gb=0.25)
        argv = (
            str(program),
            *("--dbpath", str(layout.mongod_data)),
            *("--bind_ip", "127.0.0.1", "--port", str(self.port)),
            *("--unixSocketPrefix", str(layout.sockets)),
            *("--replSet", SET_NAME, "--keyFile", str(key)),
            *("--wiredTigerCacheSizeGB", "0.25", "--oplogSize", "990", "--quiet"),
            *("--setParameter", "diagnosticDataCollectionEnabled=false"),
            *("--setParameter", "transactionLifetimeLimitSeconds=6"),
        )
        return replace(
            embedded,
            argv=argv,
            socket_path=layout.sockets / f"mongodb-{self.port}.sock",
            probe_request=HELLO,
            probe_verdict=judge_hello,
        )

    def client(self, **options: Any) -> MongoClient[dict[str, Any]]:
        """To this member alone, as the administrator."""
        uri = f"mongodb://tests:{_PASSWORD}@{self.address}/?authSource=admin&directConnection=true"
        return MongoClient(uri, timeoutMS=5_000, **options)

    def reads(self) -> int:
        """How many reads of clients it has answered since it started."""
        with self.client() as client:
            count = client.admin.command("serverStatus")["opcounters"]
            return int(count["query"]) + int(count["getmore"])


class ReplicaSet:
    """Three members with one user, who may do everything."""

    def __init__(self, directory: Path) -> None:
        key = directory / "key"
        key.write_text(secrets.token_hex(32))
        key.chmod(0o600)
        program = find_store("mongod")
        self.members = [Member(directory / f"m{n}", key, program) for n in range(MEMBERS)]

    @property
    def uri(self) -> str:
        hosts = ",".join(member.address for member in self.members)
        return f"mongodb://tests:{_PASSWORD}@{hosts}/?authSource=admin&replicaSet={SET_NAME}"

    def client(self) -> MongoClient[dict[str, Any]]:
        return MongoClient(self.uri, timeoutMS=10_000, tz_aware=True)

    def start(self) -> None:
        for member in self.members:
            member.store.spawn()
        for member in self.members:
            member.store.wait_until_ready()
        first = self.members[0]
        members = [{"_id": n, "host": one.address} for n, one in enumerate(self.members)]
        settings = {"electionTimeoutMillis": ELECTION_MILLISECONDS}
        config = {"_id": SET_NAME, "members": members, "settings": settings}
        nobody = f"mongodb://{first.address}/?directConnection=true"
        with MongoClient[dict[str, Any]](nobody, timeoutMS=20_000) as client:
            client.admin.command("replSetInitiate", config)
            # It wins: the others have nothing yet. And only there a local nobody may make a user.
            _until(lambda: client.admin.command("hello")["isWritablePrimary"], "no primary")
            client.admin.command("createUser", "tests", pwd=_PASSWORD, roles=["root"])
        self.wait_until_whole()

    def wait_until_whole(self) -> None:
        """Until there is a primary and everybody else follows it, by each one's own word."""
        _until(lambda: sorted(map(_state, self.members)) == _WHOLE, "not whole")

    def primary(self) -> Member:
        """The one that writes go to; waits for an election that is under way."""
        found: list[Member] = []

        def look() -> bool:
            found[:] = [member for member in self.members if _is_primary(member)]
            return len(found) == 1

        _until(look, "no primary")
        return found[0]

    def kill(self) -> None:
        for member in self.members:
            member.store.kill()


def _state(member: Member) -> str:
    """What it says of itself; nothing while it does not yet know its users."""
    try:
        with member.client(serverSelectionTimeoutMS=500) as client:
            status = client.admin.command("replSetGetStatus")
    except PyMongoError:
        return ""
    return next(str(row["stateStr"]) for row in status["members"] if row.get("self"))


def _is_primary(member: Member) -> bool:
    try:
        with member.client(serverSelectionTimeoutMS=500) as client:
            return bool(client.admin.command("hello")["isWritablePrimary"])
    except PyMongoError:
        return False


def _until(condition: Any, complaint: str) -> None:
    deadline = time.monotonic() + _ELECTED_SECONDS
    while not condition():
        if time.monotonic() > deadline:
            pytest.fail(f"{complaint} within {_ELECTED_SECONDS:g} s")
        time.sleep(0.05)


class SharedStores:
    """The set and one Redis, with the lines of a configuration that use both."""

    def __init__(self, directory: Path) -> None:
        layout = StoreLayout(state=directory / "redis", sockets=directory / "redis-run")
        prepare_layout(layout)
        program = find_store("redis-server")
        prepare_redis(layout, program)
        self.replicas = ReplicaSet(directory)
        self.redis = RunningStore(redis_process(layout, program), directory / "redis.log")
        self._layout = layout

    def config(self, database: str) -> str:
        return (
            f'[mongo]\nuri = "{self.replicas.uri}"\ndatabase = "{database}"\n\n'
            f'[redis]\nurl = "{redis_url(self._layout)}"\n'
        )

    def start(self) -> None:
        self.redis.start()
        self.replicas.start()

    def kill(self) -> None:
        self.replicas.kill()
        self.redis.kill()


@contextmanager
def shared_stores() -> Iterator[SharedStores]:
    """Started, and gone afterwards, whatever happens."""
    with temporary_layout() as layout:
        directory = layout.state.parent
        both = SharedStores(directory)
        atexit.register(both.kill)
        try:
            both.start()
            yield both
        finally:
            both.kill()
            atexit.unregister(both.kill)
