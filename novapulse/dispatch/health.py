"""How each webhook does over days: when its people are told, and when it is disabled.

The rules are pure (`Vitals`); `Keeper` writes what changed once a second, and
whatever is to be told in one transaction with the note that it was told.
"""

import asyncio
import time
from contextlib import suppress
from datetime import datetime, timedelta
from enum import IntEnum
from typing import Any

import msgspec
import structlog

from novapulse.core import errors
from novapulse.core.access import Principal, Role
from novapulse.core.clock import until_next
from novapulse.core.context import Context, Runtime, Transaction
from novapulse.core.documents import find_as
from novapulse.core.ids import new_id
from novapulse.core.mongo import Document, UpdateOne
from novapulse.core.telemetry import metrics
from novapulse.deliveries import planner
from novapulse.deliveries.model import (
    Health,
    LastAnswer,
    WebhookDisabled,
    WebhookFailing,
    WebhookRecovered,
)
from novapulse.deliveries.store import HEALTH
from novapulse.subscriptions.model import Subscription
from novapulse.subscriptions.store import SubscriptionStore

log = structlog.get_logger("webhooks")
DISABLE_AFTER = timedelta(days=5)
FAILURES_SPREAD = timedelta(hours=12)
REMIND_AFTER = (timedelta(hours=24), timedelta(days=4))
FLUSH_SECONDS = 1.0
FAILING = "failing"
# A webhook that does well has its last success noted so seldom.
_SUCCESS_SECONDS = 5.0


class Told(IntEnum):
    """What people have heard since the last success."""

    NOTHING = 0
    FAILING = 1
    FOR_A_DAY = 2
    FOR_DAYS = 3


class Vitals:
    """One webhook's health; `told` is as far as it was announced."""

    def __init__(self, webhook_id: str, company_id: str) -> None:
        self.webhook_id = webhook_id
        self.company_id = company_id
        self.failing_since: datetime | None = None
        self.last_failure_at: datetime | None = None
        self.last_success_at: datetime | None = None
        self.last_answer: LastAnswer | None = None
        self.opened_at: datetime | None = None
        self.open_until: datetime | None = None
        self.told = Told.NOTHING
        self.was_opened = False
        self.disable_as: str | None = None
        self.is_dirty = self._is_anew = False
        self._noted = 0.0

    def succeeded(self, answer: LastAnswer) -> None:
        was_failing = self.failing_since is not None
        self.last_success_at, self.last_answer = answer.at, answer
        self.failing_since = self.opened_at = self.open_until = None
        self.was_opened = False
        if was_failing or time.monotonic() - self._noted > _SUCCESS_SECONDS:
            self.is_dirty = True

    def failed(self, answer: LastAnswer) -> None:
        self.failing_since = self.failing_since or answer.at
        self.last_failure_at, self.last_answer = answer.at, answer
        self.is_dirty = True

    def circuit(self, opened_at: float | None, until: float, *, clock: datetime) -> None:
        """The circuit opened, or waits longer."""
        zone = clock.tzinfo
        self.opened_at = None if opened_at is None else datetime.fromtimestamp(opened_at, zone)
        self.open_until = None if opened_at is None else datetime.fromtimestamp(until, zone)
        self.was_opened = self.was_opened or opened_at is not None
        self.is_dirty = True

    def resumed(self, at: datetime) -> bool:
        """Begin anew, if it failed before that; whether it did."""
        if self.failing_since is None or self.failing_since >= at:
            return False
        self.reset()
        return True

    def adopt(self, succeeded_at: datetime) -> bool:
        """Another dispatcher delivered to it then; whether that is news.

        Of the failures here only the last one is known to have come later.
        """
        if self.failing_since is None or succeeded_at <= self.failing_since:
            return False
        is_later = self.last_failure_at is not None and self.last_failure_at > succeeded_at
        self.failing_since = self.last_failure_at if is_later else None
        self.last_success_at, self.is_dirty = succeeded_at, True
        return True

    def reset(self) -> None:
        """It begins anew."""
        self.failing_since = self.opened_at = self.open_until = None
        self.told, self.was_opened, self.disable_as = Told.NOTHING, False, None
        self.is_dirty = self._is_anew = True

    def again(self, change: Document) -> None:
        """That was not written, or what it means was not told."""
        self.is_dirty, self._is_anew = True, self._is_anew or "told" in change["$set"]

    def to_tell(self) -> Told:
        """How much people should have heard by now."""
        if self.failing_since is None or self.last_failure_at is None:
            return Told.NOTHING
        lasting = self.last_failure_at - self.failing_since
        days = sum(lasting >= after for after in REMIND_AFTER)
        return Told(Told.FAILING + days) if days or self.was_opened else self.told

    def is_hopeless(self) -> bool:
        """Five days without a success, and failures that are more than one bad moment."""
        if self.failing_since is None or self.last_failure_at is None:
            return False
        lasting = self.last_failure_at - self.failing_since
        return lasting >= max(DISABLE_AFTER, FAILURES_SPREAD)

    def health(self) -> Health:
        return Health(
            failing_since=self.failing_since,
            last_success_at=self.last_success_at,
            last_failure_at=self.last_failure_at,
            circuit_open_until=self.open_until,
            last_answer=self.last_answer,
        )

    def row(self) -> Document:
        fields: Any = msgspec.to_builtins(self.health(), builtin_types=(datetime,))
        return {**fields, "companyId": self.company_id, "circuitOpenedAt": self.opened_at}

    def take_change(self) -> Document:
        """Of its row, to be written now; a later success that another dispatcher noted stays."""
        fields = self.row()
        succeeded_at = fields.pop("lastSuccessAt")
        if self._is_anew:
            fields["told"] = 0
        self.is_dirty, self._is_anew, self._noted = False, False, time.monotonic()
        later = {"$max": {"lastSuccessAt": succeeded_at}} if succeeded_at else {}
        return {"$set": fields, **later}


