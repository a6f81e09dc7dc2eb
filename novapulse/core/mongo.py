"""The one door to MongoDB: a client with bounded waits, and sessions that know their company.

Only this module, its parts (`core.mongocalls`, `core.mongolink`, `core.mongorows`)
and the embedded store's bootstrap import pymongo; what others need of it (write
models, `Binary`) they import from here.
`TenantSession` adds the company to every query; `Database.platform` is the
unbound door for what belongs to no company or to all of them (accounts at
sign-in, the job ledger, the event pump).
"""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from enum import Enum

from bson import Binary, ObjectId
from bson.codec_options import CodecOptions
from pymongo import (
    AsyncMongoClient,
    IndexModel,
    ReadPreference,
    UpdateMany,
    UpdateOne,
    WriteConcern,
    timeout,
)
from pymongo import errors as mongo_errors
from pymongo.asynchronous.client_session import AsyncClientSession
from pymongo.read_concern import ReadConcern
from pymongo.read_preferences import SecondaryPreferred

from novapulse.core import errors
from novapulse.core.mongocalls import (
    Duplicate,
    budget,
    measured,
    spending,
    translate,
)
from novapulse.core.mongolink import Link
from novapulse.core.mongorows import Document, Filter, Rows
from novapulse.core.mongowatch import QuietMonitor, look_seldom

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
    "Reading",
    "Rows",
    "TenantSession",
    "UpdateMany",
    "UpdateOne",
    "budget",
    "measured",
    "spending",
    "translate",
]

ClientSession = AsyncClientSession

COMPANY = "companyId"
# w:1 lost one acknowledged write in twenty to SIGKILL; journaled majority none.
DURABLE = WriteConcern(w="majority", j=True)
_SWIFT = WriteConcern(w=1, j=False)
_CODEC: CodecOptions[Document] = CodecOptions(tz_aware=True)
_NO_SUCH_COLLECTION = 26
_INDEX_DIFFERS = (85, 86)  # other options, or other keys, under the same name
_CLOSE_SECONDS = 2.0
# Who asked has waited for a call that failed already; the server gives up by itself, later.
_ABORT_SECONDS = 0.5
_MAX_STALENESS_SECONDS = 120
# One read of a report may pass a million rows to find few.
_BULK_SECONDS = 60.0


class Reading(Enum):
    """Which member of a replica set answers a class of queries."""

    FRESH = ReadPreference.PRIMARY
    # Reports and exports: off the primary where there is another one, a little behind it.
    BULK = SecondaryPreferred(max_staleness=_MAX_STALENESS_SECONDS)


class TenantSession:
    """Reads and writes of exactly one company, inside a transaction or outside."""

    def __init__(
        self,
        database: "Database",
        company_id: str,
        *,
        session: AsyncClientSession | None = None,
        reading: Reading = Reading.FRESH,
    ) -> None:
        self.company_id = company_id
        self._database = database
        self._session = session
        self._reading = reading

    def rows(self, collection: str) -> Rows:
        scope = {COMPANY: self.company_id}
        return self._database.scoped(
            collection, scope, session=self._session, reading=self._reading
        )


_WARM_CALLS = 8


