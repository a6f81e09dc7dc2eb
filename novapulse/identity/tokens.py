"""Access tokens: JWTs by HS256 with a key id, verified against an allow-list of one algorithm."""

import secrets
from collections import OrderedDict
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import jwt
import msgspec

from novapulse.core.access import Role
from novapulse.core.clock import Clock
from novapulse.core.errors import ConfigurationInvalid, Unauthenticated
from novapulse.core.secretfiles import (
    REREAD_SECONDS,
    WatchedSecret,
    ensure_secret_file,
    read_secret_file,
    replace_secret_file,
)
from novapulse.identity.model import Session

ISSUER = "novapulse"
AUDIENCE = "novapulse-api"
ALGORITHM = "HS256"
MIN_SECRET_BYTES = 32
_KEY_BYTES = 48
_LEEWAY_SECONDS = 30
_REQUIRED = ["exp", "iat", "nbf", "sub", "aud", "iss", "sid", "jti", "typ"]
_HEADER = {"alg", "kid", "typ"}
_CAPACITY = 4_096
# Times are checked here, by the program's own clock.
_OPTIONS: Any = {
    "require": _REQUIRED,
    **dict.fromkeys(("verify_exp", "verify_nbf", "verify_iat"), False),
}


class TokenKeys(msgspec.Struct, frozen=True, omit_defaults=True):
    """The key that signs, and every key that still verifies, a former one `until` a moment."""

    current: str
    keys: dict[str, bytes]
    until: dict[str, datetime] = {}

    def find(self, key_id: str, *, now: datetime) -> bytes | None:
        """The key of this id while it verifies."""
        ends = self.until.get(key_id)
        return None if ends is not None and ends <= now else self.keys.get(key_id)


def load_token_keys(path: Path, *, given: bytes | None = None) -> TokenKeys:
    """The keys in `path` (made on first use), or the one that the environment gives."""
    if given is not None:
        keys = TokenKeys(current="environment", keys={"environment": given})
        _check_lengths(keys, where="JWT_ACCESS_SECRET")
        return keys
    ensure_secret_file(path, _first_keys)
    return read_token_keys(path)


def read_token_keys(path: Path) -> TokenKeys:
    """Raises ConfigurationInvalid, or FileNotFoundError."""
    try:
        keys = msgspec.json.decode(read_secret_file(path), type=TokenKeys)
    except msgspec.DecodeError as error:
        raise ConfigurationInvalid(f"The key file is damaged: {error}", where=str(path)) from error
    if keys.current not in keys.keys:
        raise ConfigurationInvalid("The key file does not hold its current key", where=str(path))
    _check_lengths(keys, where=str(path))
    return keys


def rotate_token_keys(path: Path, *, now: datetime, lifetime_seconds: int) -> TokenKeys:
    """Let a new key sign; the former one verifies until the last token by it has expired."""
    former = read_token_keys(path)
    # A process may sign by the former key until it has noticed; what it signs lives so long.
    late = timedelta(seconds=2 * REREAD_SECONDS + lifetime_seconds + _LEEWAY_SECONDS)
    until = {key: end for key, end in former.until.items() if end > now}
    until[former.current] = now + late
    kept = {key: secret for key, secret in former.keys.items() if key in until}
    current = _new_key_id()
    keys = TokenKeys(current, {**kept, current: secrets.token_bytes(_KEY_BYTES)}, until)
    replace_secret_file(path, msgspec.json.encode(keys))
    return keys


def _check_lengths(keys: TokenKeys, *, where: str) -> None:
    if any(len(key) < MIN_SECRET_BYTES for key in keys.keys.values()):
        raise ConfigurationInvalid(
            f"The secret that signs access tokens is shorter than {MIN_SECRET_BYTES} bytes",
            where=where,
        )


def _first_keys() -> bytes:
    key_id = _new_key_id()
    return msgspec.json.encode(TokenKeys(key_id, {key_id: secrets.token_bytes(_KEY_BYTES)}))


def _new_key_id() -> str:
    return f"j{secrets.token_hex(4)}"


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
        self._watched: WatchedSecret[TokenKeys] | None = None
        self._clock = clock
        self._verified: OrderedDict[str, Claims] = OrderedDict()

    def follow(self, watched: WatchedSecret[TokenKeys]) -> None:
        """Use the keys that the file holds at the time, so that a rotation needs no restart."""
        self._watched = watched

    def _present_keys(self, *, needed: str | None = None) -> TokenKeys:
        """The keys of a moment ago; those of now when one is `needed` that was not there."""
        if self._watched is not None:
            self._keys = self._watched.recent()
            if needed is not None and needed not in self._keys.keys:
                self._keys = self._watched.newest()
        return self._keys

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
        keys = self._present_keys()
        key_id = keys.current
        key = keys.keys[key_id]
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
            keys = self._present_keys(needed=header["kid"])
            key = keys.find(header["kid"], now=self._clock())
            if key is None or header.keys() != _HEADER or header["typ"] != "JWT":
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
