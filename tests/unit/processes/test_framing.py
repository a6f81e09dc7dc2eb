"""Heads and chunk lines that may be read in two ways are refused."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from novapulse.core.errors import HeaderTooLarge, Malformed
from novapulse.processes.framing import (
    MAX_FIELDS,
    MAX_HEAD_BYTES,
    ChunkLines,
    check_head,
    check_part_of_head,
    origin_form,
)

GOOD = b"POST /a?b=c HTTP/1.1\r\nHost: a.example:80\r\nContent-Length: 3\r\nX-Any: \xe9 {}\r\n\r\n"


def head(*fields: bytes, line: bytes = b"GET / HTTP/1.1") -> bytes:
    return b"\r\n".join([line, *fields, b"", b""])


def filled(size: int) -> bytes:
    empty = head(b"Host: a", b"X: ")
    return head(b"Host: a", b"X: " + b"x" * (size - len(empty)))


@pytest.mark.parametrize(
    "good",
    [
        GOOD,
        head(b"host:a"),
        head(b"Host: [::1]:5000"),
        head(b"Host: a", b"Empty:"),
        head(b"Host: a", b"Tab:\tx\t"),
        head(b"Host: a", b"Transfer-Encoding: Chunked"),
        head(line=b"GET / HTTP/1.0"),
        head(b"Host: a", line=b"OPTIONS * HTTP/1.1"),
        head(b"Host: a", line=b"GET http://a/b HTTP/1.1"),
        head(b"Host: a", *[b"X: y"] * (MAX_FIELDS - 1)),
        filled(MAX_HEAD_BYTES),
    ],
)
def test_a_plain_head_is_accepted(good: bytes) -> None:
    check_head(good)


@pytest.mark.parametrize(
    "large", [head(b"Host: a", *[b"X: y"] * MAX_FIELDS), filled(MAX_HEAD_BYTES + 1)]
)
def test_a_large_head_is_refused_as_a_whole_and_while_it_comes(large: bytes) -> None:
    with pytest.raises(HeaderTooLarge):
        check_head(large)
    with pytest.raises(HeaderTooLarge):
        check_part_of_head(large[:-2] + b"X: y")


@given(st.integers(0, len(GOOD) - 1), st.sampled_from([b"\0", b"\r", b"\n", b"\x7f", b"\x0b"]))
def test_control_characters_are_refused_wherever_they_are(at: int, control: bytes) -> None:
    broken = GOOD[:at] + control + GOOD[at:]
    if b"\r\n\r\n" in broken[:-1] and broken.index(b"\r\n\r\n") < len(broken) - 4:
        return  # it only ends earlier
    with pytest.raises(Malformed):
        check_head(broken)


@given(st.integers(1, len(GOOD) - 1))
def test_a_good_head_is_not_refused_while_it_comes(at: int) -> None:
    check_part_of_head(GOOD[:at])


@pytest.mark.parametrize("part", [b"\x16\x03\x01", b" GET", b"\r\n", b"GET / HTTP/1.1\n", b"{"])
def test_what_can_not_become_a_head_is_refused_at_once(part: bytes) -> None:
    with pytest.raises(Malformed):
        check_part_of_head(part)


@pytest.mark.parametrize(
    ("target", "path", "host"),
    [
        (b"/a?b", b"/a?b", None),
        (b"*", b"*", None),
        (b"http://h:1/a?b", b"/a?b", b"h:1"),
        (b"https://h", b"/", b"h"),
        (b"http://h?b", b"/?b", b"h"),
    ],
)
def test_an_absolute_target_is_taken_apart(target: bytes, path: bytes, host: bytes | None) -> None:
    assert origin_form(target) == (path, host)


def fed(body: bytes, cuts: list[int]) -> None:
    lines = ChunkLines()
    edges = sorted({0, len(body), *(cut % (len(body) + 1) for cut in cuts)})
    for start, end in itertools.pairwise(edges):
        lines.feed(body[start:end])


CUTS = st.lists(st.integers(0, 1_000), max_size=6)


@given(
    st.lists(
        st.tuples(st.binary(min_size=1, max_size=20), st.sampled_from([b"", b";a=b", b';q="x"']))
    ),
    CUTS,
)
def test_chunks_are_followed_however_they_are_cut(
    chunks: list[tuple[bytes, bytes]], cuts: list[int]
) -> None:
    body = b"".join(b"%x%b\r\n%b\r\n" % (len(data), more, data) for data, more in chunks)
    fed(body + b"0\r\n\r\n" + b"GET / HTTP/1.1 and what else comes", cuts)


@given(
    st.sampled_from(
        [
            b"5 \r\nhello\r\n",
            b" 5\r\nhello\r\n",
            b"+5\r\nhello\r\n",
            b"-5\r\nhello\r\n",
            b"0x5\r\nhello\r\n",
            b"5_0\r\nhello\r\n",
            b"5\nhello\r\n",
            b"5;a\rb\r\nhello\r\n",
            b"5;a\nb\r\nhello\r\n",
            b"5;\0\r\nhello\r\n",
            b"g\r\nhello\r\n",
            b"\r\nhello\r\n",
            b"5;" + b"x" * 300,
            b"f" * 300,
            b"fffffffffffff\r\n",
            b"0\r\nTrailer: x\r\n\r\n",
            b"0\r\n\n",
            b"0\r\nx",
        ]
    ),
    CUTS,
)
def test_odd_chunks_are_refused_however_they_are_cut(odd: bytes, cuts: list[int]) -> None:
    with pytest.raises(Malformed):
        fed(b"3\r\nabc\r\n" + odd, cuts)
