"""Webhooks (subscriptions), deliveries of events to them, and the attempts of a delivery."""

from datetime import datetime
from enum import StrEnum
from typing import Annotated

import msgspec
from msgspec import UNSET, UnsetType

from novapulse.core import paging
from novapulse.core.errors import Conflict

EventPattern = Annotated[
    str, msgspec.Meta(pattern=r"^(\*|[a-z_]+\.(\*|[a-z_]+))(?!\n)$", max_length=100)
]
MAX_WEBHOOKS = 200


class TooManyWebhooks(Conflict):
    code = "too_many_webhooks"
    title = f"A company has at most {MAX_WEBHOOKS} webhooks"


class Webhook(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """A subscription as the API shows it: never its secret."""

    id: str
    url: str
    events: tuple[str, ...]
    retries: int
    is_active: bool
    description: str | None
    timeout_seconds: int
    created_at: datetime
    updated_at: datetime
    version: int = 1


class CreatedWebhook(Webhook, frozen=True, kw_only=True, rename="camel"):
    """The answer to creating one: the only time that the secret is shown."""

    secret: str


class SealedSecret(msgspec.Struct, frozen=True, rename="camel"):
    """A signing secret at rest; `id` is its place, so that it opens nowhere else."""

    id: str
    sealed: str
    created_at: datetime


class Subscription(msgspec.Struct, frozen=True, kw_only=True):
    """A webhook with what is needed to sign for it; never leaves this package."""

    webhook: Webhook
    company_id: str
    secrets: tuple[SealedSecret, ...]


class NewWebhook(
    msgspec.Struct, frozen=True, kw_only=True, rename="camel", forbid_unknown_fields=True
):
    url: Annotated[str, msgspec.Meta(min_length=1, max_length=2048)]
    events: Annotated[tuple[EventPattern, ...], msgspec.Meta(min_length=1, max_length=100)]
    retries: Annotated[int, msgspec.Meta(ge=0, le=20)] = 3
    is_active: bool = True
    description: Annotated[str, msgspec.Meta(max_length=500)] | None = None
    timeout_seconds: Annotated[int, msgspec.Meta(ge=1, le=30)] | UnsetType = UNSET


class PageQuery(
    msgspec.Struct, frozen=True, kw_only=True, rename="camel", forbid_unknown_fields=True
):
    limit: Annotated[int, msgspec.Meta(ge=1, le=200)] = paging.DEFAULT_LIMIT
    cursor: Annotated[str, msgspec.Meta(max_length=128)] | None = None


class DeliveryState(StrEnum):
    PENDING = "pending"
    RETRY = "retry"
    DELIVERED = "delivered"
    EXHAUSTED = "exhausted"
    DISCARDED = "discarded"


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
    """One event on its way to one webhook."""

    id: str
    event_id: str
    event: str
    webhook_id: str
    replay: int = 0
    state: DeliveryState = DeliveryState.PENDING
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
    """One request to a receiver and what came of it."""

    id: str
    delivery_id: str
    event_id: str
    event: str
    webhook_id: str
    attempt: int
    result: AnswerClass = msgspec.field(name="class")
    status: int | None
    error: str | None
    peer_ip: str | None
    timings: AttemptTimings
    headers: dict[str, str]
    body: str
    truncated: bool
    created_at: datetime
