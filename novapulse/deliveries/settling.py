"""Making a webhook's open deliveries agree with its state: hold, release or discard them.

Each batch is a transaction over deliveries and their jobs, so that a delivery
waits for its next attempt exactly as long as it has a job.
"""

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from datetime import datetime

from novapulse.core.context import Context, Transaction
from novapulse.core.documents import from_document
from novapulse.core.errors import NotFound, TransientConflict
from novapulse.core.jobs.ledger import CLAIMABLE
from novapulse.core.jobs.rows import JOBS
from novapulse.core.mongo import Document
from novapulse.deliveries import planner, store
from novapulse.deliveries.model import Delivery, DeliveryState
from novapulse.deliveries.store import DELIVERIES
from novapulse.subscriptions.model import Webhook, WebhookState
from novapulse.subscriptions.store import SubscriptionStore

BATCH = 500
_WAITING = (DeliveryState.PENDING, DeliveryState.RETRY)
_TRIES = 10
Move = Callable[[Transaction, Sequence[Document], datetime], Awaitable[None]]


async def settle(ctx: Context, webhook_id: str) -> None:
    """Hold what waits for a paused or disabled webhook, release what was held for an active one.

    What a deleted one still had is discarded. What is being sent meanwhile is
    left to the dispatcher, which looks at the state once more after it.
    """
    try:
        webhook = (await SubscriptionStore(ctx.read()).get(webhook_id)).webhook
    except NotFound:
        await _move(
            ctx, webhook_id, states=(*_WAITING, DeliveryState.HELD), expected=None, move=_discard
        )
        return
    if webhook.is_active:
        states: tuple[DeliveryState, ...] = (DeliveryState.HELD,)
        release = _release(ctx, retries=webhook.retries)
        await _move(ctx, webhook_id, states=states, expected=webhook.state, move=release)
    else:
        await _move(ctx, webhook_id, states=_WAITING, expected=webhook.state, move=_hold(webhook))


async def _move(
    ctx: Context,
    webhook_id: str,
    *,
    states: Sequence[DeliveryState],
    expected: WebhookState | None,
    move: Move,
) -> None:
    """All deliveries in these states; stops when the webhook is not as expected any more.

    Whoever changed it has planned a settling of its own.
    """
    for state in states:
        async for rows in _batches(ctx, webhook_id, state):
            if not await _move_batch(ctx, webhook_id, rows=rows, expected=expected, move=move):
                return


async def _move_batch(
    ctx: Context,
    webhook_id: str,
    *,
    rows: Sequence[Document],
    expected: WebhookState | None,
    move: Move,
) -> bool:
    for remaining in reversed(range(_TRIES)):
        try:
            async with ctx.transaction() as tx:
                found = await SubscriptionStore(tx).find(webhook_id)
                if (found.webhook.state if found else None) != expected:
                    return False
                await move(tx, rows, ctx.now())
            return True
        except TransientConflict:  # somebody changed the webhook, or claimed one of them
            if not remaining:
                raise
    return False


async def _batches(
    ctx: Context, webhook_id: str, state: DeliveryState
) -> AsyncIterator[list[Document]]:
    """The webhook's deliveries in a state, oldest first: as they are sent when released."""
    passed: tuple[datetime, str] | None = None
    while True:
        where: Document = {"webhookId": webhook_id, "state": str(state)}
        if passed is not None:
            at, row_id = passed
            where["$or"] = [{"createdAt": {"$gt": at}}, {"createdAt": at, "_id": {"$gt": row_id}}]
        rows = (
            await ctx.read()
            .rows(DELIVERIES)
            .find(where, sort=(("createdAt", 1), ("_id", 1)), limit=BATCH, hint=store.STATE)
        )
        if rows:
            yield rows
        if len(rows) < BATCH:
            return
        passed = (rows[-1]["createdAt"], rows[-1]["_id"])


def _job_ids(rows: Sequence[Document]) -> dict[str, str]:
    """Id of the present job to that of the delivery."""
    return {planner.job_id(row["_id"], row.get("holds", 0)): row["_id"] for row in rows}


async def _take_jobs(tx: Transaction, rows: Sequence[Document]) -> list[str]:
    """Delete the jobs that wait; the deliveries that they were for. Running ones stay."""
    jobs = _job_ids(rows)
    waiting = {"_id": {"$in": list(jobs)}, **CLAIMABLE}
    found = await tx.rows(JOBS).find(waiting, limit=len(jobs), projection={"_id": 1})
    ids = [row["_id"] for row in found]
    await tx.rows(JOBS).delete_many({"_id": {"$in": ids}})
    return [jobs[job_id] for job_id in ids]


def _hold(webhook: Webhook) -> Move:
    async def hold(tx: Transaction, rows: Sequence[Document], now: datetime) -> None:
        ids = await _take_jobs(tx, rows)
        held = {"state": str(DeliveryState.HELD), "updatedAt": now, "dueAt": None}
        await tx.rows(DELIVERIES).update_many(
            {"_id": {"$in": ids}}, {"$set": held, "$inc": {"holds": 1}}
        )
        await store.rely_on(tx, webhook)  # last: until the commit nobody else can change it

    return hold


async def _discard(tx: Transaction, rows: Sequence[Document], now: datetime) -> None:
    ids = await _take_jobs(tx, rows)
    ids += [row["_id"] for row in rows if row["state"] == DeliveryState.HELD]
    gone = {
        "state": str(DeliveryState.DISCARDED),
        "updatedAt": now,
        "dueAt": None,
        "reason": "the webhook was deleted",
    }
    await tx.rows(DELIVERIES).update_many({"_id": {"$in": ids}}, {"$set": gone})


def _release(ctx: Context, *, retries: int) -> Move:
    async def release(tx: Transaction, rows: Sequence[Document], now: datetime) -> None:
        held = {"_id": {"$in": [row["_id"] for row in rows]}, "state": str(DeliveryState.HELD)}
        for attempted, state in ((0, DeliveryState.PENDING), (1, DeliveryState.RETRY)):
            which = {"$gt": 0} if attempted else 0
            change = {"state": str(state), "updatedAt": now, "reason": None}
            await tx.rows(DELIVERIES).update_many({**held, "attempts": which}, {"$set": change})
        for row in rows:
            tx.plan(
                planner.deliver_job(
                    ctx.runtime,
                    from_document(row, Delivery),
                    company_id=tx.company_id,
                    retries=retries,
                    holds=row.get("holds", 0),
                )
            )

    return release
