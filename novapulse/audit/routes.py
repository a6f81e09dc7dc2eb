"""`/audit`."""

from novapulse.audit import service
from novapulse.audit.model import AuditLine, AuditQuery
from novapulse.core.access import Scope
from novapulse.core.context import Context
from novapulse.core.paging import Listing
from novapulse.core.routing import Routes

routes = Routes("audit")


@routes.add("GET", "/audit", scope=Scope.AUDIT_READ)
async def list_audit(ctx: Context, query: AuditQuery) -> Listing[AuditLine]:
    """List what happened, newest first: who, what, on what, when and from where."""
    return await service.list_lines(ctx, query)
