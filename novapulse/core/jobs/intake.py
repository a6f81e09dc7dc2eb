"""How much a worker claims, and for whom: ahead of its slots under load, fair between companies."""

import asyncio
import time

import structlog

from novapulse.core import errors
from novapulse.core.jobs.ledger import GLANCE_SECONDS, Ledger, Look, is_suspect
from novapulse.core.jobs.rows import JobRow
from novapulse.core.jobs.shares import Rotation
from novapulse.core.mongo import Document

log = structlog.get_logger("jobs")
# Short jobs end faster than a claim travels: then some are claimed ahead. It
# grows while the worker runs dry and shrinks when what was claimed has to wait.
MOST_AHEAD = 700
_STALE_SECONDS = 0.3
_LOOK_SECONDS = 0.1
_COMPANIES = 1_000
_SOON_SECONDS = 0.005
# So few due jobs are read at once, without a look at who waits.
GLANCE = 50
# A glance goes by a clock that is ours: the database's is asked as often as this.
LOOK_AGAIN_SECONDS = 5.0
# Outcomes that wait to be written, in multiples of the concurrency.
UNWRITTEN = 4


Shares = list[tuple[str | None, int]]


class Intake:
    def __init__(self, ledger: Ledger, *, concurrency: int) -> None:
        self._ledger = ledger
        self._concurrency = concurrency
        self._rotation = Rotation(concurrency)
        self._ahead = 0
        # To be set when nothing was ready any more at the end of a claim.
        self.ran_dry = False
        self._claimed_at = 0.0
        self._seen = Look((), None)
        self._seen_at = 0.0
        self._is_stale = True
        self._look_again = _LOOK_SECONDS
        # All that was due is read: what comes next is little, most likely.
        self._is_calm = False
        self._sees_all = False  # and has it in `_spare`
        self._found_at = 0.0
        self._look_at = 0.0
        # Read and not yet claimed, a moment ago.
        self._spare: dict[str | None, list[Document]] = {}
        self._spare_since = 0.0
        # A suspect waits until the worker is idle, or runs alone: nothing is claimed beside it.
        self._wants_idle = False

    @property
    def most_unwritten(self) -> int:
        """Ended jobs whose outcome is not written: with so many, no more are started."""
        return UNWRITTEN * self._concurrency

    @property
    def outcomes_at_once(self) -> int:
        """How many one write takes: while one half is written the other gathers."""
        return self.most_unwritten // 2

    def may_start(self, running: int, unwritten: int) -> bool:
        """Whether one more may run now."""
        return running < self._concurrency and unwritten < self.most_unwritten

    def free(self, job: JobRow) -> None:
        self._rotation.free(job.company_id)

    def wants(self, ready: int, running: int) -> bool:
        """Whether there is room enough for a claim to be worth its round trip."""
        if self._wants_idle:
            return ready + running == 0
        room = self._room(ready, running)
        return room > 0 and (ready == 0 or room * 2 >= self._concurrency + self._ahead)

    def _room(self, ready: int, running: int) -> int:
        return self._concurrency + self._ahead - ready - running

    async def claim(
        self, ready: int, running: int, *, unwritten: int
    ) -> tuple[list[JobRow], float | None]:
        """Claimed jobs, and how long to wait: 0.0 not at all, None until something rings."""
        if not self.wants(ready, running):
            return [], None
        self._adapt(ready)
        room = self._room(ready, running)
        await self._look()
        shares = self._rotation.plan(self._seen.due, room)
        candidates = await self._candidates(shares)
        if any(map(is_suspect, candidates)):
            self._wants_idle = True
            self._spare = {}
            if ready + running + unwritten:
                return [], _SOON_SECONDS if ready + running == 0 else None
            candidates = [next(filter(is_suspect, candidates))]
        else:
            self._wants_idle = False
        claimed = await self._claim_beside_reading(candidates, shares) if candidates else []
        if len(claimed) < len(candidates):
            self._spare = {}  # another consumer reads the same ones
        for job in claimed:
            self._rotation.take(job.company_id)
        self._claimed_at = time.monotonic()
        if candidates:
            return claimed, 0.0 if len(candidates) < room else None
        self._is_stale = self._is_calm = True
        return [], _SOON_SECONDS if shares else self._next_due_seconds()

    async def _claim_beside_reading(
        self, candidates: list[Document], shares: Shares
    ) -> list[JobRow]:
        if self._ahead < MOST_AHEAD:
            return await self._ledger.claim(candidates)
        claimed, failed = await asyncio.gather(
            self._ledger.claim(candidates),
            self._read_on(candidates, shares),
            return_exceptions=True,
        )
        if isinstance(failed, BaseException) and not isinstance(failed, errors.Error):
            log.error("jobs.not_read_on", exc_info=failed)  # ours to mend; what was claimed runs
        if isinstance(claimed, BaseException):
            raise claimed
        return claimed

    async def _read_on(self, taken: list[Document], shares: Shares) -> None:
        """While a claim is written, look and read for the next one: behind what this one takes."""
        if time.monotonic() - self._seen_at > self._look_again / 2:
            await self._see()
        for company, share in shares:
            spare = self._spare.setdefault(company, [])
            known = [row for row in taken if row["companyId"] == company] + spare
            if known and len(spare) < share:
                spare += await self._ledger.candidates(company, share, behind=known)
        self._spare_since = time.monotonic()

    def _adapt(self, ready: int) -> None:
        waited = time.monotonic() - self._claimed_at
        if ready and waited > _STALE_SECONDS:
            self._ahead //= 2
        elif (self.ran_dry or not ready) and waited < _STALE_SECONDS:
            self._ahead = min(MOST_AHEAD, self._ahead * 2 + 16)
        elif waited > 1.0:
            self._ahead = 0
        self.ran_dry = False

    async def _look(self) -> None:
        """See who waits, now and then while there is work."""
        started = time.monotonic()
        if not self._is_stale and started - self._seen_at <= self._look_again:
            return
        if self._is_calm and started < self._look_at and await self._glance(started):
            return
        await self._see()

    async def _see(self) -> None:
        started = time.monotonic()
        self._seen = await self._ledger.look(limit=_COMPANIES)
        self._looked(started)

    def _looked(self, started: float) -> None:
        self._seen_at, self._is_stale, self._sees_all = time.monotonic(), False, False
        self._look_at = self._seen_at + LOOK_AGAIN_SECONDS
        # With very many who wait the look itself must stay a small part of the work.
        self._look_again = max(_LOOK_SECONDS, 20 * (self._seen_at - started))

    async def _glance(self, started: float) -> bool:
        """Read all that is due at once; False when that is too much, or nothing for a while."""
        seen = await self._ledger.glance(limit=GLANCE)
        self._is_calm = seen is not None
        if seen is None:
            return False
        if seen.rows:
            self._found_at = started
        elif started - self._found_at > GLANCE_SECONDS:
            return False
        self._spare, self._spare_since = {}, started
        for row in seen.rows:
            self._spare.setdefault(row["companyId"], []).append(row)
        self._seen = Look(tuple(self._spare), seen.next_due_seconds)
        self._seen_at, self._is_stale, self._sees_all = started, False, True
        return True

    def _next_due_seconds(self) -> float | None:
        """Until a job of somebody else is due; what is due now waits for one of ours to end."""
        later = self._seen.next_due_seconds
        return None if later is None else max(0.001, self._seen_at + later - time.monotonic())

    async def _candidates(self, shares: Shares) -> list[Document]:
        found: list[Document] = []
        if time.monotonic() - self._spare_since > _STALE_SECONDS:
            self._spare = {}
        for company, share in shares:
            rows = self._spare.pop(company, [])
            if self._sees_all:
                self._is_stale = True  # the next ones have to be looked for
            elif len(rows) * 2 < share:
                rows = await self._read(company, share)
            if spare := rows[share:]:
                self._spare[company] = spare
            found += rows[:share]
        return found

    async def _read(self, company: str | None, share: int) -> list[Document]:
        rows = await self._ledger.candidates(company, share)
        if len(rows) < share:
            self._is_stale = True  # this one is served: see who else there is
        return rows
