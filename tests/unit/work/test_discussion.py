"""Comments: who is mentioned in one."""

import pytest

from novapulse.core import wire
from novapulse.core.errors import Invalid, Malformed
from novapulse.work.discussion import MAX_MENTIONS, NewComment

ANN = "0123456789abcdef01234567"


@pytest.mark.parametrize(
    ("body", "named"),
    [
        ("@ann@example.com please look", ["ann@example.com"]),
        ("Thanks, @ann@example.com.", ["ann@example.com"]),
        ("(@ann@example.com, @ben@example.com!)", ["ann@example.com", "ben@example.com"]),
        ("@ann@example.com @ann@example.com", ["ann@example.com"]),
        (f"@{ANN} has it", [ANN]),
        (f"@{ANN}0 is nobody", []),
        ("mail ann@example.com instead", []),
        ("ann@example.com@ben@example.com", []),
        ("@ann and @ ben", []),
        ("@jörg.o'neil+x@münchen.example?", ["jörg.o'neil+x@münchen.example"]),
        ("line\n@ann@example.com\nline", ["ann@example.com"]),
        ("", []),
    ],
)
def test_an_at_sign_before_an_address_or_id_mentions(body: str, named: list[str]) -> None:
    assert NewComment(body=body).names() == tuple(named)


def test_a_crowd_is_not_mentioned() -> None:
    crowd = [f"@user{number}@example.com" for number in range(MAX_MENTIONS + 1)]
    assert len(NewComment(body=" ".join(crowd[1:])).names()) == MAX_MENTIONS
    with pytest.raises(Invalid) as caught:
        NewComment(body=" ".join(crowd)).names()
    assert caught.value.errors[0].path == "body"


@pytest.mark.parametrize("text", ["@" * 10_000, "@a" * 5_000, ("@" + "a" * 99) * 100, "a@" * 5_000])
def test_a_hostile_body_is_read_as_quickly_as_any(text: str) -> None:
    NewComment(body=text).names()


@pytest.mark.parametrize("body", [b"{}", b'{"body":""}', b'{"body":5}', b'{"body":"x","to":[]}'])
def test_what_is_no_comment_is_refused(body: bytes) -> None:
    with pytest.raises(Invalid):
        wire.decode(body, NewComment)


def test_a_body_has_ten_thousand_characters_and_no_nul() -> None:
    with pytest.raises(Invalid):
        wire.decode(b'{"body":"' + b"x" * 10_001 + b'"}', NewComment)
    with pytest.raises((Invalid, Malformed)):
        wire.decode(b'{"body":"a\\u0000b"}', NewComment)
