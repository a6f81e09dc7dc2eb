"""What the leading scheduler does for deliveries now and then; a repeat is harmless.

A delivery waits for its next attempt exactly as long as it has a job, but jobs
can be cleared or cancelled by hand, and one that kills its consumers is given
up: nobody is told of that. Such a delivery has failed, and can be replayed.
"""

import structlog

from novapulse.core.context import Runtime
from novapulse.core.jobs.rows import JOBS
from novapulse.core.jobs.states import State
from novapulse.core.mongo import Document, UpdateOne
from novapulse.deliveries import planner, store
from novapulse.deliveries.model import DeliveryState
from novapulse.deliveries.store import DELIVERIES

log = structlog.get_logger("webhooks")
_BATCH = 500
_MOST_BATCHES = 20  # of one webhook and state in a round; the oldest come first
_WAITING = (DeliveryState.PENDING, DeliveryState.RETRY)
_GIVEN_UP = (State.CANCELLED, State.DEAD)


async def sweep(runtime: Runtime) -> int:
    """End the waiting deliveries whose job is gone, as failed; how many."""
    ended = 0
    place: tuple[str, str] | None = ("", "")
    while place is not None and (place := await _next_place(runtime, place)) is not None:
        for state in _WAITING:
            ended += await _sweep_one(runtime, place, state=state)
    if ended:
        log.warning("webhook.deliveries_given_up", deliveries=ended)
    return ended


async def _next_place(runtime: Runtime, after: tuple[str, str]) -> tuple[str, str] | None:
    """The next company and webhook with deliveries that wait, in the order of the index."""
    company_id, webhook_id = after
    rows = runtime.db.platform(DELIVERIES)
    waiting = {"state": {"$in": [str(state) for state in _WAITING]}}
    for further in (
        {"companyId": company_id, "webhookId": {"$gt": webhook_id}},
        {"companyId": {"$gt": company_id}},
    ):
        found = await rows.find(
            {**further, **waiting},
            sort=(("companyId", 1), ("webhookId", 1)),
            limit=1,
            hint=store.STATE,
            projection={"companyId": 1, "webhookId": 1},
        )
        if found:
            return found[0]["companyId"], found[0]["webhookId"]
    return None


async def _sweep_one(runtime: Runtime, place: tuple[str, str], *, state: DeliveryState) -> int:
    """Those of one webhook, the oldest first."""
    company_id, webhook_id = place
    where: Document = {"companyId": company_id, "webhookId": webhook_id, "state": str(state)}
    after: Document = {}
    ended = 0
    for _ in range(_MOST_BATCHES):
        rows = await runtime.db.platform(DELIVERIES).find(
            {**where, **after},
            sort=(("createdAt", 1), ("_id", 1)),
            limit=_BATCH,
            hint=store.STATE,
        )
        ended += await _end(runtime, await _without_job(runtime, rows)) if rows else 0
        if len(rows) < _BATCH:
            break
        at, row_id = rows[-1]["createdAt"], rows[-1]["_id"]
        after = {"$or": [{"createdAt": {"$gt": at}}, {"createdAt": at, "_id": {"$gt": row_id}}]}
    return ended


async def _without_job(runtime: Runtime, rows: list[Document]) -> list[tuple[Document, str]]:
    """Those that nothing will send, and why."""
    jobs = {planner.job_id(row["_id"], row.get("holds", 0)): row for row in rows}
    found = await runtime.db.platform(JOBS).find(
        {"_id": {"$in": list(jobs)}}, limit=len(jobs), projection={"state": 1}
    )
    state_of = {job["_id"]: job["state"] for job in found}
    return [
        (row, f"its job was {state_of.get(job_id, 'cleared')}")
        for job_id, row in jobs.items()
        if state_of.get(job_id) in (None, *_GIVEN_UP)
    ]


async def _end(runtime: Runtime, lost: list[tuple[Document, str]]) -> int:
    """As exhausted, unless something happened to it since it was read."""
    if not lost:
        return 0
    now = runtime.clock()
    return await runtime.db.platform(DELIVERIES).bulk(
        [
            UpdateOne(
                {"_id": row["_id"], "state": row["state"], "updatedAt": row["updatedAt"]},
                {
                    "$set": {
                        "state": str(DeliveryState.EXHAUSTED),
                        "reason": reason,
                        "updatedAt": now,
                        "dueAt": None,
                    }
                },
            )
            for row, reason in lost
        ]
    )
