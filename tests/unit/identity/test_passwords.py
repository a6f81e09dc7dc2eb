"""Password hashing on threads of its own."""

import asyncio
import time

import pytest

from novapulse.core.errors import Unavailable
from novapulse.identity.passwords import Passwords


@pytest.fixture
def passwords():
    hashing = Passwords(memory_kib=1_024, time_cost=1)
    yield hashing
    hashing.close()


async def test_the_right_password_fits_and_no_other(passwords: Passwords) -> None:
    stored = await passwords.hash("correct horse battery")
    assert await passwords.verify(stored, "correct horse battery")
    for wrong in ("", "correct horse", "Correct horse battery", "correct horse battery "):
        assert not await passwords.verify(stored, wrong)


async def test_hashes_are_argon2id_and_never_the_same(passwords: Passwords) -> None:
    first, second = await passwords.hash("x"), await passwords.hash("x")
    assert first != second
    assert first.startswith("$argon2id$v=19$m=1024,t=1,p=1$")


async def test_for_somebody_unknown_no_password_fits(passwords: Passwords) -> None:
    assert not await passwords.verify(None, "x")
    assert not await passwords.verify(None, "")


async def test_somebody_unknown_is_looked_at_for_as_long_as_anybody() -> None:
    passwords = Passwords(memory_kib=32_768, time_cost=2)
    stored = await passwords.hash("x")
    assert not passwords.is_outdated(passwords._nobody)
    spent = {}
    for who in (stored, None):
        seconds = []
        for _ in range(5):
            began = time.perf_counter()
            assert not await passwords.verify(who, "y")
            seconds.append(time.perf_counter() - began)
        spent[who] = min(seconds)
    assert spent[None] > 0.5 * spent[stored]
    passwords.close()


async def test_a_damaged_hash_fits_nothing(passwords: Passwords) -> None:
    for stored in ("", "x", "$argon2id$", "$2b$12$abc"):
        assert not await passwords.verify(stored, "x")


async def test_the_event_loop_goes_on_meanwhile(passwords: Passwords) -> None:
    turns = 0
    hashing = asyncio.gather(*(passwords.hash("x") for _ in range(8)))
    while not hashing.done():
        await asyncio.sleep(0)
        turns += 1
    assert turns > 8


async def test_a_crowd_is_told_to_come_back(passwords: Passwords) -> None:
    crowd = [passwords.hash("x") for _ in range(200)]
    done = await asyncio.gather(*crowd, return_exceptions=True)
    refused = [one for one in done if isinstance(one, Unavailable)]
    assert 0 < len(refused) < 200
    assert all(isinstance(one, str | Unavailable) for one in done)
    assert await passwords.hash("x")
