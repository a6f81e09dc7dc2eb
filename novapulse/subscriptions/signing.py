"""Signing secrets, and the headers that prove a delivery comes from us.

Two schemes over the same body: the plain `X-NovaPulse-Signature`, and
Standard Webhooks (https://www.standardwebhooks.com), which covers the id and
the time as well. Keeping, sealing and rotating secrets is not done here.
"""

import base64
import binascii
import hmac
import secrets
from collections.abc import Sequence

_PREFIX = "whsec_"
_SECRET_BYTES = 32


def new_secret() -> str:
    """`whsec_` and the base64 of 32 random bytes."""
    return _PREFIX + base64.b64encode(secrets.token_bytes(_SECRET_BYTES)).decode()


class Signer:
    """Signs with the live secrets of one webhook, which come newest first.

    All of them sign `webhook-signature`, so that a receiver may change over at
    any time while they overlap; `X-NovaPulse-Signature` has room for the newest
    and the one before.

    Raises:
        ValueError: there is no secret, or one is not `whsec_` and base64.
    """

    __slots__ = ("_decoded", "_shown")

    def __init__(self, live_secrets: Sequence[str]) -> None:
        if not live_secrets:
            raise ValueError("a delivery needs at least one signing secret")
        self._decoded = [_decoded(secret) for secret in live_secrets]
        self._shown = [secret.encode() for secret in live_secrets[:2]]

    def sign(self, *, event_id: str, timestamp: int, body: bytes) -> dict[str, str]:
        """The headers of one attempt, sent at `timestamp` (seconds since 1970)."""
        signed = b"%s.%d.%s" % (event_id.encode(), timestamp, body)
        headers = {
            "X-NovaPulse-Signature": _plain_signature(self._shown[0], body),
            "webhook-id": event_id,
            "webhook-timestamp": str(timestamp),
            "webhook-signature": " ".join(
                [_standard_signature(key, signed) for key in self._decoded]
            ),
        }
        if len(self._shown) > 1:
            headers["X-NovaPulse-Signature-Previous"] = _plain_signature(self._shown[1], body)
        return headers


def sign(
    live_secrets: Sequence[str], *, event_id: str, timestamp: int, body: bytes
) -> dict[str, str]:
    """The headers of one attempt, where only one is made."""
    return Signer(live_secrets).sign(event_id=event_id, timestamp=timestamp, body=body)


def _plain_signature(key: bytes, body: bytes) -> str:
    """Keyed with the secret as it is shown, prefix and all: what a receiver pastes."""
    return f"sha256={hmac.digest(key, body, 'sha256').hex()}"


def _standard_signature(key: bytes, signed: bytes) -> str:
    """Keyed with the bytes that the secret encodes, as Standard Webhooks has it."""
    digest = hmac.digest(key, signed, "sha256")
    return f"v1,{binascii.b2a_base64(digest, newline=False).decode()}"


def _decoded(secret: str) -> bytes:
    try:
        key = base64.b64decode(secret.removeprefix(_PREFIX), validate=True)
    except ValueError:  # of which binascii.Error is one
        key = b""
    if not key or not secret.startswith(_PREFIX):
        # The secret itself must not show up in an error.
        raise ValueError("a signing secret is whsec_ followed by base64")
    return key
