"""All rows of a database as they were at one moment, while everybody goes on writing.

Every read names the same cluster time (read concern `snapshot`). The server keeps the
former versions of rows for `minSnapshotHistoryWindowInSeconds` only; that window is
widened while a snapshot is open, a minute at a time, so that a reader that is killed
leaves little behind.
"""

import asyncio
import json
import time
from collections.abc import AsyncIterator, Awaitable, Mapping
from contextlib import asynccontextmanager, suppress
from typing import Any

import msgspec
from bson import json_util
from bson.codec_options import CodecOptions
from bson.raw_bson import RawBSONDocument
from bson.timestamp import Timestamp
from pymongo import AsyncMongoClient
from pymongo import errors as mongo_errors
from pymongo.asynchronous.client_session import AsyncClientSession

from novapulse.core.errors import Unavailable
from novapulse.core.mongo import Document
from novapulse.core.mongocalls import measured, translate
from novapulse.core.tasks import end_all

_RAW: CodecOptions[RawBSONDocument] = CodecOptions(document_class=RawBSONDocument)
_ROWS_A_BATCH = 1_000  # or 16 MB, which the server makes of it
_CALL_SECONDS = 120.0
_CLOSE_SECONDS = 2.0
_WINDOW = "minSnapshotHistoryWindowInSeconds"
_MARGIN_SECONDS = 300
_WIDEN_EVERY_SECONDS = 60.0
_UNAUTHORIZED = 13
_TOO_OLD, _CATALOGUE_CHANGED = 239, 246


class SnapshotLost(Unavailable):
    """The moment can not be read any more; a later one can."""


class Moment(msgspec.Struct, frozen=True):
    """A cluster time: seconds since 1970, and a counter within the second."""

    seconds: int
    increment: int


class Definition(msgspec.Struct, frozen=True, kw_only=True):
    """A collection without its rows; options and indexes as MongoDB's extended JSON."""

    name: str
    options: dict[str, Any]
    indexes: list[dict[str, Any]]


class Snapshot:
    """Reads of one database at one moment."""

    def __init__(
        self, client: "AsyncMongoClient[Document]", database: str, session: AsyncClientSession
    ) -> None:
        self._db = client.get_database(database)
        self._session = session
        self._at: Timestamp | None = None

    @property
    def moment(self) -> Moment:
        assert self._at is not None  # noqa: S101 - set by whoever opened it
        return Moment(self._at.time, self._at.inc)

    async def fix(self) -> None:
        """Choose the moment: now. Raises Unavailable when the database has no collection."""
        names = await self._names()
        if not names:
            raise Unavailable(f"There is nothing in the database {self._db.name}")
        first = {"find": names[0], "limit": 1, "readConcern": {"level": "snapshot"}}
        self._at = (await self._command("find", first))["cursor"]["atClusterTime"]

    async def definitions(self) -> list[Definition]:
        """Every collection, by name."""
        found = []
        for name, options in sorted((await self._catalogue()).items()):
            indexes = await self._command("list_indexes", {"listIndexes": name, "cursor": {}})
            specs = [_plain(spec) for spec in indexes["cursor"]["firstBatch"]]
            found.append(Definition(name=name, options=_plain(options), indexes=specs))
        return found

    async def batches(self, collection: str) -> AsyncIterator[list[bytes]]:
        """The collection's rows as BSON, some at a time.

        Raises SnapshotLost when the collection was changed as a whole since the moment.
        """
        concern = {"level": "snapshot", "atClusterTime": self._at}
        command: Document = {"find": collection, "readConcern": concern}
        answer = await self._command("find", {**command, "batchSize": _ROWS_A_BATCH}, raw=True)
        cursor, batch = answer["cursor"], "firstBatch"
        while True:
            yield [row.raw for row in cursor[batch]]
            if not cursor["id"]:
                return
            more = {"getMore": cursor["id"], "collection": collection, "batchSize": _ROWS_A_BATCH}
            answer = await self._command("get_more", more, raw=True)
            cursor, batch = answer["cursor"], "nextBatch"

    async def count_schema(self) -> int:
        """The number of the database's schema at the moment."""
        concern = {"level": "snapshot", "atClusterTime": self._at}
        command = {"find": "schema", "filter": {"_id": "schema"}, "readConcern": concern}
        rows = (await self._command("find", command))["cursor"]["firstBatch"]
        return int(rows[0]["number"]) if rows and "number" in rows[0] else 0

    async def version(self) -> str:
        """Of the server."""
        return str((await self._command("build_info", {"buildInfo": 1}))["version"])

    async def _names(self) -> list[str]:
        return sorted(await self._catalogue())

    async def _catalogue(self) -> dict[str, Mapping[str, Any]]:
        found = await measured(self._db.name, "list_collections", self._list())
        return {
            row["name"]: row.get("options", {})
            for row in found
            if row["type"] == "collection" and not row["name"].startswith("system.")
        }

    async def _list(self) -> list[Any]:
        return await (await self._db.list_collections()).to_list()

    async def _command(self, name: str, command: Document, *, raw: bool = False) -> Any:
        options: Document = {"codec_options": _RAW} if raw else {}
        call: Awaitable[Any] = self._db.command(command, session=self._session, **options)
        try:
            async with asyncio.timeout(_CALL_SECONDS):
                return await call
        except TimeoutError as error:
            raise Unavailable("The database does not answer; try again shortly") from error
        except mongo_errors.OperationFailure as error:
            if error.code in (_TOO_OLD, _CATALOGUE_CHANGED):
                raise _lost(error) from error
            raise translate(error) from error
        except mongo_errors.PyMongoError as error:
            raise translate(error) from error


