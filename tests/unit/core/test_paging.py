import base64
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from novapulse.core.errors import Invalid
from novapulse.core.paging import after, encode_cursor, listing

START = datetime(2026, 1, 1, tzinfo=UTC)
MOMENTS = st.integers(0, 4 * 10**12).map(
    lambda milliseconds: datetime(1970, 1, 1, tzinfo=UTC) + timedelta(milliseconds=milliseconds)
)


@dataclass
class Row:
    id: str
    created_at: datetime


def rows(count: int) -> list[Row]:
    return [Row(f"{number:024x}", START - timedelta(seconds=number)) for number in range(count)]


def encoded(raw: str) -> str:
    return base64.urlsafe_b64encode(raw.encode()).decode().rstrip("=")


def test_without_a_cursor_nothing_is_left_out() -> None:
    assert after(None) == {}


@given(MOMENTS)
def test_a_cursor_points_exactly_behind_its_row(moment: datetime) -> None:
    older = after(encode_cursor(moment, "0" * 24))["$or"]
    assert older == [
        {"createdAt": {"$lt": moment}},
        {"createdAt": moment, "_id": {"$lt": "0" * 24}},
    ]


@pytest.mark.parametrize(
    "cursor",
    [
        "",
        "!",
        "é",
        "AAAA",
        "null",
        "0",
        "=",
        encoded("soon:a"),
        encoded(":a"),
        encoded("1e3:a"),
        encoded(f"{10**30}:a"),
        encoded(f"{10**17}:a"),
        encoded(f"-{10**17}:a"),
        "x" * 5000,
    ],
)
def test_a_bad_cursor_is_an_unacceptable_value(cursor: str) -> None:
    with pytest.raises(Invalid) as caught:
        after(cursor)
    assert [error.path for error in caught.value.errors] == ["cursor"]


@given(st.text(max_size=128))
def test_any_text_is_a_cursor_or_an_unacceptable_value(cursor: str) -> None:
    try:
        found = after(cursor)
    except Invalid:
        return
    # What reaches the query is a moment and a text, whatever was sent.
    assert isinstance(found["$or"][1]["createdAt"], datetime)
    assert isinstance(found["$or"][1]["_id"]["$lt"], str)


def test_a_page_that_is_not_full_is_the_last() -> None:
    page = listing(rows(3), 3)
    assert page.page.next_cursor is None
    assert len(page.data) == 3


def test_one_row_more_than_the_page_makes_a_cursor_to_its_last_row() -> None:
    found = rows(4)
    page = listing(found, 3)
    assert page.data == found[:3]
    assert page.page.next_cursor == encode_cursor(found[2].created_at, found[2].id)
    assert page.page.limit == 3


def test_an_empty_list_is_a_page() -> None:
    assert listing([], 50).data == []