class Database:
    """One process's client; built once, closed once."""

    def __init__(self, uri: str, name: str, *, timeout_seconds: float, max_pool_size: int) -> None:
        # Of a single server there is nothing to follow: who meets its end has it asked again.
        is_single = "directConnection=true" in uri
        self.client: AsyncMongoClient[Document] = AsyncMongoClient(
            uri,
            tz_aware=True,
            timeoutMS=round(timeout_seconds * 1000),
            # A pile-up behind a slow store becomes a 503 instead of a wait.
            waitQueueTimeoutMS=500,
            maxPoolSize=max_pool_size,
            serverSelectionTimeoutMS=round(timeout_seconds * 1000),
            connectTimeoutMS=1000,
            heartbeatFrequencyMS=10_000 if is_single else 5_000,
            serverMonitoringMode="poll" if is_single else "auto",
            appname="novapulse",
            _monitor_class=QuietMonitor,
        )
        look_seldom(self.client)
        self._timeout_seconds = timeout_seconds
        self.raw = self.client.get_database(
            name,
            codec_options=_CODEC,
            write_concern=DURABLE,
            read_preference=ReadPreference.PRIMARY,
        )
        self._link = Link(self.raw, timeout_seconds=timeout_seconds)

    def scoped(
        self,
        collection: str,
        scope: Document,
        *,
        session: AsyncClientSession | None,
        reading: Reading,
    ) -> Rows:
        """What `platform` and `tenant` open."""
        if reading is Reading.FRESH:
            # A company's lists have indexes; what is read of all companies may take its time.
            link = self._link if scope and session is None else None
            return Rows(self.raw[collection], scope, session=session, link=link)
        rows = self.raw.get_collection(collection, read_preference=reading.value)
        return Rows(rows, scope, session=session, patience_seconds=_BULK_SECONDS)

    def platform(
        self,
        collection: str,
        session: AsyncClientSession | None = None,
        *,
        reading: Reading = Reading.FRESH,
    ) -> Rows:
        """Rows of every company: for what is not one company's own."""
        return self.scoped(collection, {}, session=session, reading=reading)

    def brief(self, collection: str) -> Rows:
        """Rows of every company, by reads that an index and a limit keep short.

        They take the shared connection, at a quarter of the driver's processor time.
        """
        return Rows(self.raw[collection], {}, link=self._link)

    def swift(self, collection: str) -> Rows:
        """Rows whose writes are durable only once a later durable write is, which must follow.

        The journal and the replicas have one order: such a write vouches for those before it.
        """
        return Rows(self.raw.get_collection(collection, write_concern=_SWIFT), {})

    async def write_swiftly(
        self, collection: str, operation: str, *commands: Document
    ) -> list[int]:
        """Plain writes in one round trip, done in their order, durable as those of `swift` are.

        Returns how many rows each changed or inserted. Unavailable: any of them may have been
        done, also one whose former was not.
        """
        concern = _SWIFT.document
        plain = [{**command, "writeConcern": concern} for command in commands]
        return await measured(collection, operation, self._link.write(plain))

    def tenant(
        self,
        company_id: str,
        session: AsyncClientSession | None = None,
        *,
        reading: Reading = Reading.FRESH,
    ) -> TenantSession:
        return TenantSession(self, company_id, session=session, reading=reading)

    def pool_sizes(self) -> dict[str, int]:
        """Connections of this process by state: `in_use` and `idle`.

        The driver tells of its pools only through events, three an operation: looking at
        them now and then costs the operations nothing.
        """
        pools = [server.pool for server in self.client._topology._servers.values()]
        # The link keeps its connection out of the pool, in use or not.
        resting = int(self._link.is_idle)
        in_use = sum(pool.active_sockets for pool in pools) - resting
        return {"in_use": in_use, "idle": sum(len(pool.conns) for pool in pools) + resting}

    async def ping(self) -> None:
        """Raises Unavailable unless a primary answers in time."""
        hello = await measured("admin", "hello", self.client.admin.command("hello"))
        if not hello.get("isWritablePrimary"):
            raise errors.Unavailable("The database has no primary at the moment")

    async def warm_up(self) -> None:
        """Connect as often as many requests at once need for a start; without a store, do nothing.

        The first connections of a process are dear (a password is hashed, and the driver makes
        two at a time): who comes first must not wait for all of them.
        """
        await self._link.open()
        await asyncio.gather(*(self.ping() for _ in range(_WARM_CALLS)), return_exceptions=True)

    async def build_indexes(self, collection: str, declared: Sequence[Document]) -> None:
        """Make what is missing of the indexes of a collection; one that differs is built anew."""
        models = [IndexModel(index["keys"], **_options(index)) for index in declared]
        try:
            await self.raw[collection].create_indexes(models)
        except mongo_errors.OperationFailure as error:
            if error.code not in _INDEX_DIFFERS:
                raise translate(error) from error
            for index in declared:
                await self._build_index(collection, index)
        except mongo_errors.PyMongoError as error:
            raise translate(error) from error

    async def _build_index(self, collection: str, declared: Document) -> None:
        """Make one index (`name`, `keys`, options) or replace one that was declared otherwise."""
        options = _options(declared)
        rows = self.raw[collection]
        try:
            await rows.create_index(declared["keys"], **options)
        except mongo_errors.OperationFailure as error:
            if error.code not in _INDEX_DIFFERS:
                raise translate(error) from error
            for name, found in (await self.indexes(collection)).items():
                if name == declared["name"] or list(found["key"].items()) == declared["keys"]:
                    await rows.drop_index(name)
            await rows.create_index(declared["keys"], **options)
        except mongo_errors.PyMongoError as error:
            raise translate(error) from error

    async def indexes(self, collection: str) -> dict[str, Document]:
        """What is there: name to `key` and options; nothing for a collection that is not."""
        call = self.raw.command("listIndexes", collection, codec_options=_CODEC)
        try:
            found = await measured(collection, "list_indexes", call)
        except mongo_errors.OperationFailure as error:
            if error.code != _NO_SUCH_COLLECTION:
                raise
            return {}
        return {row["name"]: row for row in found["cursor"]["firstBatch"]}

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
            with timeout(self._timeout_seconds):  # of all tries together
                await measured("transaction", "commit", _commit(session))

    async def close(self) -> None:
        """Let go of the connections; a server that hangs does not hold us up."""
        with suppress(TimeoutError):
            async with asyncio.timeout(_CLOSE_SECONDS):
                await self._link.close()
                await self.client.close()


def _options(index: Document) -> Document:
    return {name: value for name, value in index.items() if name != "keys"}


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
            with timeout(_ABORT_SECONDS):
                await session.abort_transaction()
        except mongo_errors.PyMongoError:  # the server rolls back by itself when we are gone
            return
