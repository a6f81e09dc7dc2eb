"""Real stores for tests: one mongod and one redis-server, started here and stopped for sure.

`stores` is one pair for the whole session, with a database of its own for who asks
`database_name()`; `private_stores` is a pair that one test may stop, kill and damage.
"""

import atexit
import itertools
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import quote

import pytest
from pymongo import MongoClient
from redis import Redis

from novapulse.stores.addresses import mongo_uri, redis_url
from novapulse.stores.bootstrap import bootstrap_mongod
from novapulse.stores.find import StoreUnusable, check_runs, find_store
from novapulse.stores.layout import MongoRole, StoreLayout, prepare_layout
from novapulse.stores.mongod import mongod_process
from novapulse.stores.process import StoreProcess, find_server
from novapulse.stores.redis import prepare_redis, redis_process

START_SECONDS = 90.0
STOP_SECONDS = 20.0
_TESTS_PASSWORD = "tests"
_numbers = itertools.count(1)

# The kernel ends the store with us, also after SIGKILL. A start of its own for it, because
# code between fork and exec is not safe in a process with threads (pytest-timeout has one).
_DIES_WITH_US = """\
import ctypes, os, resource, sys
ctypes.CDLL(None).prctl(1, 9, 0, 0, 0)
hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))  # every database is many files
if os.getppid() != int(sys.argv[1]):
    sys.exit("the tests are gone already")
os.execv(sys.argv[2], sys.argv[2:])
"""


class RunningStore:
    """One store: start, stop, kill, pause, as often as a test likes."""

    def __init__(self, process: StoreProcess, log: Path) -> None:
        self.process = process
        self.log = log
        self._child: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        assert self._child is not None, "not started"
        return self._child.pid

    def spawn(self) -> None:
        """Start it without waiting until it serves."""
        assert self._child is None, "started already"
        shim = [sys.executable, "-I", "-S", "-c", _DIES_WITH_US, str(os.getpid())]
        with self.log.open("ab") as log:
            self._child = subprocess.Popen(
                [*shim, *self.process.argv],
                env=dict(self.process.env),
                cwd=self.process.cwd,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def wait_until_ready(self) -> None:
        """Return when the very process that we started answers its socket."""
        assert self._child is not None, "not started"
        process, deadline = self.process, time.monotonic() + START_SECONDS
        question = {"request": process.probe_request, "verdict": process.probe_verdict}
        while (pid := find_server(process.socket_path, **question)) is None:
            if self._child.poll() is not None or time.monotonic() > deadline:
                said = self.log.read_text(errors="replace")[-2000:]
                pytest.fail(f"{process.argv[0]} did not start:\n{said}")
            time.sleep(0.01)
        assert pid == self._child.pid, f"{process.socket_path} is served by pid {pid}, not by ours"

    def start(self) -> None:
        self.spawn()
        self.wait_until_ready()

    def pause(self) -> None:
        os.kill(self.pid, signal.SIGSTOP)

    def resume(self) -> None:
        os.kill(self.pid, signal.SIGCONT)

    def kill(self) -> None:
        """Like a power cut for this process."""
        self._end(signal.SIGKILL)

    def stop(self) -> int | None:
        """The exit code of an ordered stop; None when it was not running."""
        return self._end(signal.SIGTERM)

    def _end(self, number: signal.Signals) -> int | None:
        child, self._child = self._child, None
        if child is None:
            return None
        if child.poll() is None:
            child.send_signal(number)
            child.send_signal(signal.SIGCONT)
        try:
            return child.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            child.kill()
            return child.wait()


class RunningStores:
    """Both stores with their addresses; the user of `mongo_uri` may do everything."""

    def __init__(self, layout: StoreLayout) -> None:
        self.layout = layout
        prepare_layout(layout)
        self.redis_program = find_store("redis-server")
        mongod = mongod_process(layout, find_store("mongod"), cache_gb=0.25)
        self.mongod = RunningStore(mongod, layout.state / "mongod.log")
        self.redis = RunningStore(
            redis_process(layout, self.redis_program), layout.state / "redis.log"
        )

    @property
    def mongo_uri(self) -> str:
        host = quote(str(self.layout.mongod_socket), safe="")
        return f"mongodb://tests:{_TESTS_PASSWORD}@{host}/?authSource=admin&directConnection=true"

    @property
    def redis_url(self) -> str:
        return redis_url(self.layout)

    @staticmethod
    def database_name(label: str = "test") -> str:
        """A name that no other test or worker has; at most 38 bytes for a short `label`."""
        return f"{label[:16]}_{os.getpid()}_{next(_numbers)}"

    def start(self) -> None:
        prepare_redis(self.layout, self.redis_program)
        self.mongod.spawn()
        self.redis.start()
        self.mongod.wait_until_ready()
        bootstrap_mongod(self.layout)
        with MongoClient(mongo_uri(self.layout, MongoRole.ADMIN)) as client:
            users = client.admin.command("usersInfo", "tests")["users"]
            if not users:
                client.admin.command("createUser", "tests", pwd=_TESTS_PASSWORD, roles=["root"])

    def stop(self) -> None:
        self.redis.stop()
        self.mongod.stop()

    def kill(self) -> None:
        self.redis.kill()
        self.mongod.kill()

    def wipe_redis(self) -> None:
        """Remove every key; the program's own user may not flush."""
        with Redis.from_url(self.redis_url) as client:
            for key in client.scan_iter(count=1000):
                client.unlink(key)


@contextmanager
def temporary_layout() -> Iterator[StoreLayout]:
    """In a directory whose path is short enough for sockets."""
    directory = Path(tempfile.mkdtemp(prefix="np-test-", dir="/tmp"))
    try:
        yield StoreLayout(state=directory / "state", sockets=directory / "run")
    finally:
        shutil.rmtree(directory, ignore_errors=True)


@contextmanager
def running_stores(layout: StoreLayout) -> Iterator[RunningStores]:
    """Started stores that are gone afterwards, whatever happens; what they wrote stays."""
    both = RunningStores(layout)
    atexit.register(both.kill)
    try:
        both.start()
        yield both
    finally:
        both.kill()
        atexit.unregister(both.kill)


def require_stores() -> None:
    """The test fails where the stores' programs are not."""
    try:
        for name in ("mongod", "redis-server"):
            check_runs(find_store(name), name)
    except StoreUnusable as error:
        pytest.fail(f"{error.detail}: {error.hint} (`make setup` fetches both)", pytrace=False)


@pytest.fixture(scope="session")
def stores() -> Iterator[RunningStores]:
    """The session's pair; leave it running."""
    require_stores()
    with temporary_layout() as layout, running_stores(layout) as both:
        yield both


@pytest.fixture
def private_stores() -> Iterator[RunningStores]:
    """A pair for one test alone, to stop, kill and damage."""
    require_stores()
    with temporary_layout() as layout, running_stores(layout) as both:
        yield both
