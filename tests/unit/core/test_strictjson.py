"""JSON bodies that every reader reads alike, judged against the standard library's parser."""

import json
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from novapulse.core import strictjson
from novapulse.core.errors import Invalid, Malformed

MOST = 2**53


class Refused(Exception):
    """What the oracle says to a body that must not be accepted."""


def plain_object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    if len({name for name, _ in pairs}) != len(pairs):
        raise Refused("a key twice")
    return dict(pairs)


def refuse_constant(text: str) -> float:
    raise Refused(text)


ORACLE = json.JSONDecoder(object_pairs_hook=plain_object, parse_constant=refuse_constant)


def oracle(body: bytes) -> None:
    """The rules in the slowest and plainest way there is."""
    try:
        value = ORACLE.decode(body.decode())
        json.dumps(value, ensure_ascii=False).encode()  # no lone surrogate
    except (ValueError, RecursionError) as error:
        raise Refused from error
    check(value, 0)


def check(value: Any, depth: int) -> None:
    if isinstance(value, str) and "\0" in value:
        raise Refused("NUL")
    if isinstance(value, int) and not -MOST <= value <= MOST:
        raise Refused("an integer out of range")
    if isinstance(value, float) and value in (float("inf"), float("-inf")):
        raise Refused("a number out of range")
    if isinstance(value, dict | list):
        if depth == strictjson.MAX_DEPTH:
            raise Refused("too deep")
        for item in value:
            check(item, depth + 1)
        if isinstance(value, dict):
            for item in value.values():
                check(item, depth + 1)


def is_accepted(body: bytes) -> bool:
    try:
        strictjson.check(body)
    except (Malformed, Invalid):
        return False
    return True


def is_innocent(body: bytes) -> bool:
    try:
        oracle(body)
    except Refused:
        return False
    return True


TEXTS = st.one_of(
    st.sampled_from(["a", "b", "id", '":', '"', "\\", " :", "\0", "é", "𝄞", "", "{[", "12:00"]),
    st.text(max_size=4),
)
NUMBERS = st.one_of(
    st.integers(-3, 3),
    st.integers(MOST - 2, MOST + 2),
    st.integers(-MOST - 2, -MOST + 2),
    st.floats(allow_nan=False, allow_infinity=False),
)
LEAVES = st.one_of(TEXTS.map(lambda text: ("text", text)), NUMBERS, st.none(), st.booleans())


def containers(children: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    """Arrays, and objects as lists of pairs, so that a key may come twice."""
    return st.one_of(
        st.lists(children, max_size=4),
        st.lists(st.tuples(TEXTS, children), max_size=4).map(lambda pairs: ("object", pairs)),
    )


def written(value: Any, draw: Any) -> str:
    """The value as JSON with drawn spaces and escapes."""
    space = draw(st.sampled_from(["", "", "", " ", "\n\t"]))
    match value:
        case ("text", text):
            return quoted(text, draw) + space
        case ("object", pairs):
            members = [quoted(n, draw) + space + ":" + written(v, draw) for n, v in pairs]
            return "{" + space + ",".join(members) + "}" + space
        case list():
            return "[" + ",".join(written(item, draw) for item in value) + "]" + space
        case _:
            return json.dumps(value) + space


def quoted(text: str, draw: Any) -> str:
    return json.dumps(text, ensure_ascii=draw(st.booleans()))


@st.composite
def bodies(draw: Any) -> bytes:
    value = draw(st.recursive(LEAVES, containers, max_leaves=12))
    return written(value, draw).encode("utf-8", "surrogatepass")


@given(bodies())
@example(b'{"v":"a",":x":1,":x":2}')
@example(b'{"a":{"x":1},"a":{"y":2}}')
@example(b'{"a":":","a" :1}')
@example(b'{"a":"\\":\\":","a":1}')
@example(b'{"a":1,"\\u0061":1}')
def test_a_body_is_accepted_exactly_when_the_plain_rules_accept_it(body: bytes) -> None:
    assert is_accepted(body) is is_innocent(body)


@given(bodies(), st.data())
def test_a_damaged_body_is_accepted_exactly_when_the_plain_rules_accept_it(
    body: bytes, data: st.DataObject
) -> None:
    at = data.draw(st.integers(0, len(body)))
    replaced = data.draw(st.integers(0, 2))
    inserted = data.draw(
        st.sampled_from([b"", b"[", b"}", b'"', b"\\", b":", b"9", b"\xff", b"\0"])
    )
    damaged = body[:at] + inserted + body[at + replaced :]
    assert is_accepted(damaged) is is_innocent(damaged)


@given(st.integers(1, 80), st.sampled_from([b"[", b'{"a":', b'{"a":[', b'[{"\\"":']))
def test_depth_is_counted_exactly(levels: int, opening: bytes) -> None:
    closings = {b"[": b"]", b"{": b"}"}
    pairs = b"".join(
        closings[sign]
        for sign in (opening[i : i + 1] for i in range(len(opening)))
        if sign in closings
    )
    body = opening * levels + b"1" + pairs[::-1] * levels
    assert is_accepted(body) is (levels * len(pairs) <= strictjson.MAX_DEPTH)


@pytest.mark.parametrize(
    "body",
    [
        b"[" * 1_000_000,
        b'{"a":' * 200_000,
        b"[]" * 500_000,
        b'"' + b"[" * 100_000,
        b"[" * 33 + b"]" * 33,
        b"[" * 33 + b"}" * 33,
        b"9" * 10_000,
        b"-" + b"9" * 1_000_000,
        b"1e999999999",
        b'["' + b"\\u0000" * 10 + b'"]',
        b"\xef\xbb\xbf{}",
        "{}".encode("utf-16"),
        b'{"a":"\xed\xa0\x80"}',
        b'{"a":"\\ud800"}',
        b"",
        b"   ",
    ],
    ids=lambda body: repr(body[:20]),
)
def test_hostile_bodies_are_refused_and_never_a_bug(body: bytes) -> None:
    with pytest.raises((Malformed, Invalid)):
        strictjson.check(body)


def test_brackets_inside_texts_are_no_depth() -> None:
    strictjson.check(b'{"text":"' + b"[{" * 5_000 + b'"}')


@pytest.mark.parametrize("number", [MOST, -MOST])
def test_the_largest_integers_that_all_readers_keep_are_accepted(number: int) -> None:
    strictjson.check(b'{"number":%d}' % number)


@pytest.mark.parametrize(
    ("body", "path"),
    [
        (b'{"a":{"b":[0,9007199254740993]}}', "a.b[1]"),
        (b'{"a":-9007199254740993}', "a"),
        (b'{"a":[{"b":1e400}]}', "a[0].b"),
        (b"9007199254740993", ""),
    ],
)
def test_a_number_out_of_range_is_named_by_its_path(body: bytes, path: str) -> None:
    with pytest.raises(Invalid) as caught:
        strictjson.check(body)
    assert [error.path for error in caught.value.errors] == [path]


@pytest.mark.parametrize(
    ("body", "word"),
    [
        (b'{"name":1,"name":2}', "'name' twice"),
        (b'{"a":"\\u0000"}', "NUL"),
        (b"[" * 40 + b"]" * 40, "deeper than 32"),
        (b"", "empty"),
    ],
)
def test_a_refusal_says_what_is_wrong(body: bytes, word: str) -> None:
    with pytest.raises(Malformed, match=word):
        strictjson.check(body)
