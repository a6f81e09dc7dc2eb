from ipaddress import ip_network

import pytest

from novapulse.core.networks import AddressPolicy

PUBLIC = ["1.1.1.1", "8.8.8.8", "93.184.216.34", "172.32.0.1", "100.128.0.1", "198.20.0.1"]
PUBLIC_V6 = ["2606:4700:4700::1111", "2a00:1450:4001::1", "2001:4860:4860::8888"]

DENIED = [
    *("0.0.0.0", "0.1.2.3", "10.0.0.1", "10.255.255.255", "100.64.0.1", "100.127.255.255"),
    *("127.0.0.1", "127.255.255.254", "169.254.0.1", "169.254.169.254", "172.16.0.1"),
    *("172.31.255.255", "192.0.0.1", "192.0.2.1", "192.88.99.1", "192.168.0.1", "198.18.0.1"),
    *("198.19.255.255", "198.51.100.1", "203.0.113.1", "224.0.0.1", "239.255.255.255"),
    *("240.0.0.1", "255.255.255.255", "168.63.129.16", "100.100.100.200", "192.0.0.192"),
    *("::", "::1", "::2", "::127.0.0.1", "64:ff9b::1", "64:ff9b:1::1", "100::1", "2001::1"),
    *("2001:db8::1", "2002::1", "3fff::1", "5f00::1", "fc00::1", "fd00:ec2::254", "fe80::1"),
    *("fec0::1", "ff02::1", "fdff:ffff::1"),
]

TUNNELLED = [
    *("::ffff:127.0.0.1", "::ffff:10.0.0.1", "::ffff:7f00:1", "::FFFF:169.254.169.254"),
    *("64:ff9b::7f00:1", "64:ff9b::10.0.0.1", "64:ff9b:1::127.0.0.1"),
    *("2002:7f00:1::", "2002:a00:1::1", "2002:a9fe:a9fe::"),
    # Teredo hides the client's address inverted: 127.0.0.1 is 80ff:fffe.
    *("2001:0:808:808::80ff:fffe", "2001:0:7f00:1::f7f7:f7f7"),
]

UNREADABLE = [
    *("", " ", "localhost", "example.com", "2130706433", "0x7f000001", "0x7f.1", "0177.0.0.1"),
    *("127.1", "127.0.1", "127.0.0.1.", " 127.0.0.1", "127.0.0.1\n", "127.0.0.1:80", "[::1]"),
    *("127.0.0.01", "1.2.3.4.5", "256.0.0.1", "１２７.0.0.1", "::1%lo", "fe80::1%eth0", "::g"),
    *("8.8.8.8/32", "2606:4700::1111%25lo", "unix:/run/x.sock"),
]


def policy(*allow: str, forbidden: tuple[tuple[str, int], ...] = ()) -> AddressPolicy:
    return AddressPolicy(tuple(ip_network(text) for text in allow), frozenset(forbidden))


@pytest.mark.parametrize("ip", [*PUBLIC, *PUBLIC_V6, "::ffff:8.8.8.8"])
def test_a_public_address_may_be_connected_to(ip: str) -> None:
    assert policy().verdict(ip, 443) is None


@pytest.mark.parametrize("ip", [*DENIED, *TUNNELLED])
def test_a_special_address_may_not_be_connected_to(ip: str) -> None:
    assert policy().verdict(ip, 443) is not None


@pytest.mark.parametrize("ip", UNREADABLE)
def test_what_is_not_plainly_an_address_is_denied_even_when_everything_is_allowed(ip: str) -> None:
    everything = policy("0.0.0.0/0", "::/0", "127.0.0.0/8", "::1/128", "fe80::/10")
    assert everything.verdict(ip, 80) == "not an address"


