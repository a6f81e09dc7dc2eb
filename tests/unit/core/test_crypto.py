"""Sealed values open at their own place with their own key, and nowhere else."""

import base64
import stat
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from novapulse.core.crypto import KEY_BYTES, KeyRing, Place, Unsealable, load_key_ring
from novapulse.core.errors import ConfigurationInvalid

PLACE = Place("webhooks", "w1", "secrets.s1", "c1")
OLD, NEW = b"o" * KEY_BYTES, b"n" * KEY_BYTES


def ring() -> KeyRing:
    return KeyRing("new", {"old": OLD, "new": NEW})


@given(st.binary(max_size=200))
def test_what_is_sealed_opens_again(secret: bytes) -> None:
    assert ring().open(ring().seal(secret, PLACE), PLACE) == secret


def test_a_sealed_value_shows_nothing_of_the_secret() -> None:
    sealed = ring().seal(b"whsec_very-secret", PLACE)
    key_id, _, encoded = sealed.partition(".")
    assert key_id == "new"
    assert b"very-secret" not in base64.b64decode(encoded)


def test_sealing_twice_never_gives_the_same() -> None:
    assert ring().seal(b"x", PLACE) != ring().seal(b"x", PLACE)


@pytest.mark.parametrize("member", ["collection", "id", "field", "company_id"])
def test_a_value_moved_to_another_place_does_not_open(member: str) -> None:
    elsewhere = replace(PLACE, **{member: "other"})
    with pytest.raises(Unsealable):
        ring().open(ring().seal(b"x", PLACE), elsewhere)


def test_an_old_key_still_opens() -> None:
    sealed = KeyRing("old", {"old": OLD}).seal(b"x", PLACE)
    assert ring().open(sealed, PLACE) == b"x"


def test_a_key_that_is_not_in_the_ring_is_named() -> None:
    sealed = KeyRing("gone", {"gone": OLD}).seal(b"x", PLACE)
    with pytest.raises(Unsealable, match="'gone'"):
        ring().open(sealed, PLACE)


def test_a_value_that_claims_another_key_does_not_open() -> None:
    sealed = ring().seal(b"x", PLACE)
    with pytest.raises(Unsealable):
        ring().open(sealed.replace("new.", "old."), PLACE)


@given(st.integers(min_value=0), st.integers(min_value=0, max_value=7))
def test_one_flipped_bit_anywhere_does_not_open(position: int, bit: int) -> None:
    key_id, _, encoded = ring().seal(b"secret", PLACE).partition(".")
    raw = bytearray(base64.b64decode(encoded))
    raw[position % len(raw)] ^= 1 << bit
    with pytest.raises(Unsealable):
        ring().open(f"{key_id}.{base64.b64encode(raw).decode()}", PLACE)


@given(st.text(max_size=60))
def test_what_was_never_sealed_does_not_open(text: str) -> None:
    for sealed in (text, f"new.{text}"):
        with pytest.raises(Unsealable):
            ring().open(sealed, PLACE)


@pytest.mark.parametrize("length", range(30))
def test_a_cut_off_value_does_not_open(length: int) -> None:
    sealed = f"new.{base64.b64encode(b'x' * length).decode()}"
    with pytest.raises(Unsealable):
        ring().open(sealed, PLACE)


def test_the_first_start_makes_a_ring_that_is_private_and_stays(tmp_path: Path) -> None:
    path = tmp_path / "keys.json"
    sealed = load_key_ring(path).seal(b"x", PLACE)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert load_key_ring(path).open(sealed, PLACE) == b"x"


@pytest.mark.parametrize(
    "content",
    [
        b"not json",
        b"{}",
        b'{"current":"a","keys":{}}',
        b'{"current":"a","keys":{"b":"' + base64.b64encode(NEW) + b'"}}',
        b'{"current":"a","keys":{"a":"' + base64.b64encode(b"short") + b'"}}',
        b'{"current":"a","keys":{"a":7}}',
    ],
)
def test_a_damaged_key_file_stops_the_start(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "keys.json"
    path.write_bytes(content)
    path.chmod(0o600)
    with pytest.raises(ConfigurationInvalid) as caught:
        load_key_ring(path)
    assert caught.value.where == str(path)
