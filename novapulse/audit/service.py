"""Use cases on the audit log: list, verify, export."""

from collections.abc import AsyncIterator

from novapulse.audit import export as form
from novapulse.audit.model import AuditExported, AuditLine, AuditQuery, ChainReport, Export
from novapulse.audit.store import AuditLog, AuditStore
from novapulse.audit.verify import Walk
from novapulse.core import paging, rowtext
from novapulse.core.access import Scope
from novapulse.core.clock import rfc3339
from novapulse.core.context import Context
from novapulse.core.errors import Forbidden, NotFound
from novapulse.core.events import PLATFORM
from novapulse.core.mongo import Reading
from novapulse.core.paging import Listing


async def list_lines(ctx: Context, query: AuditQuery) -> Listing[AuditLine]:
    """The company's lines, newest first; for an operator that named none, those of all."""
    ctx.require(Scope.AUDIT_READ)
    return paging.listing(await log_of(ctx).page(query), query.limit)


async def verify(ctx: Context, company_id: str | None = None) -> AsyncIterator[ChainReport]:
    """Walk the chain of one company, or of every one and the platform's.

    Raises NotFound for a company that nothing is known of.
    """
    _require_operator(ctx)
    store = AuditStore(ctx.runtime.db)
    known = await store.company_ids()
    if company_id is not None and company_id not in known:
        raise NotFound(f"Nothing is known of a company {company_id}")
    for name in known if company_id is None else [company_id]:
        yield await Walk(store, name, keys=ctx.runtime.keys, now=ctx.now()).report()


async def export(
    ctx: Context, query: AuditQuery, *, company_id: str | None, kind: rowtext.Form
) -> AsyncIterator[str]:
    """The lines as text, oldest first; that they were taken is a line itself."""
    _require_operator(ctx)
    given = {"actor": query.actor, "action": query.action, "resource": query.resource}
    chosen = {name: value for name, value in given.items() if value is not None}
    for name, moment in (("from", query.moment("since")), ("to", query.moment("until"))):
        if moment is not None:
            chosen[name] = rfc3339(moment)
    taken = Export(id=company_id or "all", format=kind, filter=chosen)
    async with ctx.transaction(company_id=company_id or PLATFORM) as tx:
        tx.record(AuditExported(audit=taken))
    yield form.head(kind)
    view = log_of(ctx.on_company(company_id) if company_id else ctx).view(query, row=form.row_of)
    async for rows in view.batches():
        yield rowtext.lines(kind, rows, form.cells).decode()


def log_of(ctx: Context, *, reading: Reading = Reading.FRESH) -> AuditLog:
    """As far as the caller sees: one company's, or for an operator that named none all."""
    if ctx.principal.is_operator and ctx.principal.company_id is None:
        return AuditLog.of_all(ctx.runtime.db, reading=reading)
    return AuditLog.of_company(ctx.read() if reading is Reading.FRESH else ctx.read_bulk())


def _require_operator(ctx: Context) -> None:
    ctx.require(Scope.AUDIT_READ)
    if not ctx.principal.is_operator:
        raise Forbidden("Only the operator may do this")
