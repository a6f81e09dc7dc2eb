"""CSV whose cells are text to every spreadsheet."""

import csv
import io
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from novapulse.core import csvtext

SIGNS = "=+-@\uff1d\uff0b\uff0d\uff20"


def parsed(text: str) -> list[list[str]]:
    return list(csv.reader(io.StringIO(text, newline="")))


def test_values_are_written_as_a_reader_expects() -> None:
    moment = datetime(2026, 11, 23, 12, tzinfo=UTC)
    line = csvtext.row([None, 1, -2, 1.5, True, moment, ["a", "b"], {"k": "v"}, 'say "hi", you'])
    assert line.endswith("\r\n")
    (cells,) = parsed(line)
    assert cells[:5] == ["", "1", "-2", "1.5", "true"]
    assert cells[5:] == ["2026-11-23T12:00:00.000Z", "a, b", '{"k":"v"}', 'say "hi", you']


@pytest.mark.parametrize("sign", [*SIGNS, "\t", "\r", "\n", " =", "\u00a0=", "\x00="])
def test_a_cell_never_starts_like_a_formula(sign: str) -> None:
    assert csvtext.safe_cell(f"{sign}cmd|' /C calc'!A0").startswith("'")
    assert csvtext.row([[f"{sign}1", "x"]]).lstrip('"').startswith("'")


@given(st.lists(st.text(st.characters(exclude_characters="\x00", codec="utf-8")), min_size=1))
def test_a_row_is_read_back_as_it_was_but_for_apostrophes(cells: list[str]) -> None:
    (read,) = parsed(csvtext.row(cells)) or [[]]
    if cells == [""]:
        return  # an empty line is a row of nothing to every reader
    assert [one.removeprefix("'") for one in read] == [one.removeprefix("'") for one in cells]


@given(st.text())
def test_a_safe_cell_only_ever_gains_an_apostrophe(text: str) -> None:
    safe = csvtext.safe_cell(text)
    assert safe in (text, f"'{text}")
    assert not safe.lstrip().startswith(tuple(SIGNS))
