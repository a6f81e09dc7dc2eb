"""The choke point: rows that are bound to a company can not leave it."""

import asyncio
from typing import Any

import pytest

from novapulse.core.documents import new_object_id
from novapulse.core.errors import Error, TransientConflict
from novapulse.core.mongo import Duplicate, Rows, UpdateOne
from tests.support.api import Api, as_principal


@pytest.fixture
async def mine(api: Api) -> Rows:
    return api.runtime.db.tenant(f"mine-{new_object_id()}").rows("things")


@pytest.fixture
async def theirs(api: Api) -> Rows:
    """Another company with one row."""
    rows = api.runtime.db.tenant(f"theirs-{new_object_id()}").rows("things")
    await rows.insert({"_id": new_object_id(), "n": 1})
    return rows


async def only_row(rows: Rows) -> dict[str, Any]:
    (row,) = await rows.find({}, limit=10)
    return row


async def test_every_read_stays_at_home(mine: Rows, theirs: Rows) -> None:
    row = await only_row(theirs)
    assert await mine.find({}, limit=10) == []
    assert await mine.find_one({"_id": row["_id"]}) is None
    assert await mine.count({}, limit=10) == 0
    assert await mine.aggregate([{"$match": {}}]) == []
    assert await mine.find({"$or": [{"n": 1}, {"companyId": row["companyId"]}]}, limit=10) == []


async def test_every_write_stays_at_home(mine: Rows, theirs: Rows) -> None:
    row = await only_row(theirs)
    where, change = {"_id": row["_id"]}, {"$set": {"n": 2}}
    assert await mine.update_one(where, change) == 0
    assert await mine.update_many({}, change) == 0
    assert await mine.find_and_update(where, change) is None
    assert await mine.replace(where, {"_id": row["_id"], "n": 2}) == 0
    assert await mine.delete_one(where) == await mine.delete_many({}) == 0
    assert await only_row(theirs) == row


async def test_inserts_get_the_company(mine: Rows, theirs: Rows) -> None:
    company = (await only_row(theirs))["companyId"]
    await mine.insert({"_id": new_object_id(), "companyId": company})
    await mine.insert_many([{"_id": new_object_id(), "companyId": company}])
    await mine.insert_missing([{"_id": new_object_id(), "companyId": company}])
    assert await mine.count({}, limit=10) == 3
    assert await theirs.count({}, limit=10) == 1


@pytest.mark.parametrize("value", ["other", {"$ne": "x"}, {"$exists": True}, None])
async def test_a_query_that_names_another_company_is_a_bug(mine: Rows, value: Any) -> None:
    with pytest.raises(ValueError, match="companyId"):
        await mine.find({"companyId": value}, limit=1)
    with pytest.raises(ValueError, match="companyId"):
        await mine.delete_many({"companyId": value})


@pytest.mark.parametrize(
    "change",
    [
        {"$set": {"companyId": "other"}},
        {"$unset": {"companyId": ""}},
        {"$rename": {"companyId": "c"}},
        [{"$set": {"companyId": "other"}}],
        [{"$unset": "companyId"}],
        [{"$replaceWith": {"_id": "$_id", "companyId": "other"}}],
    ],
)
async def test_a_row_can_not_be_moved_to_another_company(mine: Rows, change: Any) -> None:
    await mine.insert({"_id": new_object_id()})
    with pytest.raises((ValueError, Error)):
        await mine.update_one({}, change)
    assert await mine.count({}, limit=10) == 1


async def test_writes_in_bulk_stay_at_home(mine: Rows, theirs: Rows) -> None:
    row = await only_row(theirs)
    with pytest.raises(ValueError, match="compan"):
        await mine.bulk([UpdateOne({"_id": row["_id"]}, {"$set": {"n": 2}})])
    assert await only_row(theirs) == row


async def test_an_upsert_stays_at_home(mine: Rows, theirs: Rows) -> None:
    made = await mine.find_and_update({"n": 1}, {"$set": {"x": 1}}, upsert=True)
    assert made is not None
    assert made["companyId"] != (await only_row(theirs))["companyId"]


async def test_missing_rows_are_inserted_and_present_ones_left(mine: Rows) -> None:
    ids = [new_object_id() for _ in range(4)]
    await mine.insert_missing([{"_id": one, "n": 1} for one in ids[:2]])
    await mine.insert_missing([{"_id": one, "n": 2} for one in ids])
    found = await mine.find({}, sort=(("_id", 1),), limit=10)
    assert [(row["_id"], row["n"]) for row in found] == list(zip(ids, [1, 1, 2, 2], strict=True))


async def test_a_row_that_can_not_be_stored_is_not_taken_for_present(mine: Rows) -> None:
    present = {"_id": new_object_id()}
    await mine.insert(present)
    huge = {"_id": new_object_id(), "text": "x" * (17 * 1024 * 1024)}
    with pytest.raises(Exception, match=r".+"):
        await mine.insert_missing([present, huge])


async def test_a_second_row_under_one_key_is_named_by_its_index(mine: Rows) -> None:
    row = {"_id": new_object_id()}
    await mine.insert(row)
    for insert in (mine.insert(row), mine.insert_many([row])):
        with pytest.raises(Duplicate) as caught:
            await insert
        assert caught.value.index == "_id_"


async def test_a_transaction_is_there_as_a_whole_or_not_at_all(api: Api) -> None:
    ada = await api.found_company()
    ctx = api.context(as_principal(ada))

    async def break_on_the_way() -> None:
        async with ctx.transaction() as tx:
            await tx.rows("things").insert({"_id": new_object_id()})
            assert len(await ctx.read().rows("things").find({}, limit=10)) == 1
            raise RuntimeError("on the way")

    with pytest.raises(RuntimeError):
        await break_on_the_way()
    assert await ctx.read().rows("things").find({}, limit=10) == []


async def test_two_transactions_that_meet_are_told_to_try_again(api: Api) -> None:
    ada = await api.found_company()
    rows = api.runtime.db.tenant(str(ada.company_id)).rows("things")
    await rows.insert({"_id": "shared", "n": 0})

    async def add_one() -> None:
        async with api.context(as_principal(ada)).transaction() as tx:
            row = await tx.rows("things").find_one({"_id": "shared"})
            assert row is not None
            await asyncio.sleep(0.02)
            change = {"$set": {"n": row["n"] + 1}}
            await tx.rows("things").update_one({"_id": "shared"}, change)

    ended = await asyncio.gather(*(add_one() for _ in range(6)), return_exceptions=True)
    assert {type(one) for one in ended} <= {type(None), TransientConflict}
    row = await rows.find_one({"_id": "shared"})
    assert row is not None
    assert row["n"] == ended.count(None) >= 1


async def test_an_inner_transaction_joins_the_outer_one(api: Api) -> None:
    ada = await api.found_company()
    ctx = api.context(as_principal(ada))

    async def break_after_the_inner_one() -> None:
        async with ctx.transaction() as outer:
            async with ctx.transaction() as inner:
                assert inner is outer
                await inner.rows("things").insert({"_id": new_object_id()})
            raise RuntimeError("after the inner one")

    with pytest.raises(RuntimeError):
        await break_after_the_inner_one()
    assert await ctx.read().rows("things").find({}, limit=10) == []
