"""Access tokens: keys, claims, and what a forged one is worth."""

import base64
import stat
from datetime import UTC, datetime, timedelta
from pathlib import Path

import jwt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from novapulse.core.access import Role
from novapulse.core.errors import ConfigurationInvalid, Unauthenticated
from novapulse.identity.model import Session
from novapulse.identity.tokens import AccessTokens, Claims, TokenKeys, load_token_keys

KEYS = TokenKeys(current="new", keys={"old": b"o" * 48, "new": b"n" * 48})
CREATED = datetime.now(UTC).replace(microsecond=0)
SESSION = Session(
    id="5" * 24,
    user_id="1" * 24,
    company_id="2" * 24,
    created_at=CREATED,
    last_used_at=CREATED,
    expires_at=CREATED + timedelta(days=7),
    ends_at=CREATED + timedelta(days=30),
    token_hash="",
)


def tokens(keys: TokenKeys = KEYS, *, at: datetime = CREATED) -> AccessTokens:
    return AccessTokens(keys, lifetime_seconds=900, clock=lambda: at)


def issued(keys: TokenKeys = KEYS, *, at: datetime = CREATED) -> str:
    return tokens(keys, at=at).issue(SESSION, Role.MANAGER)


def verify(token: str, *, at: datetime = CREATED) -> Claims:
    return tokens(at=at).verify(token)


def test_a_token_says_who_it_is_for_and_names_its_key() -> None:
    claims = verify(issued())
    assert (claims.sub, claims.cid, claims.role) == (SESSION.user_id, SESSION.company_id, "manager")
    assert claims.sid == SESSION.id
    assert jwt.get_unverified_header(issued()) == {"alg": "HS256", "typ": "JWT", "kid": "new"}


def test_all_claims_are_there() -> None:
    claims = jwt.decode(issued(), options={"verify_signature": False})
    assert set(claims) == {
        *("sub", "cid", "role", "sid", "iss", "aud", "iat", "nbf", "exp", "jti", "typ")
    }
    assert claims["exp"] - claims["iat"] == 900


def test_tokens_of_the_outgoing_key_still_work() -> None:
    before = TokenKeys(current="old", keys={"old": KEYS.keys["old"]})
    assert verify(issued(before)).sid == SESSION.id


@pytest.mark.parametrize("seconds", [-30, 0, 899, 929])
def test_clocks_may_differ_by_thirty_seconds(seconds: int) -> None:
    assert verify(issued(), at=CREATED + timedelta(seconds=seconds))


@pytest.mark.parametrize("seconds", [-86_400, -31, 930, 86_400])
def test_clocks_may_not_differ_by_more(seconds: int) -> None:
    with pytest.raises(Unauthenticated):
        verify(issued(), at=CREATED + timedelta(seconds=seconds))


def test_a_token_that_was_verified_before_expires_like_any_other() -> None:
    now = CREATED
    checked = AccessTokens(KEYS, lifetime_seconds=900, clock=lambda: now)
    token = issued()
    assert checked.verify(token) is checked.verify(token)
    now = CREATED + timedelta(seconds=930)
    for _ in range(2):
        with pytest.raises(Unauthenticated):
            checked.verify(token)


def test_the_memory_of_verified_tokens_is_bounded() -> None:
    checked = tokens()
    for _ in range(4_200):
        checked.verify(checked.issue(SESSION, Role.USER))
    assert len(checked._verified) <= 4_096


@given(st.text(max_size=200))
def test_any_text_is_no_token(text: str) -> None:
    with pytest.raises(Unauthenticated):
        verify(text)


@given(st.integers(min_value=0), st.integers(0, 5))
def test_a_token_with_one_bit_changed_is_worth_nothing(position: int, bit: int) -> None:
    head, payload, signature = issued().split(".")
    raw = bytearray(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))
    raw[position % len(raw)] ^= 1 << bit
    forged = base64.urlsafe_b64encode(raw).decode().rstrip("=")
    with pytest.raises(Unauthenticated):
        verify(f"{head}.{forged}.{signature}")


def test_a_deeply_nested_header_is_worth_nothing_either() -> None:
    head = base64.urlsafe_b64encode(b"[" * 9_000).decode().rstrip("=")
    with pytest.raises(Unauthenticated):
        verify(f"{head}.e30.c2ln")


def test_the_first_start_makes_a_key_that_is_private_and_stays(tmp_path: Path) -> None:
    path = tmp_path / "keys.json"
    first = load_token_keys(path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert len(first.keys[first.current]) >= 32
    assert load_token_keys(path) == first


def test_the_operators_own_secret_is_used_when_there_is_one(tmp_path: Path) -> None:
    keys = load_token_keys(tmp_path / "keys.json", given=b"x" * 32)
    assert keys.keys[keys.current] == b"x" * 32
    assert not (tmp_path / "keys.json").exists()


def test_a_short_secret_stops_the_start(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationInvalid) as caught:
        load_token_keys(tmp_path / "keys.json", given=b"x" * 31)
    assert "x" * 31 not in caught.value.detail


@pytest.mark.parametrize(
    "content",
    [
        b"not json",
        b"{}",
        b'{"current":"a","keys":{}}',
        b'{"current":"a","keys":{"b":"%s"}}',
        b'{"current":"a","keys":{"a":7}}',
    ],
)
def test_a_damaged_key_file_stops_the_start(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "keys.json"
    path.write_bytes(content.replace(b"%s", base64.b64encode(b"x" * 32)))
    path.chmod(0o600)
    with pytest.raises(ConfigurationInvalid):
        load_token_keys(path)
