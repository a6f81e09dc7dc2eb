"""The webhooks that are being sent to, as of at most a second ago, ready to sign."""

import asyncio
import time
from collections.abc import Collection
from datetime import datetime

from novapulse.core.context import Runtime
from novapulse.core.mongo import Document
from novapulse.deliveries.sending import Opened
from novapulse.deliveries.store import HEALTH
from novapulse.dispatch.board import Board, Seat
from novapulse.dispatch.health import Vitals, vitals_of
from novapulse.subscriptions.store import WEBHOOKS, to_subscription

_FRESH_SECONDS = 1.0
_KEEP_SECONDS = 900.0
_MOST = 100_000


class Targets:
    """A cache of subscriptions: what changed is read again, who is not needed is forgotten."""

    def __init__(self, runtime: Runtime, board: Board) -> None:
        self._runtime = runtime
        self._board = board
        self._webhooks = runtime.db.platform(WEBHOOKS)
        self._health = runtime.db.platform(HEALTH)
        self._opened: dict[str, Opened | None] = {}  # None: it was deleted
        self.vitals: dict[str, Vitals] = {}
        self._checked_at = 0.0
        self._tidied_at = time.monotonic()

    @property
    def is_old(self) -> bool:
        return time.monotonic() - self._checked_at > _FRESH_SECONDS

    def find(self, webhook_id: str) -> Opened | None:
        """The webhook, signing with what is live now; None for one that is deleted or not known."""
        opened = self._opened.get(webhook_id)
        now = self._runtime.clock()
        if opened is not None and not opened.is_current(now):
            opened = Opened(self._runtime.keys, opened.subscription, now=now)
            self._opened[webhook_id] = opened
        return opened

    def is_known(self, webhook_id: str) -> bool:
        """Whether it was looked for: only of such a one it can be said that it was deleted."""
        return webhook_id in self._opened

    async def ensure(self, webhook_ids: Collection[str]) -> None:
        """Know these, and the latest version of all that are known; forget who is not needed.

        For the intake alone: between its reading and its claiming nobody may be forgotten.
        """
        self._tidy(needed=webhook_ids)
        await self.refresh(webhook_ids)

    async def refresh(self, webhook_ids: Collection[str] = ()) -> None:
        """Know these, and the latest version of all that are known, at most a second old."""
        missing = {webhook_id for webhook_id in webhook_ids if webhook_id not in self._opened}
        if self.is_old:
            self._checked_at = time.monotonic()
            missing |= await self._changed()
        if missing:
            await self._load(missing)

    async def reload(self, webhook_ids: Collection[str]) -> None:
        await self._load(set(webhook_ids))

    async def _changed(self) -> set[str]:
        if not self._opened:
            return set()
        where = {"_id": {"$in": list(self._opened)}}
        found = await self._webhooks.find(where, limit=len(self._opened), projection={"version": 1})
        versions = {row["_id"]: row["version"] for row in found}
        return {
            webhook_id
            for webhook_id, opened in self._opened.items()
            if (opened and opened.subscription.webhook.version) != versions.get(webhook_id)
        }

    async def _load(self, webhook_ids: set[str]) -> None:
        where = {"_id": {"$in": list(webhook_ids)}}
        rows, health = await asyncio.gather(
            self._webhooks.find(where, limit=_MOST), self._health.find(where, limit=_MOST)
        )
        found = {row["_id"]: row for row in rows}
        known = {row["_id"]: row for row in health}
        for webhook_id in webhook_ids:
            self._take(webhook_id, found.get(webhook_id), known.get(webhook_id))

    def _take(self, webhook_id: str, row: Document | None, health: Document | None) -> None:
        former = self._opened.get(webhook_id)
        if row is None:
            self._opened[webhook_id] = None
        else:
            now = self._runtime.clock()
            opened = Opened(self._runtime.keys, to_subscription(row), now=now)
            self._opened[webhook_id] = opened
            if webhook_id not in self.vitals:
                self.vitals[webhook_id] = vitals_of(webhook_id, row["companyId"], health)
            resumed_at = opened.subscription.resumed_at
            if resumed_at and (former is None or former.subscription.resumed_at != resumed_at):
                self._start_anew(webhook_id, resumed_at)
        if (seat := self._board.seats.get(webhook_id)) is not None:
            seat.is_ending = False
            self.fit(seat)

    def _start_anew(self, webhook_id: str, resumed_at: datetime) -> None:
        """Somebody resumed it: what was before it counts no longer."""
        self.vitals[webhook_id].resumed(resumed_at)
        if (seat := self._board.seats.get(webhook_id)) is not None:
            seat.breaker.close()

    def fit(self, seat: Seat) -> None:
        """Give a seat what its webhook's row and health say."""
        if not self.is_known(seat.webhook_id):
            return
        opened = self._opened[seat.webhook_id]
        seat.is_sendable = opened is not None and opened.subscription.webhook.is_active
        if opened is None:
            return
        seat.per_second = opened.subscription.webhook.rate
        vitals = self.vitals[seat.webhook_id]
        seat.is_ending |= vitals.disable_as is not None
        if vitals.open_until is not None and not seat.breaker.is_open:
            at = vitals.opened_at or vitals.open_until
            seat.breaker.open(at.timestamp(), until=vitals.open_until.timestamp())

    def _tidy(self, *, needed: Collection[str]) -> None:
        if time.monotonic() - self._tidied_at < _KEEP_SECONDS:
            return
        self._tidied_at = time.monotonic()
        self._board.drop_idle()
        for webhook_id in self._opened.keys() - self._board.seats.keys() - set(needed):
            if not self.vitals.get(webhook_id, _CLEAN).is_dirty:
                del self._opened[webhook_id]
                self.vitals.pop(webhook_id, None)


_CLEAN = Vitals("", "")
