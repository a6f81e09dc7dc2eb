"""Six-digit codes by time (RFC 6238: SHA-1, 30 seconds) and recovery codes. Pure but for chance."""

import base64
import hmac
import io
import re
import secrets

import pyotp

from novapulse.core.errors import Invalid

STEP_SECONDS = 30
RECOVERY_CODES = 10
_ISSUER = "NovaPulse"
_RECOVERY_BYTES = 16
_TOTP = re.compile(r"[0-9]{6}")
_RECOVERY = re.compile(r"[0-9a-f]{4}(?:-?[0-9a-f]{4}){7}", re.IGNORECASE)


def is_totp(code: str) -> bool:
    """Whether it is a code of the app, and not a recovery code; raises Invalid for neither.

    Asked before the library sees it: that takes digits of every script.
    """
    if _TOTP.fullmatch(code):
        return True
    if _RECOVERY.fullmatch(code):
        return False
    raise Invalid.field("code", "is six digits, or a recovery code")


def new_secret() -> str:
    """160 random bits in base 32."""
    return pyotp.random_base32()


def find_step(secret: str, code: str, *, at: float, window: int) -> int | None:
    """The step, at most `window` away from that of the moment `at`, whose code this is."""
    totp = pyotp.TOTP(secret, interval=STEP_SECONDS)
    current = int(at) // STEP_SECONDS
    steps = range(max(0, current - window), current + window + 1)
    # All are computed, whichever fits: the time tells nothing.
    fitting = [step for step in steps if hmac.compare_digest(totp.generate_otp(step), code)]
    return fitting[0] if fitting else None


def otpauth_uri(secret: str, email: str) -> str:
    return pyotp.TOTP(secret).provisioning_uri(name=email, issuer_name=_ISSUER)


def qr_code(text: str) -> str:
    """A PNG as a data URI."""
    import qrcode  # not with each start: who adds an authenticator waits the moment
    from qrcode.image.pure import PyPNGImage

    image = io.BytesIO()
    qrcode.make(text, image_factory=PyPNGImage).save(image)
    return "data:image/png;base64," + base64.b64encode(image.getvalue()).decode()


def new_recovery_codes() -> tuple[str, ...]:
    """128 random bits each, in groups of four."""
    raw = (secrets.token_hex(_RECOVERY_BYTES) for _ in range(RECOVERY_CODES))
    return tuple("-".join(re.findall("....", code)) for code in raw)


def canonical(recovery_code: str) -> str:
    """The one spelling of a recovery code that is hashed."""
    return recovery_code.replace("-", "").lower()
