"""The embedded mongod: its first start, its later ones, and what is closed."""

import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from pymongo import MongoClient, WriteConcern
from pymongo.errors import OperationFailure

from novapulse.core.errors import ConfigurationInvalid, Unavailable
from novapulse.stores import bootstrap
from novapulse.stores.addresses import mongo_uri
from novapulse.stores.bootstrap import bootstrap_mongod
from novapulse.stores.find import find_store
from novapulse.stores.layout import MongoRole, StoreLayout, prepare_layout
from novapulse.stores.mongod import mongod_process
from tests.support.stores import RunningStore, RunningStores

Client = MongoClient[dict[str, Any]]
Start = Callable[[StoreLayout], RunningStore]


def connect(layout: StoreLayout, role: MongoRole | None) -> Client:
    return MongoClient(mongo_uri(layout, role), timeoutMS=5000)


def count_writes(client: Client) -> int:
    """Write one durable document; how many there are then."""
    rows = client.novapulse.get_collection("rows", write_concern=WriteConcern("majority", j=True))
    rows.insert_one({})
    return rows.count_documents({})


@pytest.fixture
def start(layout: StoreLayout, request: pytest.FixtureRequest) -> Start:
    """Start a mongod alone, without its bootstrap; it is gone after the test."""

    def run(where: StoreLayout) -> RunningStore:
        prepare_layout(where)
        process = mongod_process(where, find_store("mongod"), cache_gb=0.25)
        store = RunningStore(process, layout.state / "mongod.log")
        request.addfinalizer(store.kill)
        store.start()
        return store

    return run


def test_after_the_bootstrap_transactions_work(layout: StoreLayout, start: Start):
    start(layout)
    bootstrap_mongod(layout)
    with connect(layout, MongoRole.API) as client, client.start_session() as session:
        session.with_transaction(lambda tx: client.novapulse.rows.insert_one({"a": 1}, session=tx))
        assert client.novapulse.rows.count_documents({}) == 1


# Kills itself in the middle of a transaction that has written to the row.
_KILLED = """
import os, signal, sys
from pymongo import MongoClient
client = MongoClient(sys.argv[1])
session = client.start_session()
session.start_transaction()
client.novapulse.rows.update_one({"_id": "lease"}, {"$set": {"owner": "dead"}}, session=session)
os.kill(os.getpid(), signal.SIGKILL)
"""


def test_what_a_killed_process_had_begun_to_write_is_soon_free(stores: RunningStores):
    with MongoClient[dict[str, Any]](stores.mongo_uri, timeoutMS=20_000) as client:
        rows = client.novapulse.rows
        rows.insert_one({"_id": "lease", "owner": "nobody"})
        argv = [sys.executable, "-c", _KILLED, stores.mongo_uri]
        assert subprocess.run(argv, timeout=20, check=False).returncode == -9
        found = rows.find_one_and_update({"_id": "lease"}, {"$set": {"owner": "heir"}})
        assert found == {"_id": "lease", "owner": "nobody"}


def test_a_second_bootstrap_changes_nothing(layout: StoreLayout, start: Start):
    start(layout)
    bootstrap_mongod(layout)
    with connect(layout, MongoRole.ADMIN) as client:
        before = client.admin.command("usersInfo", 1, showCredentials=False)["users"]
        config = client.admin.command("replSetGetConfig")["config"]
        bootstrap_mongod(layout)
        assert client.admin.command("usersInfo", 1)["users"] == before
        assert client.admin.command("replSetGetConfig")["config"] == config


@pytest.mark.parametrize("commands", range(1, 9))
def test_a_bootstrap_that_was_killed_anywhere_is_finished_by_the_next(
    layout: StoreLayout, start: Start, monkeypatch: pytest.MonkeyPatch, commands: int
):
    class PowerCutError(Exception):
        pass

    done = []
    changes = {"replSetInitiate", "createUser"}

    class Fragile(bootstrap.MongoClient[dict[str, Any]]):
        """Goes away right after the n-th command that changed something."""

        @property
        def admin(self) -> Any:
            database = self["admin"]
            original = database.command

            def command(what: Any, *args: Any, **kwargs: Any) -> Any:
                answer = original(what, *args, **kwargs)
                if isinstance(what, dict) and changes & set(what):
                    done.append(what)
                    if len(done) == commands:
                        raise PowerCutError
                return answer

            database.command = command
            return database

    store = start(layout)
    with monkeypatch.context() as patch:
        patch.setattr(bootstrap, "MongoClient", Fragile)
        try:
            bootstrap_mongod(layout)
        except PowerCutError:
            store.kill()
            store.start()
    bootstrap_mongod(layout)
    # One for the replica set, one for each user: the highest numbers here never strike.
    assert len(done) == min(commands, 1 + len(MongoRole))
    for role in MongoRole:
        with connect(layout, role) as client:
            client.admin.command("ping")


@pytest.mark.parametrize("has_users", [False, True])
def test_data_that_was_moved_is_taken_over_at_its_new_place(
    layout: StoreLayout, start: Start, monkeypatch: pytest.MonkeyPatch, has_users: bool
):
    store = start(layout)
    if has_users:
        bootstrap_mongod(layout)
        with connect(layout, MongoRole.API) as client:
            count_writes(client)
    else:
        with connect(layout, None) as client:
            bootstrap._become_primary(client, layout, float("inf"))
    store.stop()
    moved = StoreLayout(state=layout.state, sockets=layout.sockets.with_name("elsewhere"))
    shutil.rmtree(layout.sockets)
    start(moved)
    bootstrap_mongod(moved)
    with connect(moved, MongoRole.API) as client:
        assert count_writes(client) == 1 + has_users
    with connect(moved, MongoRole.ADMIN) as client:
        config = client.admin.command("replSetGetConfig")["config"]
        assert [member["host"] for member in config["members"]] == [str(moved.mongod_socket)]


