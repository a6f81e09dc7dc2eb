"""A database to throw away, for trying a backup: a mongod of its own, else beside the data."""

import fcntl
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import msgspec

from novapulse.core.errors import AlreadyRunning
from novapulse.core.room import require_room
from novapulse.core.settings import Loaded
from novapulse.processes import places
from novapulse.processes.attach import make_directories
from novapulse.stores.addresses import mongo_uri
from novapulse.stores.child import running_mongod
from novapulse.stores.find import StoreMissing, find_store
from novapulse.stores.layout import MongoRole, StoreLayout

_NAME = "scratch"
# MongoDB compresses rows and adds indexes: 60 MB of tasks and events took 50. What is sealed
# or compressed already stays as large as it is, and its indexes come on top.
_ROWS_TAKE = 1.25
# Its oplog holds every row once more, until it is full.
_OPLOG_TAKES = 990 << 20
# A journal of 300 MB and all the empty collections. It grows for a minute when much comes that
# can not be compressed, 400 MB of it by 300: whoever loads looks at the room meanwhile.
_MONGOD_TAKES = 400 << 20
_LONGEST_NAME = 38


@dataclass(frozen=True, slots=True)
class Scratch:
    """Where it is; `directory` is for files that are to go with it."""

    loaded: Loaded
    database: str
    directory: Path
    layout: StoreLayout | None

    def uri(self, role: MongoRole) -> str:
        if self.layout is None:
            return places.mongo_uri(self.loaded, role)
        return mongo_uri(self.layout, role)


@contextmanager
def scratch(loaded: Loaded, *, rows_bytes: int) -> Iterator[Scratch]:
    """Empty but for what a killed predecessor left in a database of this name.

    Raises AlreadyRunning while somebody else tries a backup here, and StorageFull when so many
    bytes of rows in a mongod of its own would take the room that the program works in.
    """
    make_directories(loaded)
    directory = loaded.paths.state / _NAME
    with _held(loaded.paths.state / f"{_NAME}.lock"):
        shutil.rmtree(directory, ignore_errors=True)
        directory.mkdir(mode=0o700)
        try:
            yield from _open(loaded, directory, rows_bytes)
        finally:
            shutil.rmtree(directory, ignore_errors=True)


def _open(loaded: Loaded, directory: Path, rows_bytes: int) -> Iterator[Scratch]:
    database = loaded.settings.mongo.database
    try:
        program = find_store("mongod", loaded.settings.stores.mongod)
    except StoreMissing:
        if loaded.settings.mongo.is_embedded:
            raise
        name = f"{database[: _LONGEST_NAME - 21]}-{_NAME}-{places.appliance_id(loaded)}"
        yield Scratch(loaded, name, directory, None)
        return
    oplog_bytes = min(rows_bytes, _OPLOG_TAKES)
    require_room(directory, int(rows_bytes * _ROWS_TAKE) + oplog_bytes + _MONGOD_TAKES)
    paths = msgspec.structs.replace(loaded.paths, state=directory, run=directory / "run")
    layout = places.layout(msgspec.structs.replace(loaded, paths=paths))
    with running_mongod(layout, program, log=directory / "mongod.log"):
        yield Scratch(loaded, database, directory, layout)


@contextmanager
def _held(path: Path) -> Iterator[None]:
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise AlreadyRunning("Somebody else is trying a backup here") from error
        yield
    finally:
        os.close(descriptor)
