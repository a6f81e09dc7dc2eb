"""From a mongod that just listens to a primary that knows our users.

Every step looks at what is there first, so a bootstrap that was killed anywhere is
finished by the next one. Runs in a process of its own before the migrations.
"""

import hashlib
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from pymongo import MongoClient
from pymongo.errors import ConnectionFailure, OperationFailure, PyMongoError

from novapulse.core.errors import ConfigurationInvalid, Unavailable
from novapulse.core.secretfiles import read_secret_file
from novapulse.stores.addresses import mongo_uri
from novapulse.stores.layout import MongoRole, StoreLayout
from novapulse.stores.mongod import HELLO, REPLICA_SET, judge_hello
from novapulse.stores.process import find_server

Client = MongoClient[dict[str, Any]]

_PAUSE_SECONDS = 0.02
_CALL_SECONDS = 10

# Server error codes (src/mongo/base/error_codes.yml).
_UNAUTHORIZED = 13
_AUTHENTICATION_FAILED = 18
_ALREADY_INITIALIZED = 23
_INVALID_REPLICA_SET_CONFIG = 93
_NOT_YET_INITIALIZED = 94
_CONFIGURATION_IN_PROGRESS = 109
_USER_EXISTS = 51003
_ROLE_EXISTS = 51002

# Of the backup's user: to have former versions of rows kept for as long as it reads them.
_HISTORY_ROLE = "novapulse-history"


def bootstrap_mongod(layout: StoreLayout, *, timeout_seconds: float = 60.0) -> None:
    """Wait for mongod, make it a primary under its present path, and make our users.

    Raises:
        Unavailable: it did not get there in time.
        ConfigurationInvalid: it knows another password than the one in our secret file.
    """
    deadline = time.monotonic() + timeout_seconds
    _wait_for_answer(layout, deadline)
    try:
        with _claim(layout) as (client, is_new):
            _become_primary(client, layout, deadline)
            if is_new:
                _make_admin(client, layout)
        with _connect(mongo_uri(layout, MongoRole.ADMIN)) as client:
            _ensure_history_role(client)
            for role in MongoRole:
                _ensure_user(client, layout, role)
    except ConnectionFailure as error:
        raise Unavailable(f"mongod went away while it was being set up: {error}") from error
    except OperationFailure as error:
        if error.code in (_UNAUTHORIZED, _AUTHENTICATION_FAILED):
            raise _foreign(layout) from error
        raise Unavailable(f"mongod could not be set up: {error}") from error
    except PyMongoError as error:
        raise Unavailable(f"mongod could not be set up: {error}") from error


def _wait_for_answer(layout: StoreLayout, deadline: float) -> None:
    """The driver would rest for half a second after each try that came too early."""
    while find_server(layout.mongod_socket, HELLO, verdict=judge_hello) is None:
        _pause(deadline, f"mongod does not answer on {layout.mongod_socket}")


@contextmanager
def _connect(uri: str) -> Iterator[Client]:
    client: Client = MongoClient(uri, timeoutMS=_CALL_SECONDS * 1000)
    try:
        yield client
    finally:
        client.close()


@contextmanager
def _claim(layout: StoreLayout) -> Iterator[tuple[Client, bool]]:
    """A connection as administrator; on a new server that nobody may be yet, as nobody.

    mongod lets a local nobody set up the replica set and its first user, and
    nothing else, as long as there is no user.
    """
    with _connect(mongo_uri(layout, MongoRole.ADMIN)) as client:
        try:
            client.admin.command("ping")
        except OperationFailure as error:
            if error.code != _AUTHENTICATION_FAILED:
                raise
        else:
            yield client, False
            return
    with _connect(mongo_uri(layout, None)) as client:
        yield client, True


def _become_primary(client: Client, layout: StoreLayout, deadline: float) -> None:
    while True:
        hello = client.admin.command("hello")
        if hello.get("isWritablePrimary"):
            return
        if "setName" not in hello:
            _join(client, layout)
        _pause(deadline, "mongod does not become the primary of its replica set")