def test_a_kill_leaves_nothing_that_stops_the_next_start(private_stores: RunningStores):
    mongod, layout = private_stores.mongod, private_stores.layout
    with connect(layout, MongoRole.API) as client:
        count_writes(client)
    mongod.kill()
    assert layout.mongod_socket.exists()
    assert (layout.mongod_data / "mongod.lock").stat().st_size
    mongod.start()
    bootstrap_mongod(layout)
    with connect(layout, MongoRole.API) as client:
        assert count_writes(client) == 2


def test_a_new_password_file_becomes_the_password(layout: StoreLayout, start: Start):
    start(layout)
    bootstrap_mongod(layout)
    layout.mongo_password_file(MongoRole.WORKER).write_bytes(b"another one")
    bootstrap_mongod(layout)
    with connect(layout, MongoRole.WORKER) as client:
        assert count_writes(client) == 1


def test_secrets_of_another_database_are_a_matter_of_configuration(
    layout: StoreLayout, start: Start
):
    start(layout)
    bootstrap_mongod(layout)
    layout.mongo_password_file(MongoRole.ADMIN).write_bytes(b"from another backup")
    with pytest.raises(ConfigurationInvalid, match="does not know the password"):
        bootstrap_mongod(layout)


def test_without_mongod_the_bootstrap_gives_up_in_time(layout: StoreLayout):
    prepare_layout(layout)
    with pytest.raises(Unavailable, match="does not answer"):
        bootstrap_mongod(layout, timeout_seconds=0.1)


def sockets_of(pid: int) -> set[str]:
    """Lines of the kernel's tables for the process's listening TCP and all its unix sockets."""
    mine = set()
    for entry in Path(f"/proc/{pid}/fd").iterdir():
        try:
            target = str(entry.readlink())
        except FileNotFoundError:
            continue
        if target.startswith("socket:["):
            mine.add(target.removeprefix("socket:[").removesuffix("]"))
    found = set()
    for table, column in (("tcp", 9), ("tcp6", 9), ("udp", 9), ("unix", 6)):
        for line in Path(f"/proc/net/{table}").read_text().splitlines()[1:]:
            fields = line.split()
            if fields[column] in mine and (table != "unix" or len(fields) > 7):
                found.add(fields[7] if table == "unix" else table)
    return found


def test_the_stores_can_be_reached_over_their_own_sockets_alone(stores: RunningStores):
    layout = stores.layout
    assert sockets_of(stores.mongod.pid) == {str(layout.mongod_socket)}
    assert sockets_of(stores.redis.pid) == {str(layout.redis_socket)}
    for path in (layout.mongod_socket, layout.redis_socket):
        assert path.stat().st_mode & 0o777 == 0o700


def denied(action: Callable[[], object]) -> bool:
    try:
        action()
    except OperationFailure as error:
        return error.code == 13
    return False


class TestRights:
    """Each user may do its own work and nothing else."""

    def test_nobody_gets_nothing(self, stores: RunningStores):
        with connect(stores.layout, None) as client:
            assert denied(client.novapulse.rows.find_one)
            assert denied(lambda: client.admin.command("createUser", "x", pwd="x", roles=["root"]))
            assert denied(lambda: client.admin.command("shutdown"))

    @pytest.mark.parametrize("role", [MongoRole.API, MongoRole.WORKER])
    def test_api_and_worker_use_their_database_only(self, stores: RunningStores, role: MongoRole):
        with connect(stores.layout, role) as client:
            client.novapulse.rights.insert_one({})
            client.novapulse.rights.find_one()
            assert denied(client.other.rights.find_one)
            assert denied(lambda: client.admin.command("usersInfo", 1))
            assert denied(lambda: client.admin.command("shutdown"))
            assert denied(lambda: client.novapulse.command("dropDatabase"))

    def test_migrations_make_indexes_and_change_collections(self, stores: RunningStores):
        with connect(stores.layout, MongoRole.MIGRATE) as client:
            client.novapulse.migrated.create_index("a")
            client.novapulse.command("collMod", "migrated", validator={})
            client.novapulse.drop_collection("migrated")
            assert denied(lambda: client.other.rights.insert_one({}))

    def test_backups_read_everything_and_write_nothing(self, stores: RunningStores):
        with connect(stores.layout, MongoRole.BACKUP) as client:
            client.novapulse.rights.find_one()
            client.local["oplog.rs"].find_one()
            assert denied(lambda: client.novapulse.rights.insert_one({}))

    def test_the_administrator_reads_no_data(self, stores: RunningStores):
        with connect(stores.layout, MongoRole.ADMIN) as client:
            assert denied(client.novapulse.rights.find_one)

    def test_javascript_is_off(self, stores: RunningStores):
        with (
            connect(stores.layout, MongoRole.API) as client,
            pytest.raises(OperationFailure, match="globalScriptEngine"),
        ):
            client.novapulse.rights.find_one({"$where": "true"})
