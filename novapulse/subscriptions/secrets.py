"""The signing secrets of a webhook: sealed at rest, several of them live while they overlap."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

import msgspec

from novapulse.core.crypto import KeyRing, Place
from novapulse.core.documents import new_object_id
from novapulse.subscriptions import signing
from novapulse.subscriptions.model import (
    MAX_LIVE_SECRETS,
    SealedSecret,
    Subscription,
    TooManySecrets,
)
from novapulse.subscriptions.store import WEBHOOKS


@dataclass(frozen=True, slots=True, repr=False)
class LiveSecret:
    """A secret in the clear, for as long as it takes to sign; never printed."""

    id: str
    value: str


def fresh(
    keys: KeyRing, *, webhook_id: str, company_id: str, at: datetime
) -> tuple[str, SealedSecret]:
    """A new secret, to be shown once, and how it is kept."""
    value, secret_id = signing.new_secret(), new_object_id()
    sealed = keys.seal(value.encode(), place(webhook_id, secret_id, company_id))
    return value, SealedSecret(secret_id, sealed, at)


def is_live(secret: SealedSecret, now: datetime) -> bool:
    return secret.expires_at is None or now < secret.expires_at


def live(keys: KeyRing, subscription: Subscription, now: datetime) -> tuple[LiveSecret, ...]:
    """The secrets that sign now, newest first; raises Unsealable."""
    return tuple(
        LiveSecret(one.id, keys.open(one.sealed, _place_of(subscription, one)).decode())
        for one in subscription.secrets
        if is_live(one, now)
    )


def rotated(
    former: Sequence[SealedSecret], newest: SealedSecret, *, now: datetime, overlap_seconds: int
) -> tuple[SealedSecret, ...]:
    """The secrets once `newest` signs: no former one outlives the overlap, expired ones are gone.

    Raises TooManySecrets.
    """
    until = now + timedelta(seconds=overlap_seconds)
    kept = (
        msgspec.structs.replace(one, expires_at=min(one.expires_at or until, until))
        for one in former
    )
    after = (newest, *(one for one in kept if is_live(one, now)))
    if len(after) > MAX_LIVE_SECRETS:
        raise TooManySecrets()
    return after


def place(webhook_id: str, secret_id: str, company_id: str) -> Place:
    return Place(WEBHOOKS, webhook_id, f"secrets.{secret_id}", company_id)


def _place_of(subscription: Subscription, secret: SealedSecret) -> Place:
    return place(subscription.webhook.id, secret.id, subscription.company_id)
