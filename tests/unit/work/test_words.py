"""Words of a title, and what they are found by."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from novapulse.work.words import LONGEST, SHORTEST, beginnings, long_words, words


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("Water the plants", ["water", "the", "plants"]),
        ("  twice, twice! ", ["twice"]),
        ("Pläne für Élise", ["plane", "fur", "elise"]),
        ("STRASSE straße", ["strasse"]),
        ("ticket-42_b (v2.1)", ["ticket", "42", "b", "v2", "1"]),
        ("заплатить СЧЁТ", ["заплатить", "счет"]),
        ("会議の準備 😀", ["会議の準備"]),
        (".* $where ^", ["where"]),
        ("!?", []),
        ("", []),
    ],
)
def test_words_are_told_apart_without_case_accents_and_signs(text: str, found: list[str]) -> None:
    assert words(text) == found


def test_a_word_is_found_by_its_first_letters() -> None:
    assert beginnings("Plants") == ["pl", "pla", "plan", "plant", "plants"]
    assert beginnings("a plantation") == ["a", "pl", "pla", "plan", "plant", "planta"]
    assert long_words("a plantation in plants") == ["plantation"]


@given(st.text(max_size=200))
def test_every_beginning_of_every_word_leads_to_it(title: str) -> None:
    kept, whole = beginnings(title), long_words(title)
    for word in words(title):
        assert word[:LONGEST] in kept
        for length in range(SHORTEST, len(word) + 1):
            asked = word[:length]
            assert asked[:LONGEST] in kept
            assert length <= LONGEST or any(one.startswith(asked) for one in whole)


@given(st.text(max_size=200))
def test_what_is_kept_is_no_more_than_what_is_looked_for(title: str) -> None:
    assert all(any(word.startswith(one) for word in words(title)) for one in beginnings(title))
    assert all(len(one) <= LONGEST for one in beginnings(title))


@given(st.text(max_size=100))
def test_folding_again_changes_nothing(text: str) -> None:
    assert words(" ".join(words(text))) == words(text)
