"""Walking a chain from its first line to its head, and naming what does not fit.

It may be sealed and trimmed meanwhile: the head is read again after the rows
that it must know.
"""

from datetime import datetime, timedelta

import msgspec

from novapulse.audit import chain
from novapulse.audit.chain import Head, Mark
from novapulse.audit.model import ChainReport, Finding, Link
from novapulse.audit.store import AuditStore
from novapulse.core.crypto import KeyRing, Unsealable
from novapulse.core.mongo import Document

BATCH = 1_000
# Founding a company is its first line; after so long it has to be sealed, or to wait visibly.
_SETTLED = timedelta(minutes=1)


class Broken(Exception):
    """The chain is not what it should be."""

    def __init__(self, problem: str, *, seq: int, event_id: str | None = None) -> None:
        super().__init__(problem)
        self.finding = Finding(seq=seq, event_id=event_id, problem=problem)


class Walk:
    """One company's chain; `report` walks it once."""

    def __init__(
        self,
        store: AuditStore,
        company_id: str,
        *,
        keys: KeyRing,
        now: datetime,
        batch: int = BATCH,
    ) -> None:
        self._store = store
        self._company_id = company_id
        self._keys = keys
        self._now = now
        self._batch = batch
        self._mark = chain.GENESIS
        self._lines = 0
        self._head = Head(company_id=company_id, count=0, hash=chain.GENESIS.hash)

    async def report(self) -> ChainReport:
        finding = None
        try:
            await self._walk()
            outside = await self._store.find_outside(self._company_id)
            if outside is not None:
                raise Broken("it is in the log, but not in the chain", seq=0, event_id=outside)
        except Broken as broken:
            finding = broken.finding
        return ChainReport(
            company_id=self._company_id,
            lines=self._lines,
            trimmed=self._head.trimmed.seq,
            waiting=await self._store.count_unsealed(self._company_id),
            hash=self._mark.hash,
            finding=finding,
        )

    async def _walk(self) -> None:
        await self._read_head()
        rows = await self._rows()
        self._mark = self._begin(rows)
        while True:
            for row in rows:
                await self._step(row)
            await self._read_head()
            if self._head.count <= self._mark.seq:
                break
            if not (rows := await self._rows()):
                seq = self._mark.seq + 1
                raise Broken(f"the chain is cut off: it had {self._head.count} lines", seq=seq)
        if self._head.mark != self._mark:
            raise Broken("the head row does not fit the last line", seq=self._mark.seq)

    async def _rows(self) -> list[Document]:
        mark = self._mark.seq
        return await self._store.sealed_after(self._company_id, mark, limit=self._batch)

    def _begin(self, rows: list[Document]) -> Mark:
        """After what was trimmed; an interrupted trimming may have left some of that."""
        trimmed = self._head.trimmed
        if rows:
            first = _link_of(rows[0])
            if 0 < first.seq <= trimmed.seq:
                return Mark(first.seq - 1, first.previous)
        return Mark(trimmed.seq, trimmed.hash)

    async def _step(self, row: Document) -> None:
        found = _link_of(row)
        if found.seq != self._mark.seq + 1:
            await self._skip_trimmed(found)
            if found.seq <= self._mark.seq:
                return
        if found.seq != self._mark.seq + 1:
            raise Broken(f"line {self._mark.seq + 1} is missing", seq=self._mark.seq + 1)
        expected = chain.link(row, self._mark)
        if found.previous != expected.previous:
            problem = "it does not follow the line before it"
            raise Broken(problem, seq=found.seq, event_id=row["_id"])
        if found != expected:
            raise Broken("it is not what was sealed", seq=found.seq, event_id=row["_id"])
        self._mark = Mark(found.seq, found.hash)
        self._lines += 1
        trimmed = self._head.trimmed
        if found.seq == trimmed.seq and found.hash != trimmed.hash:
            problem = "it is not the line up to which the chain was trimmed"
            raise Broken(problem, seq=found.seq, event_id=row["_id"])

    async def _skip_trimmed(self, found: Link) -> None:
        """Rows that were there a moment ago may have been trimmed since."""
        await self._read_head()
        if self._mark.seq < self._head.trimmed.seq:
            self._mark = Mark(self._head.trimmed.seq, self._head.trimmed.hash)

    async def _read_head(self) -> None:
        try:
            head = await self._store.find_head(self._company_id)
            if head is None:
                await self._accept_no_head()
                return
            if not head.is_genuine(self._keys):
                raise Broken("the head row was not written by this installation", seq=head.count)
            self._head = head
        except msgspec.ValidationError as error:
            raise Broken("the head row can not be read", seq=0) from error
        except Unsealable as error:
            raise Broken(error.detail, seq=0) from error

    async def _accept_no_head(self) -> None:
        """Only a company that is new, or whose lines all wait, has none."""
        if await self._store.sealed_after(self._company_id, 0, limit=1):
            raise Broken("the head row is gone", seq=0)
        is_settled = await self._store.founded_before(self._company_id, self._now - _SETTLED)
        if is_settled and not await self._store.count_unsealed(self._company_id):
            raise Broken("the whole chain is gone", seq=0)


def _link_of(row: Document) -> Link:
    try:
        return msgspec.convert(row["audit"], Link)
    except msgspec.ValidationError as error:
        raise Broken("its place can not be read", seq=0, event_id=row["_id"]) from error
