"""Deliveries, their attempts, and what is told of a webhook that fails."""

from datetime import datetime
from enum import StrEnum

import msgspec

from novapulse.core.errors import Conflict
from novapulse.core.events import Event, event
from novapulse.subscriptions.model import Webhook

MOST_RECOVERED_DAYS = 14
# What receivers may count on. The limits of the fields keep every event of ours below it.
MAX_BODY_BYTES = 256 * 1024
TOO_LARGE = f"the event is larger than {MAX_BODY_BYTES // 1024} KiB"


class DeliveryState(StrEnum):
    """`sending` is not stored: it is a delivery whose job runs (`store.sending_ids`)."""

    PENDING = "pending"
    SENDING = "sending"
    RETRY = "retry"
    DELIVERED = "delivered"
    EXHAUSTED = "exhausted"
    DISCARDED = "discarded"
    HELD = "held"


class Trigger(StrEnum):
    """Why there is a delivery."""

    EVENT = "event"
    REPLAY = "replay"
    RECOVER = "recover"
    TEST = "test"


class AnswerClass(StrEnum):
    """What an answer means for the delivery; the metric's label."""

    OK = "ok"
    REDIRECT = "redirect"
    GONE = "gone"
    THROTTLED = "throttled"
    TRANSIENT = "transient"
    REJECTED = "rejected"
    BLOCKED = "blocked"
    INFRA = "infra"


class Delivery(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """One event on its way to one webhook.

    `replay` is 0 for the first and counts up: there is one delivery of an event
    to a webhook for each number. `attempts` are those whose end is known.
    """

    id: str
    event_id: str
    event: str
    webhook_id: str
    replay: int = 0
    trigger: Trigger = Trigger.EVENT
    state: DeliveryState = DeliveryState.PENDING
    attempts: int = 0
    status: int | None = None
    result: AnswerClass | None = msgspec.field(name="class", default=None)
    reason: str | None = None
    due_at: datetime | None = None
    created_at: datetime
    updated_at: datetime


class AttemptTimings(msgspec.Struct, frozen=True, rename="camel"):
    """Milliseconds that each part took; zero where it was not needed."""

    dns_ms: float
    connect_ms: float
    tls_ms: float
    first_byte_ms: float
    total_ms: float


class Attempt(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """One request to a receiver and what came of it; the newest secret that signed is `key_id`."""

    id: str
    delivery_id: str
    event_id: str
    event: str
    webhook_id: str
    attempt: int
    trigger: Trigger = Trigger.EVENT
    result: AnswerClass = msgspec.field(name="class")
    status: int | None
    error: str | None
    peer_ip: str | None
    timings: AttemptTimings
    headers: dict[str, str]
    body: str
    truncated: bool
    key_id: str = ""
    created_at: datetime


class NotReplayable(Conflict):
    code = "not_replayable"
    title = "The event of this delivery is no longer kept"


class WebhookInactive(Conflict):
    code = "webhook_inactive"
    title = "The webhook is paused or disabled; resume it first"


class LastAnswer(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """The last thing that a webhook's receiver did, for whoever has to mend it."""

    result: AnswerClass = msgspec.field(name="class")
    status: int | None
    error: str | None
    at: datetime


class Health(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """How a webhook does; `failing_since` is its first failure since its last success.

    While `circuit_open_until` is there nothing is sent but a probe now and then.
    """

    failing_since: datetime | None = None
    last_success_at: datetime | None = None
    last_failure_at: datetime | None = None
    circuit_open_until: datetime | None = None
    last_answer: LastAnswer | None = None


@event("webhook.test")
class WebhookTested(Event, frozen=True, kw_only=True):
    """Sent on demand to one webhook; never recorded."""

    webhook: Webhook


@event("webhook.failing")
class WebhookFailing(Event, frozen=True, kw_only=True):
    """At the first opening of its circuit, and after 24 h and 4 d without a success."""

    webhook: Webhook
    health: Health


@event("webhook.disabled")
class WebhookDisabled(Event, frozen=True, kw_only=True):
    """It failed for too long, or its receiver said that it is gone."""

    webhook: Webhook
    health: Health


@event("webhook.recovered")
class WebhookRecovered(Event, frozen=True, kw_only=True):
    """The first success after a `webhook.failing`."""

    webhook: Webhook
    health: Health
