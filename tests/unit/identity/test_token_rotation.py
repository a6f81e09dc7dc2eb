"""Rotating the keys of access tokens: nobody is signed out, and the former key goes."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import jwt
import pytest

from novapulse.core.access import Role
from novapulse.core.errors import Unauthenticated
from novapulse.core.secretfiles import WatchedSecret
from novapulse.identity.model import Session
from novapulse.identity.tokens import (
    AccessTokens,
    load_token_keys,
    read_token_keys,
    rotate_token_keys,
)

START = datetime(2026, 11, 23, 12, tzinfo=UTC)
LIFETIME = 900


class Clock:
    now = START

    def __call__(self) -> datetime:
        return self.now

    def seconds(self) -> float:
        return (self.now - START).total_seconds()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "token-keys.json"
    load_token_keys(path)
    return path


@pytest.fixture
def clock() -> Clock:
    return Clock()


def process(path: Path, clock: Clock) -> AccessTokens:
    """What one API process has."""
    tokens = AccessTokens(load_token_keys(path), lifetime_seconds=LIFETIME, clock=clock)
    tokens.follow(WatchedSecret(path, read_token_keys, clock=clock.seconds))
    return tokens


def issue(tokens: AccessTokens, at: datetime) -> str:
    session = Session(
        id="5" * 24,
        user_id="1" * 24,
        company_id="2" * 24,
        created_at=at,
        last_used_at=at,
        expires_at=at,
        ends_at=at,
        token_hash="",
    )
    return tokens.issue(session, Role.USER)


def rotate(path: Path, clock: Clock) -> str:
    return rotate_token_keys(path, now=clock.now, lifetime_seconds=LIFETIME).current


def test_tokens_of_before_and_after_work_in_processes_of_before_and_after(
    path: Path, clock: Clock
) -> None:
    old = process(path, clock)
    before = issue(old, clock.now)
    current = rotate(path, clock)
    new = process(path, clock)
    after = issue(new, clock.now)
    assert jwt.get_unverified_header(after)["kid"] == current
    for tokens in (old, new):
        assert tokens.verify(before).sub == tokens.verify(after).sub


def test_a_running_process_signs_by_the_new_key_soon(path: Path, clock: Clock) -> None:
    tokens = process(path, clock)
    current = rotate(path, clock)
    clock.now += timedelta(seconds=2)
    assert jwt.get_unverified_header(issue(tokens, clock.now))["kid"] == current


def test_the_former_key_verifies_the_last_token_that_a_late_process_signed(
    path: Path, clock: Clock
) -> None:
    late = process(path, clock)
    rotate(path, clock)
    clock.now += timedelta(seconds=1.9)
    token = issue(late, clock.now)
    clock.now += timedelta(seconds=LIFETIME - 1)
    assert process(path, clock).verify(token)


def test_the_former_key_is_worth_nothing_afterwards(path: Path, clock: Clock) -> None:
    former = load_token_keys(path)
    rotate(path, clock)
    clock.now += timedelta(seconds=LIFETIME + 60)
    forger = AccessTokens(former, lifetime_seconds=LIFETIME, clock=clock)
    with pytest.raises(Unauthenticated):
        process(path, clock).verify(issue(forger, clock.now))


def test_a_rotation_drops_the_keys_that_are_over(path: Path, clock: Clock) -> None:
    ids = [load_token_keys(path).current, rotate(path, clock)]
    clock.now += timedelta(seconds=LIFETIME / 2)
    ids.append(rotate(path, clock))
    assert set(load_token_keys(path).keys) == set(ids)
    clock.now += timedelta(seconds=LIFETIME / 2 + 60)  # the first one is over, the second not
    ids.append(rotate(path, clock))
    assert set(load_token_keys(path).keys) == set(ids[1:])


def test_an_unknown_key_is_looked_for_once_and_refused(path: Path, clock: Clock) -> None:
    stranger = path.with_name("other.json")
    load_token_keys(stranger)
    with pytest.raises(Unauthenticated):
        process(path, clock).verify(issue(process(stranger, clock), clock.now))
