"""The stores that tests start: they are ours, and they end with us."""

import subprocess
import sys
import time
from pathlib import Path

from redis import Redis

from tests.support.stores import RunningStores

_START_AND_WAIT = """\
import sys, time
from pathlib import Path
from novapulse.stores.layout import StoreLayout
from tests.support.stores import RunningStores

stores = RunningStores(StoreLayout(state=Path(sys.argv[1]), sockets=Path(sys.argv[2])))
stores.start()
print(stores.mongod.pid, stores.redis.pid, flush=True)
time.sleep(60)
"""


def is_alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except FileNotFoundError:
        return False


def test_stores_end_with_a_killed_test_run(layout):
    arguments = [sys.executable, "-c", _START_AND_WAIT, str(layout.state), str(layout.sockets)]
    with subprocess.Popen(arguments, stdout=subprocess.PIPE, text=True) as run:
        pids = [int(word) for word in run.stdout.readline().split()]
        assert len(pids) == 2
        assert all(is_alive(pid) for pid in pids)
        run.kill()
    deadline = time.monotonic() + 10
    while any(is_alive(pid) for pid in pids) and time.monotonic() < deadline:
        time.sleep(0.02)
    assert not any(is_alive(pid) for pid in pids)


def test_names_of_databases_are_never_the_same():
    names = {RunningStores.database_name("a label that is too long") for _ in range(100)}
    assert len(names) == 100
    assert all(len(name) <= 38 for name in names)


def test_a_paused_store_comes_back(private_stores: RunningStores):
    with Redis.from_url(private_stores.redis_url, socket_timeout=5) as client:
        private_stores.redis.pause()
        private_stores.redis.resume()
        assert client.ping()
    assert private_stores.redis.stop() == 0
    private_stores.redis.start()
