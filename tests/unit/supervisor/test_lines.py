import pytest
from hypothesis import given
from hypothesis import strategies as st

from supervisor.lines import LineBuffer, decode_frame, encode_frame


@given(st.lists(st.binary(max_size=30)), st.integers(1, 40))
def test_however_a_stream_is_cut_its_bytes_arrive_in_order(chunks: list[bytes], limit: int):
    buffer = LineBuffer(limit)
    lines = [line for chunk in chunks for line in buffer.feed(chunk)]
    rest = buffer.take_rest()
    assert len(rest) <= limit
    assert b"".join(lines) + rest == b"".join(chunks).replace(b"\n", b"")


def test_lines_are_whole_when_they_arrive_in_pieces():
    buffer = LineBuffer(100)
    assert buffer.feed(b"on") == []
    assert buffer.feed(b"e\ntwo\n\nth") == [b"one", b"two", b""]
    assert buffer.take_rest() == b"th"
    assert buffer.take_rest() == b""


def test_a_line_without_an_end_does_not_grow_beyond_its_limit():
    buffer = LineBuffer(4)
    assert buffer.feed(b"abcdefghij") == [b"abcd", b"efgh"]
    assert buffer.take_rest() == b"ij"


def test_a_frame_survives_the_way():
    frame = {"verb": "status", "text": "Grüße\n", "n": 1}
    assert decode_frame(encode_frame(frame).rstrip(b"\n")) == frame


@pytest.mark.parametrize(
    "line",
    [b"", b"[]", b"7", b"{", b"\xff\xfe", b"null", b"[" * 100_000],
    ids=lambda b: repr(b[:5]),
)
def test_what_is_no_json_object_is_refused(line: bytes):
    with pytest.raises(ValueError):  # noqa: PT011 - the kind is the interface, the text is json's
        decode_frame(line)
