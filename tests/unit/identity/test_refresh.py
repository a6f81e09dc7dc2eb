"""Refresh tokens: computed successors, and proofs that tell real ones from made-up ones."""

import stat
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from novapulse.core.errors import ConfigurationInvalid
from novapulse.identity.refresh import RefreshTokens, digest, load_refresh_key

SESSION = "5" * 24
TOKENS = RefreshTokens(b"k" * 32)


def test_a_first_token_is_drawn_and_its_successor_is_computed() -> None:
    first, other = TOKENS.first(SESSION), TOKENS.first(SESSION)
    assert first != other
    assert TOKENS.successor(first) == TOKENS.successor(first)
    assert TOKENS.successor(first) != TOKENS.successor(other)
    assert TOKENS.session_of(first) == TOKENS.session_of(TOKENS.successor(first)) == SESSION


def test_a_chain_of_successors_does_not_come_back() -> None:
    chain = [TOKENS.first(SESSION)]
    for _ in range(500):
        chain.append(TOKENS.successor(chain[-1]))
    assert len(set(chain)) == len({digest(token) for token in chain}) == 501


def test_another_installations_key_makes_and_takes_other_tokens() -> None:
    elsewhere = RefreshTokens(b"x" * 32)
    token = TOKENS.first(SESSION)
    assert elsewhere.session_of(token) is None
    assert elsewhere.successor(token) != TOKENS.successor(token)
    assert elsewhere.csrf_token(SESSION) != TOKENS.csrf_token(SESSION)


@given(st.data())
def test_a_token_with_one_character_changed_is_made_up(data: st.DataObject) -> None:
    token = TOKENS.first(SESSION)
    at = data.draw(st.integers(0, len(token) - 1))
    other = data.draw(st.sampled_from("abcdefABCDEF0123456789-_."))
    changed = token[:at] + other + token[at + 1 :]
    assert changed == token or TOKENS.session_of(changed) is None


@given(st.text())
def test_any_text_is_made_up(text: str) -> None:
    assert TOKENS.session_of(text) is None


def test_csrf_tokens_are_a_sessions_own_and_tell_nothing_of_its_token() -> None:
    token = TOKENS.first(SESSION)
    csrf = TOKENS.csrf_token(SESSION)
    assert csrf != TOKENS.csrf_token("6" * 24)
    assert csrf not in token


def test_the_key_is_made_once_and_private(tmp_path: Path) -> None:
    path = tmp_path / "refresh-key"
    key = load_refresh_key(path)
    assert (len(key), stat.S_IMODE(path.stat().st_mode)) == (32, 0o600)
    assert load_refresh_key(path) == key
    path.write_bytes(key[:-1])
    with pytest.raises(ConfigurationInvalid):
        load_refresh_key(path)
