"""The use case of taking rows away."""

import asyncio
from collections.abc import AsyncGenerator

from novapulse.core import rowtext
from novapulse.core.access import Grant
from novapulse.core.context import Context
from novapulse.core.rowtext import Form
from novapulse.core.sources import SOURCES, Selection
from novapulse.exports.model import Export, ExportCreated

# Rows between two breaths of the event loop.
_AT_ONCE = 100


async def export(
    ctx: Context, name: str, *, form: Form, chosen: Selection
) -> AsyncGenerator[bytes, None]:
    """The rows that the caller may see, oldest first; that they were taken is an audit line.

    The line comes first: what can not be told of is not given away.
    """
    source = SOURCES[name]
    grant = ctx.require(source.scope)
    view = source.look(ctx, chosen, ctx.principal.user_id if grant is Grant.OWN else None)
    taken = Export(id=name, format=form, filter=chosen.given())
    async with ctx.transaction(company_id=ctx.ledger_id) as tx:
        tx.record(ExportCreated(export=taken))
    yield rowtext.head(form, source.columns)
    async for rows in view.batches():
        for at in range(0, len(rows), _AT_ONCE):
            yield rowtext.lines(form, rows[at : at + _AT_ONCE], source.cells)
            await asyncio.sleep(0)
