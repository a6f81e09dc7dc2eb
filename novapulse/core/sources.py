"""Sources: a feature's rows for those that only carry rows away, such as exports and reports.

A feature declares one as it declares events and job kinds, in its `rows.py`, and
others address it by its name. Rows are objects of plain values under their wire
names; they come oldest first, in batches, so that nobody holds all of them.
"""

from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Protocol, TypeVar, get_type_hints

import msgspec

from novapulse.core import wire
from novapulse.core.access import Scope
from novapulse.core.context import Context
from novapulse.core.fields import Instant, in_utc
from novapulse.core.mongo import Document, Filter, Rows

Row = dict[str, Any]
Batches = AsyncIterator[list[Row]]
Cells = Callable[[Row], Sequence[Any]]
BATCH = 500
Order = tuple[tuple[str, int], ...]
OLDEST_FIRST: Order = (("createdAt", 1), ("_id", 1))


class Selection(
    msgspec.Struct, frozen=True, kw_only=True, rename="camel", forbid_unknown_fields=True
):
    """Which rows somebody asks for, by when they were made; `to` is left out itself."""

    since: Instant | None = msgspec.field(default=None, name="from")
    until: Instant | None = msgspec.field(default=None, name="to")

    def moment(self, name: str) -> datetime | None:
        """`since` or `until` in UTC; raises Invalid for one beyond all calendars."""
        value = getattr(self, name)
        return None if value is None else in_utc(value, "from" if name == "since" else "to")

    def span(self) -> Document:
        """The filter of both."""
        found = {"$gte": self.moment("since"), "$lt": self.moment("until")}
        chosen = {sign: moment for sign, moment in found.items() if moment is not None}
        return {"createdAt": chosen} if chosen else {}

    def given(self) -> dict[str, Any]:
        """What was asked for, as JSON has it."""
        found = wire.to_wire(self)
        return {name: value for name, value in found.items() if value is not None}


@dataclass(frozen=True, slots=True)
class View:
    """Rows as one caller may see them: of a collection those that match, each as `row` shows it.

    `index` has the company and then the fields of `order`: whatever `where` asks for, all
    batches together go through it once.
    """

    rows: Rows
    where: Filter
    row: Callable[[Document], Row]
    index: str
    fields: tuple[str, ...] = ()
    order: Order = OLDEST_FIRST

    async def batches(self, *, size: int = BATCH) -> Batches:
        """In order; each batch is a short read. A row is met once: no moment ever changes."""
        parts: list[Document] = [{}]
        while True:
            found: list[Document] = []
            for part in parts:
                if len(found) < size:
                    found += await self._find(part, limit=size - len(found))
            if found:
                yield [self.row(document) for document in found]
            if len(found) < size:
                return
            parts = self._beyond(found[-1])

    def _beyond(self, last: Document) -> list[Document]:
        """What comes after the row: a read each, where one $or would start over each time."""
        parts: list[Document] = []
        for depth in range(len(self.order), 0, -1):
            *equal, (field, direction) = self.order[:depth]
            same = {name: last[name] for name, _ in equal}
            parts.append({**same, field: {"$gt" if direction > 0 else "$lt": last[field]}})
        return parts

    async def _find(self, part: Document, *, limit: int) -> list[Document]:
        where = {"$and": [self.where, part]}
        ordered = (name for name, _ in self.order)
        fields = dict.fromkeys((*self.fields, *ordered), 1) if self.fields else None
        return await self.rows.find(
            where, sort=self.order, limit=limit, projection=fields, hint=self.index
        )

    async def count(self, *, limit: int) -> int:
        """How many there are now; counts to `limit`."""
        return await self.rows.count(self.where, limit=limit, hint=self.index)


class Look(Protocol):
    """`own` narrows to what this user may see, who reaches their own only."""

    def __call__(self, ctx: Context, chosen: Any, own: str | None) -> View: ...


@dataclass(frozen=True, slots=True)
class Source:
    """`scope` is what it takes to read the rows; `columns` and `cells` are their CSV."""

    name: str
    scope: Scope
    columns: tuple[str, ...]
    query: type[Selection]
    look: Look
    cells: Cells


SOURCES: dict[str, Source] = {}
L = TypeVar("L", bound=Callable[..., View])


def source(
    name: str, *, scope: Scope, columns: tuple[str, ...], cells: Cells | None = None
) -> Callable[[L], L]:
    """Declare `def look(ctx, chosen, own) -> View`; the class of `chosen` is its query.

    Without `cells`, a row's cells are its values under `columns`.
    """

    def declare(look: L) -> L:
        if name in SOURCES:
            raise ValueError(f"source {name} is declared twice")
        query = get_type_hints(look)["chosen"]
        SOURCES[name] = Source(name, scope, columns, query, look, cells or plain_cells(columns))
        return look

    return declare


def plain_cells(columns: tuple[str, ...]) -> Cells:
    """The values of a row under `columns`."""

    def cells(row: Row) -> list[Any]:
        return [row.get(column) for column in columns]

    return cells


def plain_row(columns: tuple[str, ...]) -> Callable[[Document], Row]:
    """Makes a row of exactly these fields out of a document: `id` is its `_id`."""
    names = [(column, "_id" if column == "id" else column) for column in columns]

    def row(document: Document) -> Row:
        return {column: document.get(name) for column, name in names}

    return row
