"""The sealer: puts committed events into their company's hash chain, and trims old ones.

One leader runs it, in batches and after the fact: no other transaction touches
a company's head. A batch is one transaction over heads and rows, so that a
killed or a second sealer leaves neither a gap nor a fork.
"""

import time
from datetime import timedelta

import structlog

from novapulse.audit import chain
from novapulse.audit.chain import GENESIS, Head, Trimmed
from novapulse.audit.model import Link
from novapulse.audit.store import AuditStore
from novapulse.core.context import Runtime
from novapulse.core.crypto import Unsealable
from novapulse.core.errors import TransientConflict
from novapulse.core.mongo import Document, Duplicate
from novapulse.core.telemetry import metrics

log = structlog.get_logger("audit")
BATCH = 500
# A chain that can not go on is looked at again after so long, and logged again.
_RETRY_SECONDS = 60.0
_BATCHES = 20


class Sealer:
    def __init__(self, runtime: Runtime, *, batch: int = BATCH) -> None:
        self._runtime = runtime
        self._store = AuditStore(runtime.db)
        self._batch = batch
        self._stuck: dict[str, float] = {}

    async def seal_waiting(self) -> int:
        """Seal until nothing waits; how many rows. Raises what the stores raise."""
        sealed = 0
        if not await self._store.any_unsealed():
            metrics.audit_unsealed.set(0)
            return 0
        while rows := await self._store.unsealed(self._batch, but=self._stuck_companies()):
            sealed += await self.seal(rows)
        metrics.audit_unsealed.set(await self._store.count_unsealed())
        return sealed

    async def seal(self, rows: list[Document]) -> int:
        """Seal one batch; chains that can not go on are put aside for a minute."""
        groups: dict[str, list[Document]] = {}
        for row in rows:
            groups.setdefault(row["companyId"], []).append(row)
        try:
            return await self._seal_groups(groups)
        except Duplicate:
            # Rows of a head that is gone have the next numbers already: but whose?
            return sum([await self._seal_alone(name, group) for name, group in groups.items()])

    async def _seal_alone(self, company_id: str, rows: list[Document]) -> int:
        try:
            return await self._seal_groups({company_id: rows})
        except Duplicate:
            self._put_aside(company_id, "the next number is taken: the head row was changed")
            return 0

    async def _seal_groups(self, groups: dict[str, list[Document]]) -> int:
        """All or nothing; raises Duplicate, or TransientConflict when another one was quicker."""
        async with self._runtime.db.transaction() as session:
            store = AuditStore(self._runtime.db, session)
            heads = await store.find_heads(list(groups))
            links: list[tuple[str, Link]] = []
            for company_id, rows in groups.items():
                former = heads.get(company_id)
                if former is not None and not self._may_go_on(former):
                    continue
                added, head = self._linked(company_id, rows, former=former)
                # The head first: two leaders meet here, before a number can clash.
                if not await store.write_head(head, over=former):
                    raise TransientConflict("Another leader seals the same chain")
                links += added
            if links and await store.write_links(links) < len(links):
                raise TransientConflict("Another leader seals the same events")
        return len(links)

    def _linked(
        self, company_id: str, rows: list[Document], *, former: Head | None
    ) -> tuple[list[tuple[str, Link]], Head]:
        mark, links = former.mark if former else GENESIS, []
        for row in rows:
            one = chain.link(row, mark)
            mark = chain.Mark(one.seq, one.hash)
            links.append((row["_id"], one))
        trimmed = former.trimmed if former else Trimmed()
        head = Head(company_id=company_id, count=mark.seq, hash=mark.hash, trimmed=trimmed)
        return links, head.signed(self._runtime.keys)

    def _may_go_on(self, head: Head) -> bool:
        """A head that somebody else wrote must not get our signature with the next batch."""
        try:
            if head.is_genuine(self._runtime.keys):
                return True
            reason = "the head row was changed"
        except Unsealable as error:
            reason = error.detail
        self._put_aside(head.company_id, reason)
        return False

    def _put_aside(self, company_id: str, reason: str) -> None:
        self._stuck[company_id] = time.monotonic() + _RETRY_SECONDS
        log.error("audit.stuck", companyId=company_id, reason=reason)

    def _stuck_companies(self) -> list[str]:
        now = time.monotonic()
        self._stuck = {name: until for name, until in self._stuck.items() if until > now}
        return list(self._stuck)


class Trimmer:
    """Removes lines that are older than `keep`, from the beginning of each chain on."""

    def __init__(self, runtime: Runtime, *, keep: timedelta, batch: int = BATCH) -> None:
        self._runtime = runtime
        self._store = AuditStore(runtime.db)
        self._before = runtime.clock() - keep
        self._batch = batch

    async def trim(self) -> int:
        """How many rows were removed; of a long chain not all at once."""
        removed, seen = 0, list[str]()
        store = self._store
        while found := await store.companies_with_sealed_before(self._before, but=seen):
            seen += found
            for company_id in found:
                for _ in range(_BATCHES):
                    batch = await self._trim_batch(company_id)
                    removed += batch
                    if not batch:
                        break
        return removed

    async def _trim_batch(self, company_id: str) -> int:
        """The head moves first: killed after it, the rows before it are removed the next time."""
        head = await self._store.find_head(company_id)
        if head is None or not self._is_genuine(head):
            return 0  # evidence of something: it is not ours to remove
        left = await self._store.sealed_ids_up_to(company_id, head.trimmed.seq, limit=self._batch)
        if left:
            return await self._store.delete(left)
        rows = await self._old_rows(head)
        if not rows:
            return 0
        last = rows[-1]["audit"]
        sequence = max(head.trimmed.sequence, *(row.get("sequence", 0) for row in rows))
        trimmed = Trimmed(last["seq"], last["hash"], sequence)
        after = Head(company_id=company_id, count=head.count, hash=head.hash, trimmed=trimmed)
        if not await self._store.write_head(after.signed(self._runtime.keys), over=head):
            return 0  # sealed meanwhile; the next time
        return await self._store.delete([row["_id"] for row in rows])

    async def _old_rows(self, head: Head) -> list[Document]:
        """The chain's first rows that are old, as far as they are what was sealed."""
        mark = chain.Mark(head.trimmed.seq, head.trimmed.hash)
        old = []
        for row in await self._store.sealed_after(head.company_id, mark.seq, limit=self._batch):
            one = chain.link(row, mark)
            if {"seq": one.seq, "hash": one.hash, "previous": one.previous} != row["audit"]:
                log.error("audit.broken", companyId=head.company_id, seq=one.seq)
                return []  # removing what follows would hide it
            if row["createdAt"] >= self._before:
                break
            mark = chain.Mark(one.seq, one.hash)
            old.append(row)
        return old

    def _is_genuine(self, head: Head) -> bool:
        try:
            return head.is_genuine(self._runtime.keys)
        except Unsealable:
            return False