def vitals_of(webhook_id: str, company_id: str, row: Document | None) -> Vitals:
    """As they were written last."""
    vitals = Vitals(webhook_id, company_id)
    known = find_as(row, Health)
    if row is None or known is None:
        return vitals
    vitals.failing_since = known.failing_since
    vitals.last_success_at = known.last_success_at
    vitals.last_failure_at = known.last_failure_at
    vitals.last_answer = known.last_answer
    vitals.open_until = known.circuit_open_until
    vitals.opened_at = row.get("circuitOpenedAt")
    vitals.told = Told(row.get("told", 0))
    return vitals


class Keeper:
    """Writes vitals that changed and tells what is to be told."""

    def __init__(self, runtime: Runtime, vitals: dict[str, Vitals]) -> None:
        self._runtime = runtime
        self._vitals = vitals
        self._rows = runtime.db.platform(HEALTH)

    async def keep(self) -> None:
        """Until cancelled."""
        while True:
            await asyncio.sleep(until_next(FLUSH_SECONDS))
            with suppress(errors.Unavailable, errors.StorageFull):
                await self.flush()

    async def flush(self) -> None:
        dirty = [vitals for vitals in self._vitals.values() if vitals.is_dirty]
        are_open = sum(vitals.open_until is not None for vitals in self._vitals.values())
        metrics.webhook_circuits_open.set(are_open)
        if not dirty:
            return
        left = {one: one.take_change() for one in dirty}
        try:
            await self._rows.bulk(
                [UpdateOne({"_id": one.webhook_id}, left[one], upsert=True) for one in dirty]
            )
            for one in dirty:
                await self._tell(one)
                del left[one]
        except BaseException:  # the end of the process, too: there is a last flush
            for one, change in left.items():
                one.again(change)
            raise

    async def _tell(self, vitals: Vitals) -> None:
        try:
            if vitals.disable_as is not None or vitals.is_hopeless():
                await self._disable(vitals, vitals.disable_as or FAILING)
            elif vitals.failing_since is None and vitals.told is not Told.NOTHING:
                await self._announce(vitals, Told.NOTHING)
            elif vitals.to_tell() > vitals.told:
                await self._announce(vitals, vitals.to_tell())
        except errors.NotFound:  # it was deleted meanwhile
            vitals.reset()
            vitals.is_dirty = False

    async def _announce(self, vitals: Vitals, told: Told) -> None:
        """`webhook.failing`, or `webhook.recovered`; once, however many dispatchers see it."""
        ctx = self._context(vitals)
        async with ctx.transaction() as tx:
            subscription = await SubscriptionStore(tx).get(vitals.webhook_id)
            webhook = subscription.webhook
            if told and await _is_outdated(tx, vitals, subscription):
                return
            if await self._is_first(tx, vitals, told):
                kind = WebhookFailing if told else WebhookRecovered
                tx.record(kind(webhook=webhook, health=vitals.health()))
                log.warning("webhook.told", webhookId=webhook.id, told=told.name.lower())
        vitals.told = told

    async def _is_first(self, tx: Transaction, vitals: Vitals, told: Told) -> bool:
        before: Document = {"$not": {"$gte": int(told)}} if told else {"$gt": 0}
        where = {"_id": vitals.webhook_id, "told": before}
        return bool(await tx.rows(HEALTH).update_one(where, {"$set": {"told": int(told)}}))

    async def _disable(self, vitals: Vitals, reason: str) -> None:
        ctx = self._context(vitals)
        async with ctx.transaction() as tx:
            subscriptions = SubscriptionStore(tx)
            former = await subscriptions.get(vitals.webhook_id)
            if reason == FAILING and await _is_outdated(tx, vitals, former):
                return
            if former.webhook.is_active:
                webhook = former.webhook.disabled(reason).next_version(at=ctx.now())
                after = msgspec.structs.replace(former, webhook=webhook)
                await subscriptions.save(after, if_version=former.webhook.version)
                tx.record(WebhookDisabled(webhook=webhook, health=vitals.health()))
                await tx.enqueue(planner.SETTLE, {"webhook_id": webhook.id})
                log.warning("webhook.disabled", webhookId=webhook.id, reason=reason)
        vitals.reset()

    def _context(self, vitals: Vitals) -> Context:
        principal = Principal(
            user_id="system",
            role=Role.SUPER_ADMIN,
            company_id=vitals.company_id,
            is_operator=True,
        )
        return Context(self._runtime, principal, request_id=new_id("req"), via="job")


async def _is_outdated(tx: Transaction, vitals: Vitals, subscription: Subscription) -> bool:
    """Whether it was resumed since it fails, or another dispatcher delivered to it."""
    if subscription.resumed_at is not None and vitals.resumed(subscription.resumed_at):
        return True
    row = await tx.rows(HEALTH).find_one({"_id": vitals.webhook_id})
    succeeded_at = row.get("lastSuccessAt") if row else None
    return succeeded_at is not None and vitals.adopt(succeeded_at)
