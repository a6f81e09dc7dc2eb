"""The use case of taking rows away."""

import asyncio
from collections.abc import AsyncGenerator

from novapulse.core import rowtext
from novapulse.core.access import Grant, Scope
from novapulse.core.context import Context
from novapulse.core.rowtext import Form
from novapulse.core.sources import SOURCES, Selection, Source, View
from novapulse.exports.model import Export, ExportCreated
from novapulse.identity import stepup

# Rows between two breaths of the event loop.
_AT_ONCE = 100


async def export(
    ctx: Context, name: str, *, form: Form, chosen: Selection
) -> AsyncGenerator[bytes, None]:
    """The rows that the caller may see, oldest first; that they were taken is an audit line.

    Whether they may is decided before the first row is asked for, also for a HEAD.

    Raises:
        Forbidden: an API token without `exports:read`, or nobody who may read the rows.
        StepUpRequired: the session has not just proved itself again.
    """
    source = SOURCES[name]
    grant = ctx.require(source.scope)
    ctx.require(Scope.EXPORTS_READ)
    if ctx.principal.scopes is None:  # a token can not step up: its scope was given for this
        await stepup.require(ctx)
    view = source.look(ctx, chosen, ctx.principal.user_id if grant is Grant.OWN else None)
    return _rows(ctx, source, form=form, view=view, chosen=chosen)


async def _rows(
    ctx: Context, source: Source, *, form: Form, view: View, chosen: Selection
) -> AsyncGenerator[bytes, None]:
    """The line of the audit log comes first: what can not be told of is not given away."""
    taken = Export(id=source.name, format=form, filter=chosen.given())
    async with ctx.transaction(company_id=ctx.ledger_id) as tx:
        tx.record(ExportCreated(export=taken))
    yield rowtext.head(form, source.columns)
    async for rows in view.batches():
        for at in range(0, len(rows), _AT_ONCE):
            yield rowtext.lines(form, rows[at : at + _AT_ONCE], source.cells)
            await asyncio.sleep(0)
