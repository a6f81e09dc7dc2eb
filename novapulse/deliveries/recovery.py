"""Replaying what failed for good, many at a time."""

from collections.abc import AsyncIterator, Sequence
from datetime import datetime

from novapulse.core.context import Context, Transaction
from novapulse.core.documents import from_document
from novapulse.core.errors import TransientConflict
from novapulse.core.jobs.context import JobContext
from novapulse.core.mongo import Document, Duplicate
from novapulse.deliveries import planner, settling, store
from novapulse.deliveries.model import Delivery, DeliveryState, Trigger
from novapulse.deliveries.store import DELIVERIES, DeliveryLog
from novapulse.subscriptions.store import SubscriptionStore

BATCH = 500
_TRIES = 10
_MOST_COUNTED = 1_000_000
_FAILED = (DeliveryState.EXHAUSTED, DeliveryState.DISCARDED)


async def recover(ctx: JobContext, webhook_id: str, *, since: datetime, until: datetime) -> None:
    """Plan a new delivery for each that failed and was not replayed since; release held ones.

    Done twice, it finds the replays of the first time and leaves them alone.
    """
    await settling.settle(ctx, webhook_id)
    failed = [_failed(webhook_id, state, since=since, until=until) for state in _FAILED]
    total = sum([await _count(ctx, where) for where in failed])
    done = 0
    for where in failed:
        async for rows in _batches(ctx, where):
            await _replay(ctx, webhook_id, rows)
            done += len(rows)
            await ctx.report(min(done, total), total, "planned")
    await ctx.report(total, total, "planned")


def _failed(webhook_id: str, state: DeliveryState, *, since: datetime, until: datetime) -> Document:
    return {
        "webhookId": webhook_id,
        "state": str(state),
        "createdAt": {"$gte": since, "$lte": until},
        "trigger": {"$ne": str(Trigger.TEST)},
    }


async def _count(ctx: Context, where: Document) -> int:
    rows = ctx.read().rows(DELIVERIES)
    return await rows.count(where, limit=_MOST_COUNTED, hint=store.STATE)


async def _batches(ctx: Context, where: Document) -> AsyncIterator[list[Document]]:
    """Oldest first: what failed stays failed, so its place does not move."""
    passed: Document = {}
    while True:
        rows = (
            await ctx.read()
            .rows(DELIVERIES)
            .find(
                {**where, **passed},
                sort=(("createdAt", 1), ("_id", 1)),
                limit=BATCH,
                hint=store.STATE,
            )
        )
        if rows:
            yield rows
        if len(rows) < BATCH:
            return
        last = rows[-1]
        later = [
            {"createdAt": {"$gt": last["createdAt"]}},
            {"createdAt": last["createdAt"], "_id": {"$gt": last["_id"]}},
        ]
        passed = {"$or": later}


async def _replay(ctx: Context, webhook_id: str, rows: Sequence[Document]) -> None:
    for remaining in reversed(range(_TRIES)):
        try:
            return await _replay_once(ctx, webhook_id, rows)
        except (TransientConflict, Duplicate):  # a replay by hand at the same moment
            if not remaining:
                raise
    return None


async def _replay_once(ctx: Context, webhook_id: str, rows: Sequence[Document]) -> None:
    log = DeliveryLog(ctx.runtime)
    async with ctx.transaction() as tx:
        subscription = await SubscriptionStore(tx).find(webhook_id)
        if subscription is None or not subscription.webhook.is_active:
            return
        newest = await _newest(tx, webhook_id, [row["eventId"] for row in rows])
        # One that has a later replay was seen to already, whatever came of that.
        due = [row for row in rows if row["replay"] == newest[row["eventId"]]]
        made = [_again(from_document(row, Delivery), at=ctx.now()) for row in due]
        if not made:
            return
        await tx.rows(DELIVERIES).insert_many([log.row(tx.company_id, one) for one in made])
        retries = subscription.webhook.retries
        for one in made:
            tx.plan(
                planner.deliver_job(ctx.runtime, one, company_id=tx.company_id, retries=retries)
            )


def _again(delivery: Delivery, *, at: datetime) -> Delivery:
    return planner.again(delivery, replay=delivery.replay + 1, trigger=Trigger.RECOVER, at=at)


async def _newest(tx: Transaction, webhook_id: str, event_ids: Sequence[str]) -> dict[str, int]:
    """Event to the number of its last replay to this webhook."""
    known = await tx.rows(DELIVERIES).find(
        {"eventId": {"$in": event_ids}, "webhookId": webhook_id},
        limit=_MOST_COUNTED,
        hint=store.ONCE,
        projection={"eventId": 1, "replay": 1},
    )
    newest: dict[str, int] = {}
    for row in known:
        newest[row["eventId"]] = max(newest.get(row["eventId"], 0), row["replay"])
    return newest
