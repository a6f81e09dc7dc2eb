"""A webhook's own headers: what they may be called, and how a patch changes them."""

import pytest

from novapulse.core.errors import Invalid
from novapulse.subscriptions import headers
from novapulse.subscriptions.model import MAX_HEADERS


@pytest.mark.parametrize("name", ["Authorization", "X-Api-Key", "x_team", "X.1", "Accept"])
def test_a_header_of_its_own_is_accepted(name: str) -> None:
    headers.check({name: 'Bearer a b; c="d"'})


@pytest.mark.parametrize(
    "name",
    [
        "Host",
        "content-length",
        "Content-Type",
        "Transfer-Encoding",
        "Connection",
        "Upgrade",
        "TE",
        "Expect",
        "Cookie",
        "Accept-Encoding",
        "User-Agent",
        "webhook-id",
        "Webhook-Signature",
        "webhook-anything",
        "X-NovaPulse-Signature",
        "x-novapulse-whatever",
        "X-Forwarded-For",
        "Forwarded",
        "Proxy-Authorization",
        "Proxy-Connection",
        "Sec-Fetch-Mode",
        "Via",
    ],
)
def test_a_reserved_header_is_refused(name: str) -> None:
    with pytest.raises(Invalid, match="is reserved"):
        headers.check({name: "x"})


@pytest.mark.parametrize("name", ["a b", "a:b", "a\r\nb", "ä", "a\0", "a/b", "{a}", "", "x" * 101])
def test_what_is_no_name_of_a_header_is_refused(name: str) -> None:
    with pytest.raises(Invalid) as caught:
        headers.check({name: "x"})
    assert caught.value.errors[0].path.startswith("headers.")


@pytest.mark.parametrize(
    "value", ["a\r\nX-Evil: 1", "a\nb", "a\0b", "ä", " a", "a ", "a\tb", "\x7f"]
)
def test_what_is_no_value_of_a_header_is_refused(value: str) -> None:
    with pytest.raises(Invalid) as caught:
        headers.check({"X-A": value})
    assert "X-Evil" not in str(caught.value.detail)


def test_one_header_in_two_spellings_is_refused() -> None:
    with pytest.raises(Invalid, match="another spelling"):
        headers.check({"X-A": "1", "x-a": "2"})


def test_there_are_at_most_twenty() -> None:
    full = {f"X-{n}": "v" for n in range(MAX_HEADERS)}
    headers.check(full)
    with pytest.raises(Invalid, match="at most 20"):
        headers.check({**full, "X-More": "v"})
    with pytest.raises(Invalid, match="at most 20"):
        headers.merged(full, {"X-More": "v"})
    assert len(headers.merged(full, {"X-More": "v", "X-0": None})) == MAX_HEADERS


def test_a_patch_replaces_adds_and_removes() -> None:
    before = {"X-A": "1", "X-B": "2"}
    assert headers.merged(before, {"x-a": "3", "X-C": "4"}) == {"x-a": "3", "X-B": "2", "X-C": "4"}
    assert list(headers.merged(before, {"X-A": "3"})) == ["X-A", "X-B"]
    assert headers.merged(before, {"X-B": None, "X-None": None}) == {"X-A": "1"}
    assert headers.merged(before, {}) == before
    assert headers.merged(before, None) == {}
