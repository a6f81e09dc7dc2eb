"""The one door to MongoDB: a client with bounded waits, and sessions that know their company.

Only this module and the embedded store's bootstrap import pymongo; what others
need of it (write models, `Binary`) they import from here.
`TenantSession` adds the company to every query; `Database.platform` is the
unbound door for what belongs to no company or to all of them (accounts at
sign-in, the job ledger, the event pump).
"""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from typing import Any, TypeVar

from bson import Binary, ObjectId
from bson.codec_options import CodecOptions
from pymongo import (
    AsyncMongoClient,
    ReadPreference,
    ReturnDocument,
    UpdateMany,
    UpdateOne,
    WriteConcern,
)
from pymongo import errors as mongo_errors
from pymongo.asynchronous.client_session import AsyncClientSession
from pymongo.asynchronous.collection import AsyncCollection
from pymongo.read_concern import ReadConcern

from novapulse.core import errors
from novapulse.core.telemetry import metrics

# What other modules use of the driver, besides what is declared here.
__all__ = [
    "COMPANY",
    "DURABLE",
    "Binary",
    "ClientSession",
    "Database",
    "Document",
    "Duplicate",
    "Filter",
    "ObjectId",
    "Rows",
    "TenantSession",
    "UpdateMany",
    "UpdateOne",
    "measured",
    "translate",
]

Document = dict[str, Any]
Filter = Mapping[str, Any]
T = TypeVar("T")
ClientSession = AsyncClientSession

COMPANY = "companyId"
# w:1 lost one acknowledged write in twenty to SIGKILL; journaled majority none.
DURABLE = WriteConcern(w="majority", j=True)
_CODEC: CodecOptions[Document] = CodecOptions(tz_aware=True)
_INDEX_DIFFERS = (85, 86)  # other options, or other keys, under the same name
_DUPLICATE = 11000
# What a server answers while it shuts down, starts, or has no primary yet; 211 is
# KeyNotFound: a member that just started can not sign its cluster time.
_NOT_SERVING = frozenset({91, 133, 189, 211, 10107, 11600, 11602, 13435, 13436})
_CLOSE_SECONDS = 2.0
_LEAVING = {"$lookup", "$unionWith", "$graphLookup", "$out", "$merge"}
_AUTHENTICATION_FAILED = 18
_DISK_FULL = (14031, 28)  # OutOfDiskSpace, and WiredTiger's ENOSPC
# What a server says while it goes or has just come: KeyNotFound (of the cluster's clock, for
# some moments after a start), ShutdownInProgress, PrimarySteppedDown, InterruptedAtShutdown,
# InterruptedDueToReplStateChange, WriteConcernFailed; also for the last, nothing is known.
_PASSING = (211, 91, 189, 11600, 11602, 64)


class Duplicate(errors.Conflict):
    """A unique index refused the row; `index` is its name."""

    def __init__(self, index: str) -> None:
        super().__init__()
        self.index = index


def translate(error: mongo_errors.PyMongoError) -> errors.Error:
    """Our error for the driver's: who can do something about it decides the class."""
    if error.has_error_label("TransientTransactionError"):
        return errors.TransientConflict()
    if isinstance(error, mongo_errors.DuplicateKeyError):
        return Duplicate(_index_name(error.details))
    if isinstance(error, mongo_errors.BulkWriteError):
        rows = (error.details or {}).get("writeErrors") or [{}]
        if rows[0].get("code") == _DUPLICATE:
            return Duplicate(_index_name(rows[0]))
    if isinstance(error, mongo_errors.OperationFailure) and error.code in _DISK_FULL:
        return errors.StorageFull()
    if isinstance(error, mongo_errors.OperationFailure) and error.code in _PASSING:
        return errors.Unavailable("The database is starting or stopping; try again shortly")
    if isinstance(error, mongo_errors.OperationFailure) and error.code == _AUTHENTICATION_FAILED:
        return errors.Unavailable("The database does not accept our name and password")
    if isinstance(error, mongo_errors.OperationFailure) and (
        error.code in _NOT_SERVING or error.has_error_label("RetryableWriteError")
    ):
        return errors.Unavailable("The database is starting or stopping; try again shortly")
    if error.timeout or isinstance(
        error, mongo_errors.ConnectionFailure | mongo_errors.WaitQueueTimeoutError
    ):
        return errors.Unavailable("The database does not answer; try again shortly")
    raise error  # a bug: let it surface with its own traceback


def _index_name(details: Mapping[str, Any] | None) -> str:
    message = str((details or {}).get("errmsg", ""))
    return message.partition("index: ")[2].partition(" ")[0]


async def measured(collection: str, operation: str, call: Awaitable[T]) -> T:
    """Await one driver call: its duration is recorded, its errors are ours."""
    started = time.perf_counter()
    try:
        return await call
    except mongo_errors.PyMongoError as error:
        raise translate(error) from error
    finally:
        metrics.db_query(collection, operation).observe(time.perf_counter() - started)


