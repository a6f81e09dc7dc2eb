"""Installations over stores that the test started, to make backups of and restore them into."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bson import ObjectId
from pymongo import MongoClient
from pymongo.database import Database

from novapulse.core.settings import Loaded, load
from novapulse.processes import backups
from novapulse.processes.restoring import Restored, Wanted, restore
from tests.support.stores import RunningStores

PASSPHRASE = "correct horse battery"
TASKS = 4_000


@dataclass
class Installation:
    """A root whose database is an external one; what was written to it before is in `counts`."""

    root: Path
    client: MongoClient[dict[str, Any]]

    def loaded(self) -> Loaded:
        return load(root=self.root, environ={})

    @property
    def rows(self) -> Database[dict[str, Any]]:
        return self.client[self.loaded().settings.mongo.database]

    @property
    def counts(self) -> dict[str, int]:
        return counts(self.rows)

    def create(self) -> Path:
        secret = PASSPHRASE.encode()
        return backups.create(self.loaded(), directory=None, secret=secret, progress=_silent).path

    def restore(self, path: Path, **wanted: Any) -> Restored | None:
        """Into this installation, with the passphrase unless told otherwise."""
        usual = {"passphrase": PASSPHRASE.encode(), "database": None, "without_keys": False}
        return restore(
            self.loaded,
            Wanted(path=path, **(usual | wanted)),
            agree=lambda deed: True,
            progress=_silent,
        )


def counts(database: Database[dict[str, Any]]) -> dict[str, int]:
    return {name: database[name].count_documents({}) for name in database.list_collection_names()}


def _silent(documents: int, size: int) -> None:
    pass


def fill(database: Database[dict[str, Any]]) -> None:
    """Names, indexes and ids of all kinds."""
    text = "".join(chr(33 + index * 7 % 90) for index in range(200))
    database.tasks.insert_many(
        [{"_id": f"{number:024x}", "title": f"{number} {text}"} for number in range(TASKS)]
    )
    database.tasks.create_index([("title", 1), ("_id", -1)], name="title", unique=True)
    database["report_files.chunks"].insert_many(
        [{"_id": ObjectId(), "n": number, "data": bytes([number]) * 255_000} for number in range(3)]
    )
    database.create_collection("empty")
    database.empty.create_index(
        [("at", 1)],
        name="expiry",
        expireAfterSeconds=60,
        partialFilterExpression={"at": {"$exists": True}},
    )
    database.sessions.insert_one({"_id": "s1"})
    database.leases.insert_one({"_id": "scheduler"})
    database.schema.insert_one({"_id": "schema", "number": 1})


class Installations:
    """Makes roots over running stores. Their databases stay: dropping many takes longer."""

    def __init__(self, stores: RunningStores, directory: Path) -> None:
        self.stores = stores
        self.directory = directory
        self.client: MongoClient[dict[str, Any]] = MongoClient(stores.mongo_uri)
        self.passphrase = directory / "passphrase"
        self.passphrase.write_text(PASSPHRASE + "\n")
        self.passphrase.chmod(0o600)

    def make(self, name: str, *, more: str = "") -> Installation:
        root = self.directory / name
        root.mkdir()
        database = self.stores.database_name("backup")
        (root / "config.toml").write_text(
            f'[mongo]\nuri = "{self.stores.mongo_uri}"\ndatabase = "{database}"\n'
            f'[redis]\nurl = "{self.stores.redis_url}"\n'
            f'[backup]\npassphrase_file = "{self.passphrase}"\n{more}'
        )
        return Installation(root, self.client)

    def close(self) -> None:
        self.client.close()
