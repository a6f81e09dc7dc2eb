"""Filling a database from outside: whole collections of rows that are not looked into."""

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from bson import json_util
from bson.raw_bson import RawBSONDocument
from pymongo import errors as mongo_errors

from novapulse.core.errors import Invalid
from novapulse.core.mongo import Database
from novapulse.core.mongocalls import measured
from novapulse.core.snapshot import Definition

_ID_INDEX = "_id_"
_ROWS_A_WRITE = 5_000
# {_id: "mark"} as BSON.
MARK_ROW = b"\x13\0\0\0\x02_id\0\x05\0\0\0mark\0\0"


class Refill:
    """Collections of one database, made and dropped as a whole."""

    def __init__(self, db: Database) -> None:
        self._db = db.raw

    async def names(self) -> list[str]:
        call = self._db.list_collection_names()
        found = await measured(self._db.name, "list_collections", call)
        return sorted(name for name in found if not name.startswith("system."))

    async def has_rows(self, collection: str, *, besides: Mapping[str, Any] | None = None) -> bool:
        """Whether there are some, besides those whose fields have the values of `besides`."""
        where = {name: {"$ne": value} for name, value in (besides or {}).items()}
        found = self._db[collection].find_one(where, projection={"_id": 1})
        return await measured(collection, "find_one", found) is not None

    async def drop(self, collection: str) -> None:
        await measured(collection, "drop", self._db.drop_collection(collection))

    async def create(self, definition: Definition) -> None:
        options = _driver_form(definition.options)
        call = self._db.create_collection(definition.name, check_exists=False, **options)
        await measured(definition.name, "create", call)

    async def build_indexes(self, definition: Definition) -> None:
        """Raises Invalid when rows do not fit one: they were not in the database like that."""
        specs = [
            _driver_form(index) for index in definition.indexes if index.get("name") != _ID_INDEX
        ]
        if not specs:
            return
        command = {"createIndexes": definition.name, "indexes": specs}
        try:
            await measured(definition.name, "create_index", self._db.command(command))
        except mongo_errors.OperationFailure as error:
            raise Invalid(f"{definition.name}: an index can not be built: {error}") from error

    async def insert(self, collection: str, rows: Sequence[bytes]) -> None:
        """Rows as BSON; raises Duplicate for one that is there already."""
        for begin in range(0, len(rows), _ROWS_A_WRITE):
            documents: list[Any] = [
                RawBSONDocument(row) for row in rows[begin : begin + _ROWS_A_WRITE]
            ]
            call = self._db[collection].insert_many(documents, ordered=True)
            await measured(collection, "insert_many", call)


def split_rows(data: bytes) -> Iterator[bytes]:
    """The rows in a run of BSON; raises ValueError for what is none."""
    at = 0
    while at < len(data):
        size = int.from_bytes(data[at : at + 4], "little")
        end = at + size
        if size < 5 or end > len(data) or data[end - 1] != 0:
            raise ValueError(f"no BSON at byte {at}")
        yield data[at:end]
        at = end


def _driver_form(plain: dict[str, Any]) -> dict[str, Any]:
    document: dict[str, Any] = json_util.loads(json.dumps(plain))
    return document
