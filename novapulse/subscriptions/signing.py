"""Signing secrets, and the headers that prove a delivery comes from us.

Two schemes over the same body: the plain `X-NovaPulse-Signature`, and
Standard Webhooks (https://www.standardwebhooks.com), which covers the id and
the time as well. Keeping, sealing and rotating secrets is not done here.
"""

import base64
import hmac
import secrets
from collections.abc import Sequence

_PREFIX = "whsec_"
_SECRET_BYTES = 32


def new_secret() -> str:
    """`whsec_` and the base64 of 32 random bytes."""
    return _PREFIX + base64.b64encode(secrets.token_bytes(_SECRET_BYTES)).decode()


def sign(
    live_secrets: Sequence[str], *, event_id: str, timestamp: int, body: bytes
) -> dict[str, str]:
    """The headers of one attempt, sent at `timestamp` (seconds since 1970).

    `live_secrets` come newest first. All of them sign `webhook-signature`, so
    that a receiver may change over at any time while they overlap;
    `X-NovaPulse-Signature` has room for the newest and the one before.

    Raises:
        ValueError: there is no secret, or one is not `whsec_` and base64.
    """
    if not live_secrets:
        raise ValueError("a delivery needs at least one signing secret")
    signed = b"%s.%d.%s" % (event_id.encode(), timestamp, body)
    headers = {
        "X-NovaPulse-Signature": _plain_signature(live_secrets[0], body),
        "webhook-id": event_id,
        "webhook-timestamp": str(timestamp),
        "webhook-signature": " ".join(
            [_standard_signature(secret, signed) for secret in live_secrets]
        ),
    }
    if len(live_secrets) > 1:
        headers["X-NovaPulse-Signature-Previous"] = _plain_signature(live_secrets[1], body)
    return headers


def _plain_signature(secret: str, body: bytes) -> str:
    """Keyed with the secret as it is shown, prefix and all: what a receiver pastes."""
    return f"sha256={hmac.digest(secret.encode(), body, 'sha256').hex()}"


def _standard_signature(secret: str, signed: bytes) -> str:
    """Keyed with the bytes that the secret encodes, as Standard Webhooks has it."""
    digest = hmac.digest(_decoded(secret), signed, "sha256")
    return f"v1,{base64.b64encode(digest).decode()}"


def _decoded(secret: str) -> bytes:
    try:
        key = base64.b64decode(secret.removeprefix(_PREFIX), validate=True)
    except ValueError:  # of which binascii.Error is one
        key = b""
    if not key or not secret.startswith(_PREFIX):
        # The secret itself must not show up in an error.
        raise ValueError("a signing secret is whsec_ followed by base64")
    return key
