"""Secrets that overlap: which of them sign, and until when."""

from datetime import UTC, datetime, timedelta

import pytest

from novapulse.core.crypto import KEY_BYTES, KeyRing, Unsealable
from novapulse.subscriptions import secrets
from novapulse.subscriptions.model import (
    MAX_LIVE_SECRETS,
    SealedSecret,
    Subscription,
    TooManySecrets,
    Webhook,
)

NOW = datetime(2026, 11, 23, tzinfo=UTC)
KEYS = KeyRing("k1", {"k1": bytes(KEY_BYTES)})


def after(seconds: float) -> datetime:
    return NOW + timedelta(seconds=seconds)


def made(number: int) -> SealedSecret:
    return SealedSecret(f"s{number}", "sealed", NOW)


def subscription(*kept: SealedSecret, webhook_id: str = "w1") -> Subscription:
    webhook = Webhook(
        id=webhook_id,
        url="https://example.com/",
        events=("*",),
        retries=3,
        is_active=True,
        description=None,
        timeout_seconds=15,
        created_at=NOW,
        updated_at=NOW,
    )
    return Subscription(webhook=webhook, company_id="c1", secrets=kept)


def test_the_former_secret_signs_until_the_overlap_ends() -> None:
    newest, former = secrets.rotated([made(1)], made(2), now=NOW, overlap_seconds=60)
    assert (newest.id, newest.expires_at) == ("s2", None)
    assert (former.id, former.expires_at) == ("s1", after(60))
    assert secrets.is_live(former, after(59.9))
    assert not secrets.is_live(former, after(60))


def test_no_former_secret_outlives_a_shorter_overlap() -> None:
    kept = secrets.rotated([made(1)], made(2), now=NOW, overlap_seconds=600)
    kept = secrets.rotated(kept, made(3), now=after(10), overlap_seconds=60)
    assert [one.expires_at for one in kept] == [None, after(70), after(70)]
    kept = secrets.rotated(kept, made(4), now=after(20), overlap_seconds=600)
    assert [one.expires_at for one in kept] == [None, after(620), after(70), after(70)]


def test_without_an_overlap_only_the_newest_is_left() -> None:
    kept = secrets.rotated([made(1)], made(2), now=NOW, overlap_seconds=600)
    (only,) = secrets.rotated(kept, made(3), now=NOW, overlap_seconds=0)
    assert only.id == "s3"


def test_a_sixth_live_secret_is_refused_and_an_expired_one_makes_room() -> None:
    kept: tuple[SealedSecret, ...] = (made(1),)
    for number in range(2, MAX_LIVE_SECRETS + 1):
        kept = secrets.rotated(kept, made(number), now=NOW, overlap_seconds=60)
    assert len(kept) == MAX_LIVE_SECRETS
    with pytest.raises(TooManySecrets):
        secrets.rotated(kept, made(6), now=after(59), overlap_seconds=60)
    later = secrets.rotated(kept, made(6), now=after(60), overlap_seconds=60)
    assert [one.id for one in later] == ["s6", "s5"]


def test_live_secrets_open_newest_first_and_expired_ones_do_not() -> None:
    values, kept = [], ()
    for _ in range(3):
        value, sealed = secrets.fresh(KEYS, webhook_id="w1", company_id="c1", at=NOW)
        values.append(value)
        kept = secrets.rotated(kept, sealed, now=NOW, overlap_seconds=60)
    opened = secrets.live(KEYS, subscription(*kept), after(30))
    assert [one.value for one in opened] == values[::-1]
    assert [one.id for one in opened] == [one.id for one in kept]
    assert [one.value for one in secrets.live(KEYS, subscription(*kept), after(60))] == values[-1:]


def test_a_secret_opens_at_its_own_webhook_only_and_is_never_printed() -> None:
    value, sealed = secrets.fresh(KEYS, webhook_id="w1", company_id="c1", at=NOW)
    (opened,) = secrets.live(KEYS, subscription(sealed), NOW)
    assert value not in repr(opened)
    assert value not in repr(sealed)
    with pytest.raises(Unsealable):
        secrets.live(KEYS, subscription(sealed, webhook_id="w2"), NOW)