def _join(client: Client, layout: StoreLayout) -> None:
    """Make the node a member under its present path; no step hurts while it is still loading."""
    config = {"_id": REPLICA_SET, "members": [{"_id": 0, "host": str(layout.mongod_socket)}]}
    try:
        client.admin.command("replSetGetStatus")
    except OperationFailure as error:
        if error.code == _NOT_YET_INITIALIZED:
            _command_unless(client, {"replSetInitiate": config}, _ALREADY_INITIALIZED)
        elif error.code == _INVALID_REPLICA_SET_CONFIG:
            # The data was moved: its only member has the old place's socket for a host.
            forced = {"replSetReconfig": {**config, "version": 1}, "force": True}
            _command_unless(client, forced, _NOT_YET_INITIALIZED, _CONFIGURATION_IN_PROGRESS)
        else:
            raise


def _command_unless(client: Client, command: dict[str, Any], *harmless: int) -> None:
    try:
        client.admin.command(command)
    except OperationFailure as error:
        if error.code not in harmless:
            raise


def _make_admin(client: Client, layout: StoreLayout) -> None:
    command = {"createUser": MongoRole.ADMIN.user, **_definition(layout, MongoRole.ADMIN)}
    _command_unless(client, command, _USER_EXISTS)


def _ensure_history_role(client: Client) -> None:
    actions = ["setParameter", "getParameter"]
    privileges = [{"resource": {"cluster": True}, "actions": actions}]
    command = {"createRole": _HISTORY_ROLE, "privileges": privileges, "roles": []}
    _command_unless(client, command, _ROLE_EXISTS)


def _ensure_user(client: Client, layout: StoreLayout, role: MongoRole) -> None:
    """Make the user, or bring password and rights up to date; usually it only looks."""
    wanted = _definition(layout, role)
    found = client.admin.command("usersInfo", role.user)["users"]
    if not found:
        client.admin.command({"createUser": role.user, **wanted})
    elif found[0].get("customData") != wanted["customData"]:
        client.admin.command({"updateUser": role.user, **wanted})


def _definition(layout: StoreLayout, role: MongoRole) -> dict[str, Any]:
    """What createUser and updateUser take.

    The fingerprint tells whether anything differs without another login; the password
    has 256 random bits, so that its hash gives nothing away.
    """
    password = read_secret_file(layout.mongo_password_file(role)).decode().strip()
    roles = _rights(role, layout.database)
    fingerprint = hashlib.sha256(f"{password}\0{roles}".encode()).hexdigest()
    return {
        "pwd": password,
        "roles": roles,
        "mechanisms": ["SCRAM-SHA-256"],
        "customData": {"fingerprint": fingerprint},
    }


def _rights(role: MongoRole, database: str) -> list[dict[str, str]]:
    """The built-in roles of mongod that a user needs, and no more."""
    read_write = {"role": "readWrite", "db": database}
    match role:
        case MongoRole.ADMIN:
            names = ("userAdminAnyDatabase", "clusterManager")
            return [{"role": name, "db": "admin"} for name in names]
        case MongoRole.API | MongoRole.WORKER:
            return [read_write]
        case MongoRole.MIGRATE:
            return [read_write, {"role": "dbAdmin", "db": database}]
        case MongoRole.BACKUP:
            names = ("backup", _HISTORY_ROLE)
            return [{"role": name, "db": "admin"} for name in names]
        case MongoRole.RESTORE:  # also into other databases than ours, to look into one
            return [{"role": name, "db": "admin"} for name in ("restore", "backup")]


def _pause(deadline: float, why: str) -> None:
    if time.monotonic() > deadline:
        raise Unavailable(why)
    time.sleep(_PAUSE_SECONDS)


def _foreign(layout: StoreLayout) -> ConfigurationInvalid:
    secret = layout.mongo_password_file(MongoRole.ADMIN)
    return ConfigurationInvalid(
        f"The database in {layout.mongod_data} does not know the password in {secret}",
        where=str(secret),
        hint="restore state/secrets together with the database it belongs to",
    )
