"""The embedded redis-server: rights, restarts, and a damaged append-only file."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from redis import Redis
from redis.backoff import NoBackoff
from redis.exceptions import AuthenticationError, NoPermissionError
from redis.retry import Retry

from novapulse.stores.addresses import redis_url
from novapulse.stores.find import find_store
from novapulse.stores.layout import StoreLayout, prepare_layout
from novapulse.stores.process import find_server
from novapulse.stores.redis import prepare_redis, redis_process
from tests.support.stores import RunningStore, RunningStores


class OwnRedis:
    """One redis-server that a test starts, kills and damages."""

    def __init__(self, layout: StoreLayout) -> None:
        prepare_layout(layout)
        self.layout = layout
        self.program = find_store("redis-server")
        self.store = RunningStore(redis_process(layout, self.program), layout.state / "redis.log")

    @property
    def aof(self) -> Path:
        """The file that is appended to: alone up to Redis 6, with a manifest from 7 on."""
        parts = sorted(self.layout.redis_data.glob("appendonlydir/*.incr.aof"))
        return parts[-1] if parts else self.layout.redis_data / "appendonly.aof"

    def start(self) -> tuple[Path, ...]:
        moved = prepare_redis(self.layout, self.program)
        self.store.start()
        return moved

    def client(self) -> "Redis":
        return Redis.from_url(redis_url(self.layout), decode_responses=True)

    def fill(self, count: int = 100) -> None:
        with self.client() as client:
            for number in range(count):
                client.set(f"key:{number}", "value")

    def size(self) -> int:
        with self.client() as client:
            return int(client.dbsize())


@pytest.fixture
def own(layout: StoreLayout) -> Iterator[OwnRedis]:
    redis = OwnRedis(layout)
    try:
        yield redis
    finally:
        redis.store.kill()


def test_what_was_written_survives_a_restart(own: OwnRedis):
    own.start()
    own.fill()
    assert own.store.stop() == 0
    assert own.start() == ()
    assert own.size() == 100


def test_a_kill_leaves_nothing_that_stops_the_next_start(own: OwnRedis):
    own.start()
    own.store.kill()
    assert own.layout.redis_socket.exists()
    assert own.start() == ()


def test_a_cut_off_end_is_mended_and_the_rest_kept(own: OwnRedis):
    own.start()
    own.fill()
    own.store.kill()
    own.aof.write_bytes(own.aof.read_bytes()[:-7])
    assert own.start() == ()
    assert own.size() == 99


DAMAGES = {
    "overwritten in the middle": lambda data: data[:500] + b"\xff" * 64 + data[564:],
    "not an append-only file": lambda data: b"\0" * len(data),
    # Its structure is whole, only the command does not exist.
    "one byte flipped": lambda data: data.replace(b"SET", b"SEU", 1),
    "a broken snapshot in front": lambda data: b"REDIS0009\xfa\x09nonsense" + data,
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_file_is_kept_aside_and_redis_starts_empty(own: OwnRedis, damage: str):
    own.start()
    own.fill()
    own.store.stop()
    aof, damaged = own.aof, DAMAGES[damage](own.aof.read_bytes())
    aof.write_bytes(damaged)
    (moved,) = own.start()
    assert moved.name.startswith(("appendonly.aof.corrupt-", "appendonlydir.corrupt-"))
    kept = moved / aof.name if moved.is_dir() else moved
    assert kept.read_bytes() == damaged
    assert own.size() == 0
    own.fill(3)
    own.store.stop()
    assert own.start() == ()
    assert own.size() == 3


def test_a_sound_file_is_not_blamed_for_another_fault(own: OwnRedis):
    own.start()
    own.fill()
    own.store.stop()
    before = own.aof.read_bytes()
    assert prepare_redis(own.layout, Path("/bin/false")) == ()
    assert own.aof.read_bytes() == before


def test_the_trial_leaves_nothing_behind(own: OwnRedis):
    own.start()
    own.fill()
    own.store.stop()
    before = sorted(own.layout.redis_data.rglob("*"))
    prepare_redis(own.layout, own.program)
    assert [entry.name for entry in own.layout.sockets.iterdir()] == ["redis.conf"]
    assert sorted(own.layout.redis_data.rglob("*")) == before


def test_the_configuration_is_private_and_holds_no_password(own: OwnRedis):
    own.start()
    assert own.layout.redis_config.stat().st_mode & 0o777 == 0o600
    assert own.layout.redis_password_file.read_text() not in own.layout.redis_config.read_text()


def test_a_path_with_quotes_and_spaces_does(layout: StoreLayout):
    odd = StoreLayout(state=layout.state / 'a "b" \\ c', sockets=layout.state / 'd "e" f')
    redis = OwnRedis(odd)
    try:
        redis.start()
        redis.fill(1)
        redis.store.kill()
        assert redis.start() == ()
        assert redis.size() == 1
    finally:
        redis.store.kill()


class TestRights:
    """The program's user works on keys, scripts and channels; it does not run the server."""

    def test_nobody_gets_nothing(self, stores: RunningStores):
        with (
            Redis(
                unix_socket_path=str(stores.layout.redis_socket), retry=Retry(NoBackoff(), 0)
            ) as client,
            pytest.raises(AuthenticationError),
        ):
            client.ping()

    @pytest.mark.parametrize(
        "command",
        [
            *("FLUSHALL", "FLUSHDB", "SHUTDOWN", "SAVE", "BGREWRITEAOF", "KEYS *"),
            *("CONFIG GET dir", "CONFIG SET dir /tmp", "ACL LIST", "MODULE LIST", "MONITOR"),
            *("REPLICAOF NO ONE", "CLIENT KILL x", "CLIENT LIST", "SWAPDB 0 1"),
        ],
    )
    def test_the_program_may_not_run_the_server(self, stores: RunningStores, command: str):
        with Redis.from_url(stores.redis_url) as client, pytest.raises(NoPermissionError):
            client.execute_command(*command.split())

    def test_the_program_may_do_its_work(self, stores: RunningStores):
        with Redis.from_url(stores.redis_url, client_name="work") as client:
            assert client.eval("return redis.call('INCR', KEYS[1])", 1, "rights:n") == 1
            assert client.register_script("return redis.call('TIME')")()
            assert client.publish("rights", b"1") == 0
            assert client.info()["maxmemory_policy"] == "noeviction"
            with client.pubsub() as listener:
                listener.subscribe("rights")
                assert listener.get_message(timeout=5)["type"] == "subscribe"

    def test_the_probe_gets_through(self, stores: RunningStores):
        process = stores.redis.process
        for _ in range(2):
            pid = find_server(
                process.socket_path, process.probe_request, verdict=process.probe_verdict
            )
            assert pid == stores.redis.pid


def test_wiping_removes_every_key(stores: RunningStores):
    with Redis.from_url(stores.redis_url) as client:
        client.set("wiped", 1)
        stores.wipe_redis()
        assert client.dbsize() == 0
