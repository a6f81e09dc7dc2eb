"""Query strings, each parameter in one spelling only."""

from typing import Annotated

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from novapulse.core.errors import Invalid
from novapulse.core.query import QueryReader


class Search(msgspec.Struct, rename="camel", forbid_unknown_fields=True):
    limit: Annotated[int, msgspec.Meta(ge=1, le=200)] = 50
    page_size: int | None = None
    is_active: bool | None = None
    text: str | None = None


READER = QueryReader(Search)


def test_every_type_is_read_in_its_one_spelling() -> None:
    found = READER.read(b"limit=20&pageSize=7&isActive=true&text=caf%C3%A9+%26+bar")
    assert found == Search(limit=20, page_size=7, is_active=True, text="café & bar")


def test_nothing_given_leaves_the_defaults() -> None:
    assert READER.read(b"") == Search()


@pytest.mark.parametrize(
    ("query", "path"),
    [
        (b"limit=", "limit"),
        (b"limit=+5", "limit"),
        (b"limit=%2B5", "limit"),
        (b"limit=-5", "limit"),
        (b"limit=5.0", "limit"),
        (b"limit=5_0", "limit"),
        (b"limit=0x5", "limit"),
        (b"limit=5%20", "limit"),
        (b"limit=5%0A", "limit"),
        (b"limit=%EF%BC%95", "limit"),  # a full-width five
        (b"limit=%D9%A5", "limit"),  # an Arabic-Indic five
        (b"limit=1234567890", "limit"),
        (b"limit=0", "limit"),
        (b"limit=201", "limit"),
        (b"limit=true", "limit"),
        (b"limit=null", "limit"),
        (b"pageSize=null", "pageSize"),
        (b"isActive=1", "isActive"),
        (b"isActive=True", "isActive"),
        (b"isActive=null", "isActive"),
        (b"limit=5&limit=5", "limit"),
        (b"limit=5&%6Cimit=6", "limit"),
        (b"colour=blue", "colour"),
        (b"page_size=5", "page_size"),
        (b"text[$ne]=x", "text[$ne]"),
        (b"text%5B%24regex%5D=.", "text[$regex]"),
        (b"limit=5&", ""),
        (b"&", ""),
        (b"=5", ""),
        (b"text=%FF", "text"),
        (b"text=%ED%A0%80", "text"),  # half of a surrogate pair
        (b"text=%C0%80", "text"),  # NUL, written too long
        (b"text=%00", "text"),
        (b"text=a%00b", "text"),
        (b"text=%", "text"),
        (b"text=%4", "text"),
        (b"text=%GG", "text"),
        (b"text=%u0041", "text"),
        (b"%FF=1", ""),
    ],
)
def test_what_can_be_read_in_two_ways_is_refused_by_name(query: bytes, path: str) -> None:
    with pytest.raises(Invalid) as caught:
        READER.read(query)
    assert [error.path for error in caught.value.errors] == [path]


def test_a_route_without_parameters_takes_none() -> None:
    with pytest.raises(Invalid) as caught:
        QueryReader(None).read(b"debug=1")
    assert [error.path for error in caught.value.errors] == ["debug"]


@given(st.binary(max_size=30))
def test_any_bytes_are_read_or_refused(query: bytes) -> None:
    try:
        READER.read(query)
    except Invalid:
        pass
