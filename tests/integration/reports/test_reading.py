"""How sources are read: off the primary, in order along an index, however few of the rows match."""

from typing import Any

import pytest

from novapulse.core.access import Principal, Role
from novapulse.core.context import Context
from novapulse.core.documents import new_object_id
from novapulse.core.errors import Unavailable
from novapulse.core.mongo import Database, Reading
from novapulse.core.sources import SOURCES, View
from tests.support.api import Api
from tests.support.stores import RunningStores

COMPANY = new_object_id()


@pytest.fixture(scope="module")
async def ctx(api: Api) -> Context:
    """On a company with 2,000 rows of everything, of which few are alike."""
    now = api.runtime.clock()
    for source in SOURCES.values():
        empty = source.look(context(api), source.query(), None)
        rows = [
            {
                "_id": new_object_id(),
                "companyId": company,
                "webhookId": new_object_id()[:23] + str(number % 3),
                "eventId": new_object_id(),
                "replay": 0,
                "emailKey": new_object_id(),
                "status": "done" if number == 1_999 else "todo",
                "state": "exhausted" if number == 1_999 else "delivered",
                "actor": {"userId": "u", "role": "user", "via": "api"},
                "type": "task.created",
                "data": {},
                "requestId": "r",
                "resourceId": "r",
                "createdAt": now,  # all of one moment: the worst case for pages
            }
            for number in range(2_000)
            for company in (COMPANY, "another")
        ]
        name = empty.rows._name
        if not await api.runtime.db.platform(name).count({"companyId": COMPANY}, limit=1):
            await api.runtime.db.platform(name).insert_many(rows)
    return context(api)


def context(api: Api) -> Context:
    principal = Principal(user_id="u", role=Role.COMPANY_ADMIN, company_id=COMPANY)
    return Context(api.runtime, principal, request_id="test")


@pytest.mark.parametrize("name", sorted(SOURCES))
async def test_a_source_goes_through_its_index_once(
    api: Api, ctx: Context, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = SOURCES[name]
    examined, stages = 0, set()
    find = View._find

    async def explained(self: View, part: Any, *, limit: int) -> list[Any]:
        nonlocal examined
        where = self.rows._scoped({"$and": [self.where, part]})
        cursor = api.runtime.db.raw[self.rows._name].find(where, limit=limit, hint=self.index)
        plan = await cursor.sort(list(self.order)).explain()
        examined += plan["executionStats"]["totalDocsExamined"]
        stages.update(_stages(plan["queryPlanner"]["winningPlan"]))
        return await find(self, part, limit=limit)

    monkeypatch.setattr(View, "_find", explained)
    view = source.look(ctx, source.query(), None)
    rows = [row async for batch in view.batches(size=300) for row in batch]
    assert len(rows) == 2_000
    assert examined <= 2_000 + 10
    assert "IXSCAN" in stages
    assert "SORT" not in stages


def _stages(plan: dict[str, Any]) -> set[str]:
    below = [plan[name] for name in ("inputStage", "queryPlan") if name in plan]
    found = {plan["stage"]} if "stage" in plan else set()
    return found.union(*(_stages(one) for one in (*below, *plan.get("inputStages", ()))))


async def test_rows_that_are_few_among_many_are_found_in_one_pass(ctx: Context) -> None:
    source = SOURCES["tasks"]
    done = source.look(ctx, source.query(status="done"), None)  # type: ignore[call-arg]  # a task's
    assert len([row async for batch in done.batches(size=10) for row in batch]) == 1
    assert await done.count(limit=5_000) == 1
    assert await source.look(ctx, source.query(), None).count(limit=100) == 100


async def test_long_reads_have_more_time_and_go_to_a_secondary(stores: RunningStores) -> None:
    db = Database(stores.mongo_uri, "any", timeout_seconds=0.000_1, max_pool_size=2)
    try:
        with pytest.raises(Unavailable):
            await db.tenant("c").rows("any").find({}, limit=1)
        bulk = db.tenant("c", reading=Reading.BULK).rows("any")
        assert await bulk.find({}, limit=1) == []
        assert await bulk.count({}, limit=1) == 0
        assert bulk._collection.read_preference.name == "SecondaryPreferred"
        assert db.tenant("c").rows("any")._collection.read_preference.name == "Primary"
    finally:
        await db.close()
