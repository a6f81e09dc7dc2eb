"""`notification.create`: how a workflow tells people something, once for its key."""

from collections.abc import AsyncIterator
from typing import Any

import pytest

from novapulse.core.clock import system_clock
from novapulse.core.errors import Invalid
from novapulse.core.jobs.kinds import Queue
from novapulse.identity.store import USERS
from novapulse.notifications.store import NOTIFICATIONS
from novapulse.processes import features
from tests.support.engine import COMPANY, OTHER, Engine, open_engine
from tests.support.stores import RunningStores

assert features.JOB_MODULES  # declares the kind
KIND = "notification.create"
HELLO: dict[str, Any] = {"user_ids": ["ann", "zoe", "gone", "nobody"], "title": "Hello"}


@pytest.fixture
async def engine(stores: RunningStores) -> AsyncIterator[Engine]:
    """Ann is a member, Zoe another company's, and Gone was disabled."""
    async with open_engine(stores) as opened:
        users = opened.db.platform(USERS)
        now = system_clock()
        for name, company_id, status in (
            ("ann", COMPANY, "active"),
            ("zoe", OTHER, "active"),
            ("gone", COMPANY, "disabled"),
        ):
            await users.insert(
                {
                    "_id": name,
                    "companyId": company_id,
                    "email": f"{name}@example.com",
                    "name": name,
                    "role": "user",
                    "status": status,
                    "createdAt": now,
                    "updatedAt": now,
                }
            )
        yield opened


async def notifications(engine: Engine) -> list[dict[str, Any]]:
    return await engine.db.platform(NOTIFICATIONS).find({}, limit=100)


async def test_active_members_of_the_company_are_told(engine: Engine) -> None:
    payload = {**HELLO, "body": "It is done", "link": "/tasks/1"}
    async with engine.working(Queue.WORKFLOW):
        await engine.until_state(await engine.add_one(KIND, payload), "completed")
    (row,) = await notifications(engine)
    assert (row["userId"], row["companyId"], row["type"]) == ("ann", COMPANY, "message")
    assert (row["title"], row["body"], row["link"]) == ("Hello", "It is done", "/tasks/1")


async def test_a_key_tells_once_however_often_it_is_enqueued(engine: Engine) -> None:
    async with engine.working(Queue.WORKFLOW):
        for _ in range(2):
            async with engine.transaction() as tx:
                job_id = await tx.enqueue(KIND, HELLO, key="run1/step2")
            await engine.until_state(job_id, "completed")
        for _ in range(2):
            await engine.until_state(await engine.add_one(KIND, HELLO), "completed")
    assert len(await notifications(engine)) == 3


async def test_what_could_not_be_shown_is_refused_when_it_is_enqueued(engine: Engine) -> None:
    async with engine.transaction() as tx:
        with pytest.raises(Invalid, match="link"):
            await tx.enqueue(KIND, {**HELLO, "link": "javascript:alert(1)"})
