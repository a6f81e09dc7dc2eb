"""A company's webhook deliveries, for those that carry rows away."""

from typing import Annotated

import msgspec

from novapulse.core.access import Scope
from novapulse.core.context import Context
from novapulse.core.fields import ObjectId
from novapulse.core.sources import Selection, View, plain_row, source
from novapulse.deliveries.model import DeliveryState
from novapulse.deliveries.store import DELIVERIES
from novapulse.people.store import present
from novapulse.webhooks.store import NEWEST

_COLUMNS = (
    *("id", "webhookId", "eventId", "event", "replay", "trigger", "state", "attempts"),
    *("status", "class", "reason", "createdAt", "updatedAt"),
)
# As their index is: those of one webhook together, its oldest first.
_ORDER = (("webhookId", -1), ("createdAt", 1), ("_id", 1))


class DeliverySelection(Selection, frozen=True, kw_only=True):
    webhook_id: ObjectId | None = None
    event: Annotated[str, msgspec.Meta(pattern=r"^[a-z_.]+(?!\n)$", max_length=100)] | None = None
    state: DeliveryState | None = None


@source("deliveries", scope=Scope.WEBHOOKS_READ, columns=_COLUMNS)
def deliveries(ctx: Context, chosen: DeliverySelection, own: str | None) -> View:
    """Webhooks are a company's: there is nothing to narrow."""
    named = present(webhookId=chosen.webhook_id, event=chosen.event, state=chosen.state)
    rows = ctx.read_bulk().rows(DELIVERIES)
    where = {**chosen.span(), **named}
    return View(rows, where, plain_row(_COLUMNS), NEWEST, _COLUMNS, _ORDER)
