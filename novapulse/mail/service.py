"""Use cases of the operator on suppressed addresses."""

from novapulse.core import paging
from novapulse.core.access import Scope
from novapulse.core.context import Context
from novapulse.core.errors import NotFound
from novapulse.core.events import PLATFORM
from novapulse.core.paging import Listing
from novapulse.mail.model import Suppression, SuppressionQuery, SuppressionRemoved
from novapulse.mail.store import SuppressionStore


async def list_suppressions(ctx: Context, query: SuppressionQuery) -> Listing[Suppression]:
    """Addresses that no mail is sent to, newest first."""
    ctx.require(Scope.SYSTEM_READ)
    return paging.listing(await SuppressionStore(ctx.runtime.db).page(query), query.limit)


async def remove_suppression(ctx: Context, address: str) -> Suppression:
    """Send mails to the address again; raises NotFound."""
    ctx.require(Scope.QUEUE_WRITE)
    async with ctx.transaction(company_id=PLATFORM) as tx:
        suppressions = SuppressionStore(tx)
        found = await suppressions.find(address)
        if found is None or not await suppressions.remove(found):
            raise NotFound(f"The address {address!r} is not suppressed")
        tx.record(SuppressionRemoved(suppression=found))
    return found
