"""How much a worker claims, and for whom: ahead of its slots under load, fair between companies."""

import time

from novapulse.core.jobs.ledger import Ledger
from novapulse.core.jobs.rows import JobRow
from novapulse.core.jobs.shares import Company, Rotation
from novapulse.core.mongo import Document

# Short jobs end faster than a claim travels: then some are claimed ahead. It
# grows while the worker runs dry and shrinks when what was claimed has to wait.
MOST_AHEAD = 450
_STALE_SECONDS = 0.1
_COMPANIES_SECONDS = 0.1
_COMPANIES = 1_000
_SERVED_AT_ONCE = 16


class Intake:
    def __init__(self, ledger: Ledger, *, concurrency: int) -> None:
        self._ledger = ledger
        self._concurrency = concurrency
        self._rotation = Rotation(concurrency)
        self._ahead = 0
        self._claimed_at = 0.0
        self._companies: list[Company] = []
        self._looked_at = 0.0
        self._look_again = _COMPANIES_SECONDS

    def free(self, job: JobRow) -> None:
        self._rotation.free(job.company_id)

    def wants(self, ready: int, running: int) -> bool:
        """Whether there is room enough for a claim to be worth its round trip."""
        room = self._room(ready, running)
        return room > 0 and (ready == 0 or room * 2 >= self._concurrency + self._ahead)

    def _room(self, ready: int, running: int) -> int:
        return self._concurrency + self._ahead - ready - running

    async def claim(self, ready: int, running: int) -> tuple[list[JobRow], float | None]:
        """Claimed jobs, and how long to wait: 0.0 not at all, None until something rings."""
        if not self.wants(ready, running):
            return [], None
        self._adapt(ready)
        room = self._room(ready, running)
        companies = await self._waiting()
        candidates = await self._candidates(companies, room)
        claimed = await self._ledger.claim(candidates) if candidates else []
        for job in claimed:
            self._rotation.take(job.company_id)
        self._claimed_at = time.monotonic()
        if candidates:
            return claimed, 0.0 if len(candidates) < room else None
        self._looked_at = 0.0
        due = await self._ledger.next_due_seconds(companies) if companies else None
        return [], due if due is None else max(due, 0.001)

    def _adapt(self, ready: int) -> None:
        waited = time.monotonic() - self._claimed_at
        if ready and waited > _STALE_SECONDS:
            self._ahead //= 2
        elif not ready and waited < _STALE_SECONDS:
            self._ahead = min(MOST_AHEAD, self._ahead * 2 + 16)
        elif waited > 1.0:
            self._ahead = 0

    async def _waiting(self) -> list[Company]:
        """Companies with claimable jobs; looked up now and then while there is work."""
        started = time.monotonic()
        if started - self._looked_at > self._look_again:
            self._companies = await self._ledger.companies(limit=_COMPANIES)
            self._looked_at = time.monotonic()
            # With very many companies the look itself must stay a small part of the work.
            self._look_again = max(_COMPANIES_SECONDS, 20 * (self._looked_at - started))
        return self._companies

    async def _candidates(self, companies: list[Company], room: int) -> list[Document]:
        shares = self._rotation.plan(companies, room)[:_SERVED_AT_ONCE]
        found: list[Document] = []
        for company, share in shares:
            rows = await self._ledger.candidates(company, share)
            if len(rows) < share:
                self._looked_at = 0.0  # this one is served: see who else there is
            found += rows
        return found
