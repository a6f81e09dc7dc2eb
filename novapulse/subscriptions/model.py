"""Webhooks: the document, the commands on it, its events and errors."""

from datetime import datetime
from enum import StrEnum
from typing import Annotated

import msgspec
from msgspec import UNSET, UnsetType

from novapulse.core import paging
from novapulse.core.documents import changed_fields
from novapulse.core.errors import Conflict
from novapulse.core.events import Event, event

MAX_WEBHOOKS = 200
MAX_LIVE_SECRETS = 5
MAX_HEADERS = 20
LONGEST_OVERLAP_SECONDS = 7 * 86_400

Url = Annotated[str, msgspec.Meta(min_length=1, max_length=2048)]
EventPattern = Annotated[
    str, msgspec.Meta(pattern=r"^(\*|[a-z_]+\.(\*|[a-z_]+))(?!\n)$", max_length=100)
]
EventPatterns = Annotated[tuple[EventPattern, ...], msgspec.Meta(min_length=1, max_length=100)]
Retries = Annotated[int, msgspec.Meta(ge=0, le=20)]
Description = Annotated[str, msgspec.Meta(max_length=500)]
TimeoutSeconds = Annotated[int, msgspec.Meta(ge=1, le=30)]
# A whole number: payloads hold none that a receiver's JSON would write in another way.
Rate = Annotated[int, msgspec.Meta(ge=1, le=1_000)]
HeaderValue = Annotated[str, msgspec.Meta(max_length=1_024)]


class TooManyWebhooks(Conflict):
    code = "too_many_webhooks"
    title = f"A company has at most {MAX_WEBHOOKS} webhooks"


class TooManySecrets(Conflict):
    code = "too_many_secrets"
    title = (
        f"A webhook has at most {MAX_LIVE_SECRETS} live secrets; wait until one has expired, "
        "or end the former ones with overlapSeconds 0"
    )


class WebhookState(StrEnum):
    """Events for one that is not active are held, not lost."""

    ACTIVE = "active"
    PAUSED = "paused"  # by a person
    DISABLED = "disabled"  # by us; the reason is beside it


