"""Access tokens: JWTs by HS256 with a key id, verified against an allow-list of one algorithm."""

import secrets
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import jwt
import msgspec

from novapulse.core.access import Role
from novapulse.core.errors import ConfigurationInvalid, Unauthenticated
from novapulse.core.secretfiles import ensure_secret_file
from novapulse.identity.model import Session

ISSUER = "novapulse"
AUDIENCE = "novapulse-api"
ALGORITHM = "HS256"
MIN_SECRET_BYTES = 32
_LEEWAY_SECONDS = 30
_REQUIRED = ["exp", "iat", "nbf", "sub", "aud", "iss", "sid", "jti", "typ"]


class TokenKeys(msgspec.Struct, frozen=True):
    """The key that signs, and every key that still verifies (two during a rotation)."""

    current: str
    keys: dict[str, bytes]


def load_token_keys(path: Path, *, given: bytes | None = None) -> TokenKeys:
    """The keys in `path` (made on first use), or the one that the environment gives."""
    if given is not None:
        keys = TokenKeys(current="environment", keys={"environment": given})
    else:
        content = ensure_secret_file(path, _first_keys)
        keys = msgspec.json.decode(content, type=TokenKeys)
    if any(len(key) < MIN_SECRET_BYTES for key in keys.keys.values()):
        raise ConfigurationInvalid(
            f"The secret that signs access tokens is shorter than {MIN_SECRET_BYTES} bytes",
            where="JWT_ACCESS_SECRET" if given else str(path),
        )
    return keys


def _first_keys() -> bytes:
    key_id = f"j{secrets.token_hex(4)}"
    return msgspec.json.encode(TokenKeys(current=key_id, keys={key_id: secrets.token_bytes(48)}))


def issue(keys: TokenKeys, session: Session, *, now: datetime, lifetime_seconds: int) -> str:
    claims = {
        "sub": session.user_id,
        "cid": session.company_id,
        "role": str(session.role),
        "sid": session.id,
        "iss": ISSUER,
        "aud": AUDIENCE,
        "iat": now,
        "nbf": now,
        "exp": now + timedelta(seconds=lifetime_seconds),
        "jti": secrets.token_hex(16),
        "typ": "access",
    }
    headers = {"kid": keys.current}
    return jwt.encode(claims, keys.keys[keys.current], algorithm=ALGORITHM, headers=headers)


class Claims(msgspec.Struct, frozen=True):
    """What a verified token says; `exp` in seconds since the epoch."""

    sub: str
    cid: str | None
    role: Role
    sid: str
    exp: int


def verify(keys: TokenKeys, token: str) -> Claims:
    """The claims of a good token; every bad one raises the same Unauthenticated."""
    try:
        key_id = jwt.get_unverified_header(token).get("kid", "")
        key = keys.keys.get(key_id)
        if key is None:
            raise Unauthenticated("The access token is not valid")
        claims: dict[str, Any] = jwt.decode(
            token,
            key,
            algorithms=[ALGORITHM],
            audience=AUDIENCE,
            issuer=ISSUER,
            leeway=_LEEWAY_SECONDS,
            options={"require": _REQUIRED},
        )
        if claims["typ"] != "access":
            raise Unauthenticated("The access token is not valid")
        return msgspec.convert(claims, Claims)
    except (jwt.PyJWTError, msgspec.ValidationError, ValueError, TypeError) as error:
        raise Unauthenticated("The access token is not valid") from error
