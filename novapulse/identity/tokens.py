"""Access tokens: JWTs by HS256 with a key id, verified against an allow-list of one algorithm."""

import secrets
from collections import OrderedDict
from datetime import timedelta
from pathlib import Path
from typing import Any

import jwt
import msgspec

from novapulse.core.access import Role
from novapulse.core.clock import Clock
from novapulse.core.errors import ConfigurationInvalid, Unauthenticated
from novapulse.core.secretfiles import ensure_secret_file
from novapulse.identity.model import Session

ISSUER = "novapulse"
AUDIENCE = "novapulse-api"
ALGORITHM = "HS256"
MIN_SECRET_BYTES = 32
_LEEWAY_SECONDS = 30
_REQUIRED = ["exp", "iat", "nbf", "sub", "aud", "iss", "sid", "jti", "typ"]
_HEADER = {"alg", "kid", "typ"}
_CAPACITY = 4_096
# Times are checked here, by the program's own clock.
_OPTIONS: Any = {
    "require": _REQUIRED,
    **dict.fromkeys(("verify_exp", "verify_nbf", "verify_iat"), False),
}


class TokenKeys(msgspec.Struct, frozen=True):
    """The key that signs, and every key that still verifies (two during a rotation)."""

    current: str
    keys: dict[str, bytes]


def load_token_keys(path: Path, *, given: bytes | None = None) -> TokenKeys:
    """The keys in `path` (made on first use), or the one that the environment gives."""
    if given is not None:
        keys = TokenKeys(current="environment", keys={"environment": given})
    else:
        keys = _read_keys(path)
    if any(len(key) < MIN_SECRET_BYTES for key in keys.keys.values()):
        raise ConfigurationInvalid(
            f"The secret that signs access tokens is shorter than {MIN_SECRET_BYTES} bytes",
            where="JWT_ACCESS_SECRET" if given else str(path),
        )
    return keys


def _read_keys(path: Path) -> TokenKeys:
    try:
        keys = msgspec.json.decode(ensure_secret_file(path, _first_keys), type=TokenKeys)
    except msgspec.DecodeError as error:
        raise ConfigurationInvalid(f"The key file is damaged: {error}", where=str(path)) from error
    if keys.current not in keys.keys:
        raise ConfigurationInvalid("The key file does not hold its current key", where=str(path))
    return keys


def _first_keys() -> bytes:
    key_id = f"j{secrets.token_hex(4)}"
    return msgspec.json.encode(TokenKeys(current=key_id, keys={key_id: secrets.token_bytes(48)}))


class Claims(msgspec.Struct, frozen=True, kw_only=True):
    """What a verified token says; times in seconds since the epoch."""

    sub: str
    cid: str | None
    role: Role
    sid: str
    iss: str
    aud: str
    jti: str
    typ: str
    iat: int
    nbf: int
    exp: int

    def is_current(self, now: float) -> bool:
        earliest = max(self.nbf, self.iat) - _LEEWAY_SECONDS
        return earliest <= now < self.exp + _LEEWAY_SECONDS


class AccessTokens:
    """Issues and verifies; the claims of tokens that were verified before are kept, bounded."""

    def __init__(self, keys: TokenKeys, *, lifetime_seconds: int, clock: Clock) -> None:
        self.lifetime_seconds = lifetime_seconds
        self._keys = keys
        self._clock = clock
        self._verified: OrderedDict[str, Claims] = OrderedDict()

    def issue(self, session: Session, role: Role) -> str:
        now = self._clock()
        claims = {
            "sub": session.user_id,
            "cid": session.company_id,
            "role": str(role),
            "sid": session.id,
            "iss": ISSUER,
            "aud": AUDIENCE,
            "iat": now,
            "nbf": now,
            "exp": now + timedelta(seconds=self.lifetime_seconds),
            "jti": secrets.token_hex(16),
            "typ": "access",
        }
        key_id = self._keys.current
        key = self._keys.keys[key_id]
        return jwt.encode(claims, key, algorithm=ALGORITHM, headers={"kid": key_id})

    def verify(self, token: str) -> Claims:
        """The claims of a good token; every bad one raises the same Unauthenticated."""
        claims = self._verified.get(token)
        if claims is None:
            claims = self._read(token)
            self._verified[token] = claims
            if len(self._verified) > _CAPACITY:
                self._verified.popitem(last=False)
        if not claims.is_current(self._clock().timestamp()):
            self._verified.pop(token, None)
            raise _not_valid()
        return claims

    def _read(self, token: str) -> Claims:
        try:
            header = jwt.get_unverified_header(token)
            key = self._keys.keys[header["kid"]]
            if header.keys() != _HEADER or header["typ"] != "JWT":
                raise _not_valid()
            claims: dict[str, Any] = jwt.decode(
                token,
                key,
                algorithms=[ALGORITHM],
                audience=AUDIENCE,
                issuer=ISSUER,
                options=_OPTIONS,
            )
            read = msgspec.convert(claims, Claims)
        except (
            *(jwt.PyJWTError, msgspec.ValidationError),
            *(KeyError, RecursionError, TypeError, ValueError),
        ) as error:
            raise _not_valid() from error
        if read.typ != "access":
            raise _not_valid()
        return read


def _not_valid() -> Unauthenticated:
    return Unauthenticated("The access token is not valid")
