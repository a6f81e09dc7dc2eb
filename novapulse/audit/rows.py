"""The audit log, and who did what and when, for those that carry rows away."""

from novapulse.audit import export
from novapulse.audit.model import AuditSelection
from novapulse.audit.service import log_of
from novapulse.core.access import Scope
from novapulse.core.context import Context
from novapulse.core.mongo import Document, Reading
from novapulse.core.sources import Row, Selection, View, source

_ACTIVITY = ("createdAt", "actor", "action")


@source("audit", scope=Scope.AUDIT_READ, columns=export.COLUMNS, cells=export.cells)
def audit(ctx: Context, chosen: AuditSelection, own: str | None) -> View:
    """The lines as `audit export` has them; of all companies for an operator that names none."""
    return log_of(ctx, reading=Reading.BULK).view(chosen, row=export.row_of, actor=own)


@source("activity", scope=Scope.AUDIT_READ, columns=_ACTIVITY)
def activity(ctx: Context, chosen: Selection, own: str | None) -> View:
    """Nothing but who did which kind of thing: for those that count."""
    lines = AuditSelection(since=chosen.since, until=chosen.until)
    log = log_of(ctx, reading=Reading.BULK)
    fields = ("createdAt", "actor.userId", "type")
    return log.view(lines, row=_activity, fields=fields, actor=own)


def _activity(document: Document) -> Row:
    return {
        "createdAt": document["createdAt"],
        "actor": document["actor"]["userId"],
        "action": document["type"],
    }
