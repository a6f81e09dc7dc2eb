"""The refresh cookie, the CSRF token beside it, and which credentials a request may carry.

The API takes access tokens from the Authorization header only. The one cookie
that is a credential is that of `POST /auth/refresh`, and goes nowhere else: so
this is the one call that needs the CSRF token. Scripts read that from a second
cookie, which is worth nothing by itself.
"""

import hmac
from collections.abc import Mapping
from datetime import datetime
from urllib.parse import urlsplit

from novapulse.core.problem import Headers
from novapulse.core.routing import PREFIX
from novapulse.identity.model import CsrfRefused, Session, TwoCredentials

REFRESH_COOKIE = "novapulse_refresh"
CSRF_COOKIE = "novapulse_csrf"
CSRF_HEADER = b"x-csrf-token"
REFRESH_PATH = f"{PREFIX}/auth/refresh"


def set_cookies(
    session: Session, *, refresh_token: str, csrf_token: str, now: datetime, base_url: str
) -> Headers:
    """The two cookies of a session, which live as long as it does when nobody uses it."""
    seconds = round((session.expires_at - now).total_seconds())
    return _cookies((refresh_token, csrf_token), seconds=seconds, base_url=base_url)


def clear_cookies(base_url: str) -> Headers:
    return _cookies(("", ""), seconds=0, base_url=base_url)


def _cookies(values: tuple[str, str], *, seconds: int, base_url: str) -> Headers:
    secure = "; Secure" if base_url.startswith("https://") else ""
    lasting = f"; Max-Age={seconds}; SameSite=Lax{secure}"
    refresh, csrf = values
    return [
        (
            b"set-cookie",
            f"{REFRESH_COOKIE}={refresh}; Path={REFRESH_PATH}; HttpOnly{lasting}".encode(),
        ),
        (b"set-cookie", f"{CSRF_COOKIE}={csrf}; Path=/{lasting}".encode()),
    ]


def refresh_token_of(headers: Mapping[bytes, bytes]) -> str | None:
    """The refresh cookie's value; of several the first."""
    for part in headers.get(b"cookie", b"").decode("latin-1").split(";"):
        name, _, value = part.strip().partition("=")
        if name == REFRESH_COOKIE:
            return value
    return None


def require_one_credential(headers: Mapping[bytes, bytes]) -> None:
    """Raises TwoCredentials: whose request it is must not depend on which one is looked at."""
    if b"authorization" in headers and refresh_token_of(headers) is not None:
        raise TwoCredentials()


def require_own_page(headers: Mapping[bytes, bytes], *, csrf_token: str, base_url: str) -> None:
    """Raises CsrfRefused unless one of our own pages, or no browser at all, asks."""
    given = headers.get(CSRF_HEADER, b"")
    if not hmac.compare_digest(given, csrf_token.encode()):
        raise CsrfRefused()
    origin = headers.get(b"origin")
    if origin is None:
        return
    own = urlsplit(base_url)
    host = headers.get(b"host", b"").decode("latin-1")
    allowed = {f"{own.scheme}://{own.netloc}", f"http://{host}", f"https://{host}"}
    if origin.decode("latin-1") not in allowed:
        raise CsrfRefused()
