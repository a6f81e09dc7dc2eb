"""The other end of `signing`: whether a request is what we sent."""

import hmac
from collections.abc import Mapping, Sequence
from enum import StrEnum

from novapulse.subscriptions import signing

TOLERANCE_SECONDS = 300


class Verdict(StrEnum):
    GOOD = "good"
    UNSIGNED = "unsigned"  # neither of the two signatures is there
    WRONG = "wrong"  # another secret, or a changed body, id or time
    STALE = "stale"  # signed well, but not now


def verify(
    secrets: Sequence[str],
    headers: Mapping[str, str],
    *,
    body: bytes,
    now: float,
    tolerance_seconds: float | None = TOLERANCE_SECONDS,
) -> Verdict:
    """Check every signature that is there by whichever of the secrets fits.

    Header names are in lower case. Without a tolerance a request may be of any age.

    Raises:
        ValueError: a secret is not `whsec_` and base64.
    """
    plain = [
        headers[name]
        for name in ("x-novapulse-signature", "x-novapulse-signature-previous")
        if name in headers
    ]
    standard = headers.get("webhook-signature", "").split()
    if not plain and not standard:
        return Verdict.UNSIGNED
    sent = headers.get("webhook-timestamp", "")
    timestamp = int(sent) if sent.isascii() and sent.isdigit() and len(sent) <= 12 else -1
    event_id = headers.get("webhook-id", "")
    fits_plain = fits_standard = False
    for secret in secrets:
        expected = signing.sign([secret], event_id=event_id, timestamp=timestamp, body=body)
        fits_plain |= _any(expected["X-NovaPulse-Signature"], plain)
        fits_standard |= timestamp >= 0 and _any(expected["webhook-signature"], standard)
    if (plain and not fits_plain) or (standard and not fits_standard):
        return Verdict.WRONG
    if standard and tolerance_seconds is not None and abs(now - timestamp) > tolerance_seconds:
        return Verdict.STALE
    return Verdict.GOOD


def _any(expected: str, given: Sequence[str]) -> bool:
    return any(hmac.compare_digest(expected.encode(), one.encode()) for one in given)
