"""A webhook's own headers: which names are its own to give, and how their values are kept."""

import re
from collections.abc import Mapping

import msgspec

from novapulse.core.crypto import KeyRing, Place
from novapulse.core.errors import Invalid
from novapulse.core.outbound import CONTROLLED_HEADERS
from novapulse.subscriptions.model import MAX_HEADERS, Subscription
from novapulse.subscriptions.store import WEBHOOKS

_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]{1,100}")
# What a receiver must be able to believe, and what proxies on the way go by.
_RESERVED = CONTROLLED_HEADERS | {
    *("content-type", "content-encoding", "user-agent", "forwarded", "via", "date", "set-cookie"),
}
_RESERVED_PREFIXES = ("x-novapulse-", "webhook-", "x-forwarded-", "proxy-", "sec-", ":")
_VALUE = re.compile(r"[\x20-\x7e]*")


def check(headers: Mapping[str, str | None]) -> None:
    """Raises Invalid for a name that is not the webhook's to set, or a value of no header."""
    seen: set[str] = set()
    for name, value in headers.items():
        path, lower = f"headers.{name[:100]}", name.lower()
        if not _NAME.fullmatch(name):
            raise Invalid.field(path, "is not the name of a header")
        if lower in _RESERVED or lower.startswith(_RESERVED_PREFIXES):
            raise Invalid.field(path, "is reserved")
        if lower in seen:
            raise Invalid.field(path, "is there in another spelling")
        seen.add(lower)
        if value is not None and (not _VALUE.fullmatch(value) or value != value.strip()):
            raise Invalid.field(path, "must be printable ASCII without spaces around it")
    _check_number(sum(value is not None for value in headers.values()))


def merged(before: Mapping[str, str], change: Mapping[str, str | None] | None) -> dict[str, str]:
    """The headers after a merge patch; names are the same in any case of their letters."""
    if change is None:
        return {}
    check(change)
    touched = {name.lower(): (name, value) for name, value in change.items()}
    pairs = [touched.pop(name.lower(), (name, value)) for name, value in before.items()]
    after = {name: value for name, value in [*pairs, *touched.values()] if value is not None}
    _check_number(len(after))
    return after


def _check_number(number: int) -> None:
    if number > MAX_HEADERS:
        raise Invalid.field("headers", f"Expected at most {MAX_HEADERS}")


def seal(
    keys: KeyRing, headers: Mapping[str, str], *, webhook_id: str, company_id: str
) -> str | None:
    """All of them as one sealed value; None for none."""
    if not headers:
        return None
    return keys.seal(msgspec.json.encode(dict(headers)), place(webhook_id, company_id))


def unseal(keys: KeyRing, subscription: Subscription) -> dict[str, str]:
    """The headers that go with every attempt; raises Unsealable."""
    if subscription.sealed_headers is None:
        return {}
    where = place(subscription.webhook.id, subscription.company_id)
    return msgspec.json.decode(keys.open(subscription.sealed_headers, where), type=dict[str, str])


def place(webhook_id: str, company_id: str) -> Place:
    return Place(WEBHOOKS, webhook_id, "headers", company_id)