async def _tolerate_duplicates(call: Awaitable[Any]) -> None:
    """Await an unordered insert; rows that were there already are what it is for."""
    try:
        await call
    except mongo_errors.BulkWriteError as error:
        details = error.details or {}
        failed = details.get("writeErrors") or []
        if details.get("writeConcernErrors") or any(row["code"] != _DUPLICATE for row in failed):
            raise


def _names(fields: Any) -> Iterator[str]:
    """First parts of the field names in one operator of an update (or an `$unset` list)."""
    for name in fields:
        yield str(name).partition(".")[0]
    if isinstance(fields, Mapping):  # of $rename, where it goes
        yield from (str(value) for value in fields.values() if isinstance(value, str))


class Rows:
    """The queries of one collection, each inside `scope` (for a tenant: its company).

    Every method raises Unavailable, TransientConflict, StorageFull or Duplicate
    in place of the driver's errors.
    """

    def __init__(
        self,
        collection: AsyncCollection[Document],
        scope: Document,
        session: AsyncClientSession | None = None,
    ) -> None:
        self._collection = collection
        self._scope = scope
        self._session = session
        self._name = collection.name

    def _scoped(self, where: Filter) -> Document:
        for field, value in self._scope.items():
            if where.get(field, value) != value:
                raise ValueError(f"a query must not leave {field}")
        return {**where, **self._scope}

    def _guarded(self, change: Any) -> Any:
        """The change, if it leaves the scope's fields alone: no row may move to another company."""
        stages = change if isinstance(change, list) else [change]
        for stage in stages:
            for fields in stage.values():
                touched = [fields] if isinstance(fields, str) else fields
                if any(name in self._scope for name in _names(touched)):
                    raise ValueError("a change must not touch what binds the row to its company")
        if self._scope and any(
            "$replaceWith" in stage or "$replaceRoot" in stage for stage in stages
        ):
            raise ValueError("a change must not replace the row as a whole")
        return change

    async def find_one(self, where: Filter, **options: Any) -> Document | None:
        call = self._collection.find_one(self._scoped(where), session=self._session, **options)
        return await measured(self._name, "find_one", call)

    async def find(
        self, where: Filter, *, sort: Sequence[tuple[str, int]] = (), limit: int, **options: Any
    ) -> list[Document]:
        """At most `limit` rows: there is no unbounded read."""
        cursor = self._collection.find(
            self._scoped(where), session=self._session, limit=limit, batch_size=limit + 1, **options
        )
        if sort:
            cursor = cursor.sort(list(sort))
        return await measured(self._name, "find", cursor.to_list())

    async def count(self, where: Filter, *, limit: int, **options: Any) -> int:
        """How many rows match, at most `limit`."""
        call = self._collection.count_documents(
            self._scoped(where), session=self._session, limit=limit, **options
        )
        return await measured(self._name, "count", call)

    async def insert(self, document: Document) -> None:
        call = self._collection.insert_one({**document, **self._scope}, session=self._session)
        await measured(self._name, "insert", call)

    async def insert_many(self, documents: Sequence[Document]) -> None:
        """All or, in a transaction, none of them."""
        rows = [{**document, **self._scope} for document in documents]
        call = self._collection.insert_many(rows, session=self._session, ordered=True)
        await measured(self._name, "insert_many", call)

    async def insert_missing(self, documents: Sequence[Document]) -> None:
        """Insert the rows whose keys are new and leave the others: a repeat is harmless."""
        rows = [{**document, **self._scope} for document in documents]
        call = self._collection.insert_many(rows, session=self._session, ordered=False)
        await measured(self._name, "insert_missing", _tolerate_duplicates(call))

    async def update_one(self, where: Filter, change: Any, **options: Any) -> int:
        """How many rows matched (0 or 1)."""
        call = self._collection.update_one(
            self._scoped(where), self._guarded(change), session=self._session, **options
        )
        return (await measured(self._name, "update", call)).matched_count

    async def update_many(self, where: Filter, change: Any, **options: Any) -> int:
        """How many rows were changed."""
        call = self._collection.update_many(
            self._scoped(where), self._guarded(change), session=self._session, **options
        )
        return (await measured(self._name, "update_many", call)).modified_count

    async def replace(self, where: Filter, document: Document) -> int:
        """How many rows matched (0 or 1)."""
        call = self._collection.replace_one(
            self._scoped(where), {**document, **self._scope}, session=self._session
        )
        return (await measured(self._name, "replace", call)).matched_count

    async def find_and_update(
        self, where: Filter, change: Any, *, upsert: bool = False
    ) -> Document | None:
        """The row after the change, or None when nothing matched."""
        call = self._collection.find_one_and_update(
            self._scoped(where),
            self._guarded(change),
            upsert=upsert,
            session=self._session,
            return_document=ReturnDocument.AFTER,
        )
        return await measured(self._name, "find_and_update", call)

    async def bulk(self, requests: Sequence[Any]) -> int:
        """Driver write models, unordered, in one round trip; how many rows matched.

        Only for unbound rows: the models bring filters of their own.
        """
        if self._scope:
            raise ValueError("a bulk write can not be bound to a company")
        call = self._collection.bulk_write(requests, ordered=False, session=self._session)
        return (await measured(self._name, "bulk", call)).matched_count

    async def aggregate(self, pipeline: Sequence[Document], **options: Any) -> list[Document]:
        if self._scope and any(_LEAVING & stage.keys() for stage in pipeline):
            raise ValueError("a company's pipeline must not reach into other collections")
        stages = [{"$match": self._scope}, *pipeline] if self._scope else list(pipeline)
        cursor = await measured(
            self._name,
            "aggregate",
            self._collection.aggregate(stages, session=self._session, **options),
        )
        return await measured(self._name, "aggregate", cursor.to_list())

    async def delete_one(self, where: Filter) -> int:
        call = self._collection.delete_one(self._scoped(where), session=self._session)
        return (await measured(self._name, "delete", call)).deleted_count

    async def delete_many(self, where: Filter) -> int:
        call = self._collection.delete_many(self._scoped(where), session=self._session)
        return (await measured(self._name, "delete_many", call)).deleted_count