@pytest.mark.parametrize(
    ("allowed", "opened", "still_closed"),
    [
        ("10.20.0.0/16", ["10.20.0.1", "10.20.255.255"], ["10.19.255.255", "10.21.0.0"]),
        ("192.168.1.7/32", ["192.168.1.7"], ["192.168.1.6", "192.168.1.8"]),
        ("fd12:3456::/32", ["fd12:3456::1"], ["fd12:3457::1", "fd00:ec2::254"]),
        ("100.64.0.0/10", ["100.64.0.1"], ["100.100.100.200", "100.63.0.1.1"]),
        ("127.0.0.0/8", ["127.0.0.1", "127.9.9.9", "::ffff:127.0.0.1"], ["::1", "0.0.0.0"]),
        ("127.0.0.1/32", ["127.0.0.1"], ["127.0.0.2", "::1"]),
        ("::1/128", ["::1"], ["127.0.0.1", "::", "::2"]),
        ("169.254.0.0/16", ["169.254.1.1"], ["169.254.169.254", "127.0.0.1"]),
        ("169.254.169.254/32", ["169.254.169.254"], ["169.254.169.253"]),
        ("168.63.129.16/32", ["168.63.129.16"], ["169.254.169.254"]),
        ("fd00:ec2::254/128", ["fd00:ec2::254"], ["fd00:ec2::253"]),
        ("fe80::/10", ["fe80::1"], ["fec0::1", "::1"]),
        ("0.0.0.0/32", ["0.0.0.0"], ["0.0.0.1", "127.0.0.1"]),
    ],
)
def test_an_allowed_network_opens_exactly_what_it_names(
    allowed: str, opened: list[str], still_closed: list[str]
) -> None:
    opening = policy(allowed)
    assert [ip for ip in opened if opening.verdict(ip, 80) is not None] == []
    assert [ip for ip in still_closed if opening.verdict(ip, 80) is None] == []


@pytest.mark.parametrize(
    "generous",
    ["0.0.0.0/0", "126.0.0.0/7", "0.0.0.0/1", "168.0.0.0/6", "169.0.0.0/8", "96.0.0.0/3"],
)
@pytest.mark.parametrize(
    "ip", ["127.0.0.1", "0.0.0.0", "169.254.1.1", "169.254.169.254", "168.63.129.16"]
)
def test_a_generous_ipv4_network_never_opens_the_machine_itself(generous: str, ip: str) -> None:
    assert policy(generous).verdict(ip, 80) is not None


@pytest.mark.parametrize("generous", ["::/0", "::/8", "::/64", "fc00::/7", "fe00::/7", "fd00::/8"])
@pytest.mark.parametrize(
    "ip", ["::1", "::", "fe80::1", "fd00:ec2::254", "::ffff:127.0.0.1", "::ffff:169.254.169.254"]
)
def test_a_generous_ipv6_network_never_opens_the_machine_itself(generous: str, ip: str) -> None:
    assert policy(generous).verdict(ip, 80) is not None


def test_private_ranges_are_opened_by_a_generous_network() -> None:
    generous = policy("0.0.0.0/0", "::/0")
    for ip in ("10.0.0.1", "192.168.0.1", "172.16.0.1", "100.64.0.1", "fc00::1", "10.1.2.3"):
        assert generous.verdict(ip, 80) is None


def test_an_allowed_gateway_network_does_not_open_what_lies_behind_the_gateway() -> None:
    nat64 = policy("64:ff9b::/96")
    assert nat64.verdict("64:ff9b::8.8.8.8", 80) is None
    assert nat64.verdict("64:ff9b::127.0.0.1", 80) is not None
    assert nat64.verdict("64:ff9b::10.0.0.1", 80) is not None
    assert policy("64:ff9b::/96", "10.0.0.0/8").verdict("64:ff9b::10.0.0.1", 80) is None


def test_our_own_sockets_stay_closed_whatever_is_allowed() -> None:
    ours = policy("127.0.0.1/32", "10.0.0.0/8", forbidden=(("127.0.0.1", 5000), ("10.0.0.5", 443)))
    assert ours.verdict("127.0.0.1", 5000) == "an address of this program"
    assert ours.verdict("::ffff:127.0.0.1", 5000) == "an address of this program"
    assert ours.verdict("10.0.0.5", 443) == "an address of this program"
    assert ours.verdict("127.0.0.1", 5001) is None
    assert ours.verdict("10.0.0.6", 443) is None


@pytest.mark.parametrize("everywhere", ["0.0.0.0", "::"])
def test_a_socket_at_every_address_closes_its_port_on_every_loopback_address(
    everywhere: str,
) -> None:
    ours = policy("127.0.0.0/8", "::1/128", "0.0.0.0/8", forbidden=((everywhere, 5000),))
    for ip in ("127.0.0.1", "127.8.8.8", "::1", "0.0.0.0", "::ffff:127.0.0.1"):
        assert ours.verdict(ip, 5000) == "an address of this program"
        assert ours.verdict(ip, 5001) is None
    assert ours.own_ports == {5000}


def test_a_forbidden_socket_given_by_name_is_an_error_at_the_start() -> None:
    with pytest.raises(ValueError, match="localhost"):
        policy(forbidden=(("localhost", 5000),))