@asynccontextmanager
async def open_snapshot(uri: str, database: str) -> AsyncIterator[Snapshot]:
    """The database as it is at this moment, for as long as the block takes."""
    # A client of its own: with a limit for whole operations the driver refuses `getMore`.
    client: AsyncMongoClient[Document] = AsyncMongoClient(
        uri, serverSelectionTimeoutMS=5_000, appname="novapulse-backup"
    )
    try:
        async with (
            _history(client),
            client.start_session(causal_consistency=False) as session,
        ):
            snapshot = Snapshot(client, database, session)
            await snapshot.fix()
            yield snapshot
    except mongo_errors.PyMongoError as error:
        raise translate(error) from error
    finally:
        with suppress(TimeoutError):
            async with asyncio.timeout(_CLOSE_SECONDS):
                await client.close()


@asynccontextmanager
async def _history(client: "AsyncMongoClient[Document]") -> AsyncIterator[None]:
    """Have the server keep former versions of rows; where we may not, it does as configured."""
    try:
        found = int((await client.admin.command({"getParameter": 1, _WINDOW: 1}))[_WINDOW])
        await _set_window(client, max(found, _MARGIN_SECONDS))
    except mongo_errors.OperationFailure as error:
        if error.code != _UNAUTHORIZED:
            raise
        yield
        return
    widening = asyncio.create_task(_widen(client))
    try:
        yield
    finally:
        await end_all((widening,))
        with suppress(mongo_errors.PyMongoError):  # what is left costs little, until a restart
            await _set_window(client, found)


async def _widen(client: "AsyncMongoClient[Document]") -> None:
    began = time.monotonic()
    while True:
        await asyncio.sleep(_WIDEN_EVERY_SECONDS)
        with suppress(mongo_errors.PyMongoError):  # the next read tells
            await _set_window(client, round(time.monotonic() - began) + _MARGIN_SECONDS)


async def _set_window(client: "AsyncMongoClient[Document]", seconds: int) -> None:
    await client.admin.command({"setParameter": 1, _WINDOW: seconds})


def _lost(error: mongo_errors.OperationFailure) -> SnapshotLost:
    if error.code == _CATALOGUE_CHANGED:
        return SnapshotLost("A collection or index was made meanwhile; try again")
    return SnapshotLost(
        "The database no longer knows how it was when this began: "
        f"let its user setParameter, or raise {_WINDOW} on the server"
    )


def _plain(document: Mapping[str, Any]) -> dict[str, Any]:
    text = json_util.dumps(document, json_options=json_util.CANONICAL_JSON_OPTIONS)
    plain: dict[str, Any] = json.loads(text)
    return plain
