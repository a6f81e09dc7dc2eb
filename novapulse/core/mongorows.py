"""The queries of one collection, each inside the company that it is bound to.

Only `core.mongo` makes `Rows`; everybody else gets them from its sessions.
"""

from collections.abc import Awaitable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any, TypeVar

from pymongo import ReturnDocument
from pymongo import errors as mongo_errors
from pymongo import timeout as driver_timeout
from pymongo.asynchronous.client_session import AsyncClientSession
from pymongo.asynchronous.collection import AsyncCollection

from novapulse.core.mongocalls import (
    DUPLICATE,
    EarlyConnection,
    measured,
    replace_connections,
)
from novapulse.core.mongolink import Link

T = TypeVar("T")
Document = dict[str, Any]
Filter = Mapping[str, Any]
# What a read may name and still take the link; the driver's other options have forms of its own.
_PLAIN_OPTIONS = {"hint", "projection"}
_LEAVING = {"$lookup", "$unionWith", "$graphLookup", "$out", "$merge"}


async def _tolerate_duplicates(call: Awaitable[Any]) -> None:
    """Await an unordered insert; rows that were there already are what it is for."""
    try:
        await call
    except mongo_errors.BulkWriteError as error:
        details = error.details or {}
        failed = details.get("writeErrors") or []
        if details.get("writeConcernErrors") or any(row["code"] != DUPLICATE for row in failed):
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
        *,
        session: AsyncClientSession | None = None,
        patience_seconds: float | None = None,
        link: Link | None = None,
    ) -> None:
        self._collection = collection
        self._scope = scope
        self._session = session
        self._name = collection.name
        self._patience_seconds = patience_seconds
        self._link = link

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

    async def _measured(self, operation: str, call: Awaitable[T]) -> T:
        try:
            return await measured(self._name, operation, call)
        except EarlyConnection:
            await replace_connections(self._collection.database.client)
            raise

    async def find_one(self, where: Filter, **options: Any) -> Document | None:
        call = self._find_one(self._scoped(where), options)
        return await self._measured("find_one", call)

    async def find(
        self, where: Filter, *, sort: Sequence[tuple[str, int]] = (), limit: int, **options: Any
    ) -> list[Document]:
        """At most `limit` rows: there is no unbounded read."""
        call = self._find(self._scoped(where), sort=sort, limit=limit, options=options)
        with self._patience():
            return await self._measured("find", call)

    async def _find_one(self, where: Document, options: Document) -> Document | None:
        if self._link is not None and options.keys() <= _PLAIN_OPTIONS:
            rows = await self._link.find(self._name, where, limit=1, **options)
            if rows is not None:
                return rows[0] if rows else None
        return await self._collection.find_one(where, session=self._session, **options)

    async def _find(
        self,
        where: Document,
        *,
        sort: Sequence[tuple[str, int]],
        limit: int,
        options: Document,
    ) -> list[Document]:
        if self._link is not None and options.keys() <= _PLAIN_OPTIONS:
            rows = await self._link.find(self._name, where, sort=sort, limit=limit, **options)
            if rows is not None:
                return rows
        cursor = self._collection.find(
            where, session=self._session, limit=limit, batch_size=limit + 1, **options
        )
        if sort:
            cursor = cursor.sort(list(sort))
        return await cursor.to_list()

    async def count(self, where: Filter, *, limit: int, **options: Any) -> int:
        """How many rows match, at most `limit`."""
        call = self._collection.count_documents(
            self._scoped(where), session=self._session, limit=limit, **options
        )
        with self._patience():
            return await self._measured("count", call)

    def _patience(self) -> AbstractContextManager[None]:
        """How long the reads inside may take, where that is not what all operations may."""
        seconds = self._patience_seconds
        return nullcontext() if seconds is None else driver_timeout(seconds)

    async def insert(self, document: Document) -> None:
        call = self._collection.insert_one({**document, **self._scope}, session=self._session)
        await self._measured("insert", call)

    async def insert_many(self, documents: Sequence[Document]) -> None:
        """All or, in a transaction, none of them."""
        rows = [{**document, **self._scope} for document in documents]
        call = self._collection.insert_many(rows, session=self._session, ordered=True)
        await self._measured("insert_many", call)

    async def insert_missing(self, documents: Sequence[Document]) -> None:
        """Insert the rows whose keys are new and leave the others: a repeat is harmless."""
        rows = [{**document, **self._scope} for document in documents]
        call = self._collection.insert_many(rows, session=self._session, ordered=False)
        await self._measured("insert_missing", _tolerate_duplicates(call))

    async def update_one(self, where: Filter, change: Any, **options: Any) -> int:
        """How many rows matched (0 or 1)."""
        call = self._collection.update_one(
            self._scoped(where), self._guarded(change), session=self._session, **options
        )
        return (await self._measured("update", call)).matched_count

    async def update_many(self, where: Filter, change: Any, **options: Any) -> int:
        """How many rows were changed."""
        call = self._collection.update_many(
            self._scoped(where), self._guarded(change), session=self._session, **options
        )
        return (await self._measured("update_many", call)).modified_count

    async def replace(self, where: Filter, document: Document) -> int:
        """How many rows matched (0 or 1)."""
        call = self._collection.replace_one(
            self._scoped(where), {**document, **self._scope}, session=self._session
        )
        return (await self._measured("replace", call)).matched_count

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
        return await self._measured("find_and_update", call)

    async def bulk(self, requests: Sequence[Any]) -> int:
        """Driver write models, unordered, in one round trip; how many rows matched.

        Only for unbound rows: the models bring filters of their own.
        """
        if self._scope:
            raise ValueError("a bulk write can not be bound to a company")
        call = self._collection.bulk_write(requests, ordered=False, session=self._session)
        return (await self._measured("bulk", call)).matched_count

    async def aggregate(self, pipeline: Sequence[Document], **options: Any) -> list[Document]:
        if self._scope and any(_LEAVING & stage.keys() for stage in pipeline):
            raise ValueError("a company's pipeline must not reach into other collections")
        stages = [{"$match": self._scope}, *pipeline] if self._scope else list(pipeline)
        cursor = await self._measured(
            "aggregate",
            self._collection.aggregate(stages, session=self._session, **options),
        )
        return await self._measured("aggregate", cursor.to_list())

    async def delete_one(self, where: Filter) -> int:
        call = self._collection.delete_one(self._scoped(where), session=self._session)
        return (await self._measured("delete", call)).deleted_count

    async def delete_many(self, where: Filter) -> int:
        call = self._collection.delete_many(self._scoped(where), session=self._session)
        return (await self._measured("delete_many", call)).deleted_count