class TenantSession:
    """Reads and writes of exactly one company, inside a transaction or outside."""

    def __init__(
        self, database: "Database", company_id: str, session: AsyncClientSession | None = None
    ) -> None:
        self.company_id = company_id
        self._database = database
        self._session = session

    def rows(self, collection: str) -> Rows:
        return Rows(self._database.raw[collection], {COMPANY: self.company_id}, self._session)


class Database:
    """One process's client; built once, closed once."""

    def __init__(self, uri: str, name: str, *, timeout_seconds: float, max_pool_size: int) -> None:
        self.client: AsyncMongoClient[Document] = AsyncMongoClient(
            uri,
            tz_aware=True,
            timeoutMS=round(timeout_seconds * 1000),
            # A pile-up behind a slow store becomes a 503 instead of a wait.
            waitQueueTimeoutMS=500,
            maxPoolSize=max_pool_size,
            serverSelectionTimeoutMS=round(timeout_seconds * 1000),
            connectTimeoutMS=1000,
            heartbeatFrequencyMS=5000,
            appname="novapulse",
        )
        self.raw = self.client.get_database(
            name,
            codec_options=_CODEC,
            write_concern=DURABLE,
            read_preference=ReadPreference.PRIMARY,
        )

    def platform(self, collection: str, session: AsyncClientSession | None = None) -> Rows:
        """Rows of every company: for what is not one company's own."""
        return Rows(self.raw[collection], {}, session)

    def tenant(self, company_id: str, session: AsyncClientSession | None = None) -> TenantSession:
        return TenantSession(self, company_id, session)

    async def ping(self) -> None:
        """Raises Unavailable unless a primary answers in time."""
        hello = await measured("admin", "hello", self.client.admin.command("hello"))
        if not hello.get("isWritablePrimary"):
            raise errors.Unavailable("The database has no primary at the moment")

    async def build_index(self, collection: str, declared: Document) -> None:
        """Make one index (`name`, `keys`, options) or replace one that was declared otherwise."""
        options = {name: value for name, value in declared.items() if name != "keys"}
        rows = self.raw[collection]
        try:
            await rows.create_index(declared["keys"], **options)
        except mongo_errors.OperationFailure as error:
            if error.code not in _INDEX_DIFFERS:
                raise translate(error) from error
            await rows.drop_index(declared["name"])
            await rows.create_index(declared["keys"], **options)
        except mongo_errors.PyMongoError as error:
            raise translate(error) from error

    async def index_names(self, collection: str) -> set[str]:
        found = await measured(collection, "list_indexes", self.raw[collection].index_information())
        return set(found)

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[AsyncClientSession]:
        """One majority-journaled transaction; leaving it without an error commits.

        Raises:
            TransientConflict: nothing was written; the caller may run its body again.
            Unavailable: the outcome is not known to be committed.
        """
        async with self.client.start_session() as session:
            await session.start_transaction(
                read_concern=ReadConcern("snapshot"), write_concern=DURABLE
            )
            try:
                yield session
            except BaseException:
                await _abort(session)
                raise
            await measured("transaction", "commit", _commit(session))

    async def close(self) -> None:
        """Let go of the connections; a server that hangs does not hold us up."""
        with suppress(TimeoutError):
            async with asyncio.timeout(_CLOSE_SECONDS):
                await self.client.close()


async def _commit(session: AsyncClientSession) -> None:
    """Commit; only the commit is repeated when its outcome is unknown."""
    for remaining in (2, 1, 0):
        try:
            await session.commit_transaction()
            return
        except mongo_errors.PyMongoError as error:
            if not remaining or not error.has_error_label("UnknownTransactionCommitResult"):
                raise


async def _abort(session: AsyncClientSession) -> None:
    if session.in_transaction:
        try:
            await session.abort_transaction()
        except mongo_errors.PyMongoError:  # the server rolls back by itself when we are gone
            return
