"""What a handler runs with."""

import asyncio
import time
from collections.abc import Callable
from concurrent.futures import BrokenExecutor, Executor
from functools import lru_cache
from typing import TYPE_CHECKING, Any, TypeVar

from novapulse.core.access import Principal, Role
from novapulse.core.context import Context, Runtime
from novapulse.core.jobs.kinds import Pool
from novapulse.core.jobs.rows import JobRow

if TYPE_CHECKING:
    from novapulse.core.jobs.ledger import Ledger

T = TypeVar("T")
_PROGRESS_SECONDS = 0.5


@lru_cache(maxsize=1_000)
def _system(company_id: str | None) -> Principal:
    return Principal(
        user_id="system", role=Role.SUPER_ADMIN, company_id=company_id, is_operator=True
    )


class Workbench:
    """What all jobs of a consumer share: the ledger and the pools for CPU-bound work."""

    def __init__(self, ledger: "Ledger", make_pool: Callable[[Pool], Executor]) -> None:
        self.ledger = ledger
        self._make_pool = make_pool
        self._pools: dict[Pool, Executor] = {}

    def pool(self, kind: Pool) -> Executor:
        """Made on first use: most consumers never need one."""
        if kind not in self._pools:
            self._pools[kind] = self._make_pool(kind)
        return self._pools[kind]

    def discard(self, kind: Pool) -> None:
        """Forget a pool whose process died (no memory): the next one that computes gets a new."""
        broken = self._pools.pop(kind, None)
        if broken is not None:
            broken.shutdown(wait=False, cancel_futures=True)

    def close(self) -> None:
        for pool in self._pools.values():
            pool.shutdown(wait=False, cancel_futures=True)


class JobContext(Context):
    """A job's company, which attempt this is, and the ways to compute and to report."""

    __slots__ = ("_bench", "_reported", "job", "pool")

    def __init__(self, runtime: Runtime, job: JobRow, *, bench: Workbench, pool: Pool) -> None:
        super().__init__(
            runtime, _system(job.company_id), request_id=job.request_id, via="job", cause=job.cause
        )
        self.job = job
        self.pool = pool
        self._bench = bench
        self._reported = 0.0

    async def compute(self, function: Callable[..., T], *arguments: Any) -> T:
        """Run what would block the event loop in the pool that the kind declares.

        In a process pool, function and arguments have to be picklable.
        """
        loop = asyncio.get_running_loop()
        try:
            return await loop.run_in_executor(self._bench.pool(self.pool), function, *arguments)
        except BrokenExecutor:
            self._bench.discard(self.pool)
            raise

    async def report(self, done: int, total: int, note: str = "") -> None:
        """Show progress on the job's row; written at most twice a second."""
        now = time.monotonic()
        if done < total and now - self._reported < _PROGRESS_SECONDS:
            return
        self._reported = now
        progress = {"done": done, "total": total, "note": note}
        await self._bench.ledger.note_progress(self.job, progress)
