"""What the log of attempts and the list of deliveries are asked for by."""

from datetime import datetime
from typing import Annotated

import msgspec

from novapulse.core import paging
from novapulse.core.clock import to_utc
from novapulse.core.errors import Invalid
from novapulse.core.events import Event, event
from novapulse.deliveries.model import AnswerClass, Delivery, DeliveryState
from novapulse.subscriptions.model import Webhook

EventName = Annotated[str, msgspec.Meta(pattern=r"^[a-z_]+\.[a-z_]+(?!\n)$", max_length=100)]
EventId = Annotated[str, msgspec.Meta(pattern=r"^evt_[0-9a-z]{26}(?!\n)$")]
DeliveryId = Annotated[str, msgspec.Meta(pattern=r"^dlv_[0-9a-z]{26}(?!\n)$")]
Status = Annotated[int, msgspec.Meta(ge=100, le=999)]
Instant = Annotated[datetime, msgspec.Meta(tz=True)]


class LogQuery(
    msgspec.Struct, frozen=True, kw_only=True, rename="camel", forbid_unknown_fields=True
):
    """What both lists can be asked for; `to` is left out itself."""

    limit: Annotated[int, msgspec.Meta(ge=1, le=200)] = paging.DEFAULT_LIMIT
    cursor: Annotated[str, msgspec.Meta(max_length=128)] | None = None
    event: EventName | None = None
    event_id: EventId | None = None
    since: Instant | None = msgspec.field(default=None, name="from")
    until: Instant | None = msgspec.field(default=None, name="to")

    def span(self) -> dict[str, datetime]:
        """Bounds of `createdAt`, as an operator each; raises Invalid beyond all calendars."""
        bounds = {"$gte": ("from", self.since), "$lt": ("to", self.until)}
        found = {}
        for operator, (name, moment) in bounds.items():
            if moment is not None:
                try:
                    found[operator] = to_utc(moment)
                except OverflowError as error:
                    raise Invalid.field(name, "is out of range") from error
        return found


class AttemptQuery(LogQuery, frozen=True, kw_only=True):
    delivery_id: DeliveryId | None = None
    status: Status | None = None
    result: AnswerClass | None = msgspec.field(default=None, name="class")


class DeliveryQuery(LogQuery, frozen=True, kw_only=True):
    state: DeliveryState | None = None


class Recover(
    msgspec.Struct, frozen=True, kw_only=True, rename="camel", forbid_unknown_fields=True
):
    """Which events are delivered anew: those since then, up to now unless told."""

    since: Instant
    until: Instant | None = None


class Recovering(msgspec.Struct, frozen=True, rename="camel"):
    """The job that recovers; `GET /jobs/{id}` shows how far it is."""

    job_id: str


class Recovery(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """What was asked for when a recovery began."""

    since: datetime
    until: datetime | None
    job_id: str


# For the audit log: who sent what again.


@event("delivery.replayed", is_public=False)
class DeliveryReplayed(Event, frozen=True, kw_only=True):
    delivery: Delivery


@event("webhook.recovery_started", is_public=False)
class RecoveryStarted(Event, frozen=True, kw_only=True):
    webhook: Webhook
    recovery: Recovery
