"""How much the dispatcher claims, and for whom: webhooks in turn, each within its limits.

What is due is read ahead a little, by webhook, and claimed only when it can be
sent at once: a webhook that hangs, or whose circuit is open, holds nothing else up.
"""

import time
from collections import deque

from novapulse.core.context import Runtime
from novapulse.core.jobs.intake import GLANCE, Intake
from novapulse.core.jobs.ledger import GLANCE_SECONDS, is_suspect
from novapulse.core.jobs.rows import JobRow
from novapulse.core.mongo import Document
from novapulse.deliveries.model import Trigger
from novapulse.deliveries.planner import lane_of, webhook_of
from novapulse.dispatch.board import Board, Limits, Seat, Turn
from novapulse.dispatch.queue import LaneLedger, Look, Waiting, turn_of
from novapulse.dispatch.targets import Targets

_AHEAD = 100  # rows of one webhook that are read ahead
_MOST_PEEKS = 32
_CONTROL = 4  # jobs that move many deliveries, at the same time
_SOON_SECONDS = 0.005
# With this share of its slots free the dispatcher does not wait for more before it claims.
_WORTHWHILE = 1 / 4


class LaneIntake(Intake):
    """Chooses what to claim next; `free` is called when an attempt has ended."""

    def __init__(
        self,
        runtime: Runtime,
        ledger: LaneLedger,
        *,
        concurrency: int,
        board: Board,
        targets: Targets,
    ) -> None:
        super().__init__(ledger, concurrency=concurrency)
        self._runtime = runtime
        self._lanes = ledger
        self._board = board
        self._targets = targets
        self._due: dict[Waiting, None] = {}
        self._seen_lanes = Look()
        self._control: deque[Document] = deque()
        self._controlling = 0
        self._suspects: deque[Document] = deque()
        self._held: dict[tuple[str, str], tuple[Seat, Turn] | None] = {}

    @property
    def limits(self) -> Limits:
        settings = self._runtime.settings.webhooks
        total, per_webhook = settings.max_in_flight, settings.max_in_flight_per_webhook
        if self._concurrency < total:  # fewer run at a time: each share is one of those
            per_webhook = max(1, per_webhook * self._concurrency // total)
            total = self._concurrency
        return Limits(total, per_webhook)

    @property
    def most_unwritten(self) -> int:
        return self._runtime.settings.webhooks.max_in_flight

    @property
    def outcomes_at_once(self) -> int:
        """As what is under way counts too, two writes and what gathers must fit in."""
        return max(1, self.most_unwritten // 3)

    def may_start(self, running: int, unwritten: int) -> bool:
        """What is under way and what is not yet recorded might be sent twice after a crash."""
        return running < self._concurrency and running + unwritten < self.most_unwritten

    def free(self, job: JobRow) -> None:
        taken = self._held.pop((job.id, job.claim), None)
        if taken is None:
            self._controlling -= 1
        else:
            self._board.free(*taken)

    def wants(self, ready: int, running: int) -> bool:
        if self._suspects:
            return ready + running == 0
        total = self.limits.total
        free = total - self._board.in_flight
        return free > 0 and (ready == 0 or free >= total * _WORTHWHILE)

    async def claim(
        self, ready: int, running: int, *, unwritten: int
    ) -> tuple[list[JobRow], float | None]:
        if not self.wants(ready, running):
            return [], None
        if self._suspects:
            return await self._claim_suspect(unwritten)
        await self._look()
        await self._read_ahead()
        if self._suspects:
            return [], _SOON_SECONDS if ready + running == 0 else None
        now = self._now()
        picked = self._board.pick(now, self.limits)
        control = self._pick_control()
        if not picked and not control:
            return [], self._wait_seconds(now)
        claimed = await self._claim(picked, control)
        return claimed, 0.0

    async def _claim(
        self, picked: list[tuple[Seat, Turn, Document]], control: list[Document]
    ) -> list[JobRow]:
        rows = [*(row for _, _, row in picked), *control]
        claimed: list[JobRow] = []
        try:
            claimed = await self._ledger.claim(rows)
        finally:
            self._account(picked, control, claimed)
        return claimed

    def _account(
        self,
        picked: list[tuple[Seat, Turn, Document]],
        control: list[Document],
        claimed: list[JobRow],
    ) -> None:
        """Remember who holds what; somebody else was quicker with the rest."""
        won = {job.id: job for job in claimed}
        for seat, turn, row in picked:
            if (job := won.get(row["_id"])) is not None:
                self._held[job.id, job.claim] = (seat, turn)
            else:
                self._board.free(seat, turn)
        for row in control:
            self._controlling += 1 if row["_id"] in won else 0

    async def _claim_suspect(self, unwritten: int) -> tuple[list[JobRow], float | None]:
        """One job that killed its consumers, alone; unless its webhook may not be sent to now."""
        if unwritten:
            return [], _SOON_SECONDS
        row = self._suspects.popleft()
        if (lane := row.get("lane")) is None:
            return await self._claim([], [row]), 0.0
        await self._targets.ensure([webhook_of(lane)])
        seat = self._board.seat(webhook_of(lane), row["companyId"])
        self._targets.fit(seat)
        turn, now = turn_of(lane, row["state"]), self._now()
        if seat.room(now, limit=self.limits.per_webhook) <= 0:
            self._due[lane, turn] = None  # to be read again when it may
            return [], 0.0
        self._board.take(seat, turn, now)
        return await self._claim([(seat, turn, row)], []), 0.0

    async def _see(self) -> None:
        started = time.monotonic()
        self._seen_lanes = await self._lanes.look_at_lanes()
        self._due = dict.fromkeys(self._seen_lanes.due)
        self._looked(started)

    async def _glance(self, started: float) -> bool:
        """Read all that is due at once; False when that is too much, or nothing for a while."""
        seen = await self._lanes.glance_at_lanes(limit=GLANCE)
        self._is_calm = seen is not None
        if seen is None:
            return False
        if seen.rows:
            self._found_at = started
        elif started - self._found_at > GLANCE_SECONDS:
            return False
        good = [waiting for waiting in seen.rows if self._is_worth_reading(waiting)]
        await self._targets.ensure([webhook_of(lane) for lane, _ in good if lane is not None])
        for waiting in good:
            self._keep(waiting, seen.rows[waiting])
        # Of the others some is read already, or none may be sent now.
        self._due = {waiting: None for waiting in seen.rows if waiting not in good}
        self._seen_lanes = Look(next_due_seconds=seen.next_due_seconds)
        self._seen_at, self._is_stale = started, False
        return True

    async def _read_ahead(self) -> None:
        """Read due rows of webhooks that could begin something and have nothing read."""
        lanes = [waiting for waiting in self._due if self._is_worth_reading(waiting)]
        lanes = lanes[:_MOST_PEEKS]
        if not lanes and not self._targets.is_old:
            return
        webhooks = [webhook_of(lane) for lane, _ in lanes if lane is not None]
        await self._targets.ensure(webhooks)
        for waiting, rows in zip(
            lanes, await self._lanes.peek_many(lanes, limit=_AHEAD), strict=True
        ):
            del self._due[waiting]
            if len(rows) == _AHEAD:
                self._due[waiting] = None  # behind the others; there is more of it
            self._keep(waiting, rows)

    def _is_worth_reading(self, waiting: Waiting) -> bool:
        lane, turn = waiting
        if lane is None:
            return not self._control and self._controlling < _CONTROL
        seat = self._board.seats.get(webhook_of(lane))
        if seat is None:
            return True
        return not seat.waiting[turn] and seat.room(self._now(), limit=self.limits.per_webhook) > 0

    def _keep(self, waiting: Waiting, rows: list[Document]) -> None:
        lane, turn = waiting
        self._suspects.extend(filter(is_suspect, rows))
        good = [row for row in rows if not is_suspect(row)]
        if lane is None:
            self._control.extend(good)
        elif good:
            seat = self._board.seat(webhook_of(lane), good[0]["companyId"])
            self._targets.fit(seat)
            seat.waiting[turn].extend(good)

    def _pick_control(self) -> list[Document]:
        room = max(0, _CONTROL - self._controlling)
        return [self._control.popleft() for _ in range(min(room, len(self._control)))]

    def _wait_seconds(self, now: float) -> float | None:
        """Until something is due or a webhook may be sent to again."""
        if self._is_stale or any(map(self._is_worth_reading, self._due)):
            return _SOON_SECONDS
        self._is_stale, self._is_calm = True, not self._due
        seats = [seat for seat in self._board.seats.values() if self._has_work(seat)]
        waits = [wait for seat in seats if (wait := seat.wake_seconds(now)) is not None]
        later = self._seen_lanes.next_due_seconds
        if later is not None:
            waits.append(self._seen_at + later - time.monotonic())
        return max(0.001, min(waits)) if waits else None

    def _has_work(self, seat: Seat) -> bool:
        lanes = (lane_of(seat.webhook_id, trigger) for trigger in (Trigger.EVENT, Trigger.RECOVER))
        return any(seat.waiting.values()) or any(
            (lane, turn) in self._due for lane in lanes for turn in Turn
        )

    def _now(self) -> float:
        return self._runtime.clock().timestamp()
