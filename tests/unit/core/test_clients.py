"""Whose address counts, and how much of it."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from novapulse.core.clients import ClientResolver, bucket, is_loopback

NOBODY = ClientResolver(())
PROXIED = ClientResolver(("10.0.0.0/8", "2001:db8:ff::/48"))


@pytest.mark.parametrize("forwarded", ["1.1.1.1", "1.1.1.1, 2.2.2.2", "garbage", "127.0.0.1", ""])
def test_without_trusted_proxies_nothing_a_client_says_counts(forwarded: str) -> None:
    assert NOBODY.address("203.0.113.9", forwarded) == "203.0.113.9"


@pytest.mark.parametrize(
    ("peer", "forwarded", "address"),
    [
        ("203.0.113.9", "1.1.1.1", "203.0.113.9"),  # not a proxy: it may say what it likes
        ("10.0.0.1", "1.1.1.1", "1.1.1.1"),
        ("10.0.0.1", "6.6.6.6, 1.1.1.1", "1.1.1.1"),  # the client made up what is on the left
        ("10.0.0.1", "6.6.6.6, 1.1.1.1, 10.0.0.2", "1.1.1.1"),
        ("10.0.0.1", "10.0.0.3, 10.0.0.2", "10.0.0.3"),
        ("10.0.0.1", "", "10.0.0.1"),
        ("10.0.0.1", " , ,1.1.1.1, ", "1.1.1.1"),
        ("10.0.0.1", "1.1.1.1, garbage", "10.0.0.1"),
        ("10.0.0.1", "6.6.6.6, 127.0.0.1", "127.0.0.1"),
        ("10.0.0.1", "6.6.6.6, 10.0.0.2.evil.example", "10.0.0.1"),
        ("2001:db8:ff::1", "2001:db8::7", "2001:db8::7"),
        ("10.0.0.1", "2001:0DB8:0:0::7", "2001:db8::7"),
    ],
)
def test_trusted_proxies_are_walked_from_the_right(peer: str, forwarded: str, address: str):
    assert PROXIED.address(peer, forwarded) == address


@given(st.lists(st.sampled_from(["6.6.6.6", "10.9.9.9", "127.0.0.1", "x"])))
def test_what_a_client_puts_on_the_left_changes_nothing(made_up: list[str]) -> None:
    seen_by_proxy = ", ".join([*made_up, "1.1.1.1"])
    assert PROXIED.address("10.0.0.1", seen_by_proxy) == "1.1.1.1"


def test_a_peer_without_an_address_has_one_bucket() -> None:
    assert NOBODY.address(None, "1.1.1.1") == PROXIED.address(None, "1.1.1.1")


def test_an_ipv4_client_is_its_address() -> None:
    assert bucket("192.0.2.1") != bucket("192.0.2.2")


def test_an_ipv6_client_is_its_64() -> None:
    assert bucket("2001:db8:1:2::1") == bucket("2001:db8:1:2:ffff:ffff:ffff:ffff")
    assert bucket("2001:db8:1:2::1") != bucket("2001:db8:1:3::1")
    assert bucket("2001:DB8:1:2:0::1") == bucket("2001:db8:1:2::1")


def test_a_strange_address_never_breaks_the_limit() -> None:
    for address in ("fe80::1%eth0", "::ffff:", "a:b", "unix:"):
        assert bucket(address)


def test_ipv4_clients_of_a_dual_stack_socket_do_not_share_a_bucket() -> None:
    # A socket on [::] shows an IPv4 client as ::ffff:192.0.2.1.
    assert bucket("::ffff:192.0.2.1") != bucket("::ffff:192.0.2.2")
    assert bucket("::ffff:192.0.2.1") == bucket("192.0.2.1")


def test_a_proxy_is_known_in_both_spellings_of_its_address() -> None:
    assert PROXIED.address("::ffff:10.0.0.1", "1.1.1.1") == "1.1.1.1"
    assert PROXIED.address("10.0.0.1", "6.6.6.6, 1.1.1.1, ::ffff:10.0.0.2") == "1.1.1.1"


@pytest.mark.parametrize(
    ("peer", "is_local"),
    [
        ("127.0.0.1", True),
        ("127.9.9.9", True),
        ("::1", True),
        ("::ffff:127.0.0.1", True),
        ("192.0.2.1", False),
        ("::ffff:192.0.2.1", False),
        (None, False),
        ("localhost", False),
        ("0.0.0.0", False),
        ("", False),
    ],
)
def test_only_this_machine_is_local(peer: str | None, is_local: bool) -> None:
    assert is_loopback(peer) is is_local