class Webhook(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """A subscription as the API shows it: never a secret, nor the values of its own headers.

    `rate` is the most attempts a second; `key_id` names the newest secret.
    """

    id: str
    url: str
    events: tuple[str, ...]
    retries: int
    is_active: bool
    state: WebhookState = WebhookState.ACTIVE
    disabled_reason: str | None = None
    description: str | None
    timeout_seconds: int
    rate: int | None = None
    header_names: tuple[str, ...] = ()
    key_id: str = ""
    created_at: datetime
    updated_at: datetime
    version: int = 1

    def activated(self, is_active: bool) -> "Webhook":
        """Active, or paused unless it is disabled already."""
        if is_active:
            return self._in(WebhookState.ACTIVE)
        return self if self.state is WebhookState.DISABLED else self._in(WebhookState.PAUSED)

    def disabled(self, reason: str) -> "Webhook":
        return self._in(WebhookState.DISABLED, reason)

    def _in(self, state: WebhookState, reason: str | None = None) -> "Webhook":
        return msgspec.structs.replace(
            self, state=state, is_active=state is WebhookState.ACTIVE, disabled_reason=reason
        )

    def changed(self, change: "ChangeWebhook", *, header_names: tuple[str, ...]) -> "Webhook":
        """What `change` makes of it; the version is as before."""
        given = {
            name: value
            for name in ("url", "retries", "description", "timeout_seconds", "rate")
            if (value := getattr(change, name)) is not UNSET
        }
        if not isinstance(change.events, UnsetType):
            given["events"] = tuple(dict.fromkeys(change.events))
        after = msgspec.structs.replace(self, **given, header_names=header_names)
        return after if change.is_active is UNSET else after.activated(bool(change.is_active))

    def next_version(self, *, at: datetime) -> "Webhook":
        return msgspec.structs.replace(self, updated_at=at, version=self.version + 1)

    def differs(self, after: "Webhook") -> tuple[str, ...]:
        """Wire names of what differs, the bookkeeping left out."""
        return changed_fields(self, after)


class OwnedWebhook(Webhook, frozen=True, kw_only=True, rename="camel"):
    """As the operator sees it, beside those of other companies."""

    company_id: str


class CreatedWebhook(Webhook, frozen=True, kw_only=True, rename="camel"):
    """The answer to creating one, or to a new secret: the only time that the secret is shown."""

    secret: str


class SealedSecret(msgspec.Struct, frozen=True, rename="camel"):
    """A signing secret at rest; `id` is its place, so that it opens nowhere else."""

    id: str
    sealed: str
    created_at: datetime
    expires_at: datetime | None = None


class Subscription(msgspec.Struct, frozen=True, kw_only=True):
    """A webhook with what is needed to send to it; never shown to anybody.

    `secrets` come newest first, those that have expired among them. How it did
    before `resumed_at` counts no longer.
    """

    webhook: Webhook
    company_id: str
    secrets: tuple[SealedSecret, ...]
    sealed_headers: str | None = None
    resumed_at: datetime | None = None


class NewWebhook(
    msgspec.Struct, frozen=True, kw_only=True, rename="camel", forbid_unknown_fields=True
):
    url: Url
    events: EventPatterns
    retries: Retries = 3
    is_active: bool = True
    description: Description | None = None
    headers: dict[str, HeaderValue] = {}
    timeout_seconds: TimeoutSeconds | UnsetType = UNSET
    rate: Rate | None = None


class ChangeWebhook(
    msgspec.Struct, frozen=True, kw_only=True, rename="camel", forbid_unknown_fields=True
):
    """A merge patch: what is left out stays; so do own headers that are not named.

    A header that is null goes; `headers` that are null all go.
    """

    url: Url | UnsetType = UNSET
    events: EventPatterns | UnsetType = UNSET
    retries: Retries | UnsetType = UNSET
    is_active: bool | UnsetType = UNSET
    description: Description | UnsetType | None = UNSET
    headers: dict[str, HeaderValue | None] | UnsetType | None = UNSET
    timeout_seconds: TimeoutSeconds | UnsetType = UNSET
    rate: Rate | UnsetType | None = UNSET


class RotateSecret(
    msgspec.Struct, frozen=True, kw_only=True, rename="camel", forbid_unknown_fields=True
):
    """How long the former secrets go on signing beside the new one."""

    overlap_seconds: Annotated[int, msgspec.Meta(ge=0, le=LONGEST_OVERLAP_SECONDS)] = 86_400


class PageQuery(
    msgspec.Struct, frozen=True, kw_only=True, rename="camel", forbid_unknown_fields=True
):
    limit: Annotated[int, msgspec.Meta(ge=1, le=200)] = paging.DEFAULT_LIMIT
    cursor: Annotated[str, msgspec.Meta(max_length=128)] | None = None


# For the audit log: who changed where a company's events go.


@event("webhook.created", is_public=False)
class WebhookCreated(Event, frozen=True, kw_only=True):
    webhook: Webhook


@event("webhook.updated", is_public=False)
class WebhookUpdated(Event, frozen=True, kw_only=True):
    webhook: Webhook


@event("webhook.paused", is_public=False)
class WebhookPaused(Event, frozen=True, kw_only=True):
    webhook: Webhook


@event("webhook.resumed", is_public=False)
class WebhookResumed(Event, frozen=True, kw_only=True):
    webhook: Webhook


@event("webhook.secret_rotated", is_public=False)
class WebhookSecretRotated(Event, frozen=True, kw_only=True):
    webhook: Webhook


@event("webhook.deleted", is_public=False)
class WebhookDeleted(Event, frozen=True, kw_only=True):
    webhook: Webhook
