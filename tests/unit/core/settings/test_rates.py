"""Rates as people write them."""

import pytest

from novapulse.core.settings.rates import Rate


@pytest.mark.parametrize(
    ("text", "rate"),
    [("1/second", Rate(1, 1)), ("100/minute", Rate(100, 60)), ("5000/hour", Rate(5000, 3600))],
)
def test_a_rate_is_read_and_written_the_same(text: str, rate: Rate) -> None:
    assert Rate.parse(text) == rate
    assert str(rate) == text


@pytest.mark.parametrize("text", ["", "5", "5/", "/minute", "-1/minute", "5 / minute", "5/minutes"])
def test_what_is_not_a_rate_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="such as 100/minute"):
        Rate.parse(text)
