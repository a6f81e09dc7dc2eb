"""What is read from a client's JSON, and how answers are written."""

import json
from datetime import UTC, datetime
from enum import StrEnum

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import UNSET, UnsetType

from novapulse.core import wire
from novapulse.core.errors import Invalid, Malformed

SAFE_INTEGERS = st.integers(-(2**53) + 1, 2**53 - 1)
# Keys that JavaScript would take for array indexes are sorted by it: we have none.
KEYS = st.text(max_size=8).map(lambda text: f"k{text}")
JSON_VALUES = st.recursive(
    st.none() | st.booleans() | SAFE_INTEGERS | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(KEYS, inner, max_size=4),
    max_leaves=20,
)


class Colour(StrEnum):
    RED = "red"


class Inner(msgspec.Struct, frozen=True, rename="camel", forbid_unknown_fields=True):
    how_many: int


class Outer(msgspec.Struct, frozen=True, rename="camel", forbid_unknown_fields=True):
    inner: Inner
    labels: tuple[str, ...] = ()
    colour: Colour = Colour.RED
    due_at: datetime | UnsetType | None = UNSET


def as_javascript_would(value: object) -> bytes:
    """`JSON.stringify`: no spaces, no needless escapes."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode()


@given(JSON_VALUES)
def test_a_receiver_that_parses_and_writes_again_gets_the_same_bytes(value: object) -> None:
    raw = wire.encode(value)
    assert as_javascript_would(json.loads(raw)) == raw
    assert json.loads(raw) == value


def test_control_and_foreign_characters_are_written_as_javascript_does() -> None:
    text = '\0\b\t\n\f\r\x1f\x7f\u2028\u2029é😀/\\"'
    assert wire.encode(text) == as_javascript_would(text)


def test_names_are_camel_case_and_unset_fields_are_not_there() -> None:
    assert wire.encode(Outer(Inner(3))) == b'{"inner":{"howMany":3},"labels":[],"colour":"red"}'


def test_null_is_written_where_a_field_is_empty() -> None:
    assert json.loads(wire.encode(Outer(Inner(3), due_at=None)))["dueAt"] is None


def test_times_are_written_with_milliseconds_and_z() -> None:
    moment = datetime(2026, 2, 3, 4, 5, 6, 7_000, tzinfo=UTC)
    raw = wire.encode([moment, {"at": moment}, Outer(Inner(1), due_at=moment)])
    assert raw.count(b'"2026-02-03T04:05:06.007Z"') == 3


@pytest.mark.parametrize(
    ("body", "path"),
    [
        (b'{"inner":{"howMany":"3"}}', "inner.howMany"),
        (b'{"inner":{"howMany":3.5}}', "inner.howMany"),
        (b'{"inner":{"howMany":true}}', "inner.howMany"),
        (b'{"inner":{}}', "inner.howMany"),
        (b"{}", "inner"),
        (b'{"inner":{"howMany":3},"how_many":1}', "how_many"),
        (b'{"inner":{"howMany":3,"other":1}}', "inner.other"),
        (b'{"inner":{"howMany":3},"labels":["a",2]}', "labels[1]"),
        (b'{"inner":{"howMany":3},"colour":"blue"}', "colour"),
        (b'{"inner":{"howMany":3},"dueAt":"2026-02-30T00:00:00Z"}', "dueAt"),
        (b'{"inner":null}', "inner"),
        (b"[]", ""),
        (b"null", ""),
    ],
)
def test_an_unacceptable_value_is_named_by_its_path(body: bytes, path: str) -> None:
    with pytest.raises(Invalid) as caught:
        wire.decode(body, Outer)
    assert [error.path for error in caught.value.errors] == [path]
    assert caught.value.errors[0].message


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"{'inner':1}",
        b'{"inner":{"howMany":3}} more',
        b'{"inner":{"howMany":NaN}}',
        b'{"inner":{"howMany":Infinity}}',
        b'{"inner":{"howMany":03}}',
        b'{"inner":{"howMany":3},"labels":["\xff"]}',
        b'{"inner":{"howMany":3},"labels":["\\ud800"]}',
        b'{"inner":{"howMany":3},"labels":["\\x"]}',
        b'{"inner":{"howMany":3},}',
        b'\xef\xbb\xbf{"inner":{"howMany":3}}',
        '{"inner":{"howMany":3}}'.encode("utf-16"),
    ],
)
def test_what_is_no_json_is_malformed(body: bytes) -> None:
    with pytest.raises(Malformed):
        wire.decode(body, Outer)


@pytest.mark.parametrize(
    "body",
    [
        b'{"inner":{"howMany":3},"inner":{"howMany":4}}',
        b'{"inner":{"howMany":3,"howMany":4}}',
        b'{"inner":{"howMany":3},"l\\u0061bels":[],"labels":["a"]}',
    ],
)
def test_a_key_that_comes_twice_is_refused(body: bytes) -> None:
    with pytest.raises((Malformed, Invalid)):
        wire.decode(body, Outer)


@pytest.mark.parametrize("opening", [b"[", b'{"a":', b'{"labels":['])
def test_deep_nesting_is_refused_and_never_a_bug(opening: bytes) -> None:
    for body in (opening * 100_000, b'{"inner":{"howMany":3},"labels":' + opening * 100_000):
        with pytest.raises((Malformed, Invalid)):
            wire.decode(body, Outer)


def test_a_text_with_nul_is_refused() -> None:
    with pytest.raises((Malformed, Invalid)):
        wire.decode(b'{"inner":{"howMany":3},"labels":["a\\u0000b"]}', Outer)


@pytest.mark.parametrize("number", [2**53 + 1, -(2**53) - 1, 10**30])
def test_an_integer_that_javascript_would_round_is_refused(number: int) -> None:
    with pytest.raises((Malformed, Invalid)):
        wire.decode(b'{"inner":{"howMany":%d}}' % number, Outer)


@given(st.binary(max_size=60))
def test_any_bytes_are_read_or_refused(body: bytes) -> None:
    with pytest.raises((Malformed, Invalid)):
        wire.decode(body, Outer)
