"""A snapshot is one moment, whatever is written meanwhile."""

import threading
from collections.abc import Iterator
from typing import Any

import bson
import pytest
from pymongo import MongoClient

from novapulse.core.errors import Unavailable
from novapulse.core.snapshot import SnapshotLost, open_snapshot
from tests.support.stores import RunningStores

WINDOW = "minSnapshotHistoryWindowInSeconds"


@pytest.fixture
def client(stores: RunningStores) -> Iterator[MongoClient[dict[str, Any]]]:
    with MongoClient(stores.mongo_uri) as client:
        yield client


@pytest.fixture
def database(client: MongoClient[dict[str, Any]], stores: RunningStores) -> Iterator[str]:
    name = stores.database_name("snapshot")
    yield name
    client.drop_database(name)


class Movers:
    """Two threads that move money between two collections, in transactions."""

    def __init__(self, client: MongoClient[dict[str, Any]], database: str) -> None:
        self._client = client
        self._rows = client[database]
        self._rows.left.insert_many([{"_id": n, "coins": 100} for n in range(2_000)])
        self._rows.right.insert_many([{"_id": n, "coins": 100} for n in range(2_000)])
        self._is_over = threading.Event()
        self._threads = [threading.Thread(target=self._move, args=(n,)) for n in range(2)]
        self.moves = 0

    def __enter__(self) -> "Movers":
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._is_over.set()
        for thread in self._threads:
            thread.join()

    def _move(self, first: int) -> None:
        number = first
        while not self._is_over.is_set():
            number = (number + 14) % 2_000
            with self._client.start_session() as session, session.start_transaction():
                for name, coins in (("left", -1), ("right", 1)):
                    change = {"$inc": {"coins": coins}}
                    self._rows[name].update_one({"_id": number}, change, session=session)
            self.moves += 1


async def coins(uri: str, database: str) -> list[int]:
    """Of all collections, in what order they are read."""
    found = []
    async with open_snapshot(uri, database) as snapshot:
        for name in ("right", "left", "right"):
            rows = [bson.decode(row) async for batch in snapshot.batches(name) for row in batch]
            found.append(sum(row["coins"] for row in rows))
    return found


async def test_all_reads_of_a_snapshot_see_one_moment(
    stores: RunningStores, client: MongoClient[dict[str, Any]], database: str
):
    with Movers(client, database) as movers:
        seen = [await coins(stores.mongo_uri, database) for _ in range(8)]
    assert movers.moves > 10
    for right, left, again in seen:
        assert right + left == 400_000
        assert again == right
    assert len({right for right, _, _ in seen}) > 1, "nothing was written meanwhile"


async def test_the_history_window_is_what_it_was_afterwards(
    stores: RunningStores, client: MongoClient[dict[str, Any]], database: str
):
    def window() -> int:
        return int(client.admin.command({"getParameter": 1, WINDOW: 1})[WINDOW])

    before = window()
    client[database].rows.insert_one({"_id": 1})
    client.admin.command({"setParameter": 1, WINDOW: 7})
    try:
        async with open_snapshot(stores.mongo_uri, database):
            assert window() == 300
        assert window() == 7
    finally:
        client.admin.command({"setParameter": 1, WINDOW: before})


async def test_a_collection_that_was_made_meanwhile_asks_for_another_try(
    stores: RunningStores, client: MongoClient[dict[str, Any]], database: str
):
    client[database].rows.insert_one({"_id": 1})
    async with open_snapshot(stores.mongo_uri, database) as snapshot:
        client[database].late.insert_one({"_id": 1})
        with pytest.raises(SnapshotLost):
            _ = [batch async for batch in snapshot.batches("late")]
        assert [len(batch) async for batch in snapshot.batches("rows")] == [1]


async def test_an_empty_database_has_no_snapshot(stores: RunningStores, database: str):
    with pytest.raises(Unavailable, match="nothing"):
        async with open_snapshot(stores.mongo_uri, database):
            pass
