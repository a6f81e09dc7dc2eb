"""Which addresses the program may connect to on somebody's behalf.

Pure: no lookup, no socket. `core.connector` asks at every connect, with the
concrete address that it is about to connect to.
"""

from collections.abc import Iterable
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network

# Addresses of the machine itself and of its cloud. An allowed network opens
# one of these only by lying within it, so that no generous entry (0.0.0.0/0)
# opens them by accident. The first that contains an address decides.
_GUARDED: tuple[tuple[Network, str], ...] = tuple(
    (ip_network(text), reason)
    for reason, texts in (
        (
            "a cloud metadata address",
            (
                *("169.254.169.254/32", "168.63.129.16/32", "100.100.100.200/32"),
                *("192.0.0.192/32", "fd00:ec2::254/128", "fd20:ce::254/128"),
            ),
        ),
        # Linux connects 0.0.0.0 and :: to the machine itself.
        ("a loopback address", ("127.0.0.0/8", "::1/128", "0.0.0.0/8", "::/128")),
        ("a link-local address", ("169.254.0.0/16", "fe80::/10")),
    )
    for text in texts
)

# Special-purpose registries of IANA. `is_global` of the standard library is
# not enough: in Python 3.11 it passes several of these.
_DENIED: tuple[Network, ...] = tuple(
    ip_network(text)
    for text in (
        *("0.0.0.0/8", "10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16"),
        *("172.16.0.0/12", "192.0.0.0/24", "192.0.2.0/24", "192.88.99.0/24"),
        *("192.168.0.0/16", "198.18.0.0/15", "198.51.100.0/24", "203.0.113.0/24"),
        *("224.0.0.0/4", "240.0.0.0/4", "168.63.129.16/32", "::/8", "64:ff9b::/96"),
        *("64:ff9b:1::/48", "100::/64", "2001::/32", "2001:db8::/32", "2002::/16"),
        *("3fff::/20", "5f00::/16", "fc00::/7", "fe80::/10", "fec0::/10", "ff00::/8"),
    )
)

_NAT64: tuple[IPv6Network, ...] = (IPv6Network("64:ff9b::/96"), IPv6Network("64:ff9b:1::/48"))
_UNREADABLE = "not an address"
_OWN_SOCKET = "an address of this program"
_RESERVED = "a private or reserved address"


class AddressPolicy:
    """What may be connected to: everything public, and what `allow` names.

    `allow` opens private ranges; loopback, link-local and metadata addresses
    are opened only by an entry that lies within them. `forbidden_sockets` are
    (ip, port) pairs that stay closed whatever is allowed: where this program
    itself listens. `0.0.0.0` or `::` there stands for every address of this
    machine (see `own_ports`).

    Raises:
        ValueError: a forbidden socket is not given by its address.
    """

    __slots__ = ("_allow", "_forbidden", "own_ports")

    def __init__(
        self,
        allow: Iterable[Network] = (),
        forbidden_sockets: Iterable[tuple[str, int]] = (),
    ) -> None:
        sockets = [(_unwrapped(ip_address(ip)), port) for ip, port in forbidden_sockets]
        self._allow = tuple(allow)
        self._forbidden = frozenset(sockets)
        # Ports on which the program listens at every address. Which addresses
        # the machine has only the kernel knows: `core.connector` asks it.
        self.own_ports = frozenset(port for ip, port in sockets if ip.is_unspecified)

    def verdict(self, ip: str, port: int) -> str | None:
        """None, or what `ip` is that it may not be connected to (`a loopback address`).

        An IPv4 address inside of an IPv6 one is judged as well: IPv4-mapped,
        NAT64, 6to4 and Teredo lead to it.
        """
        try:
            # A scope (fe80::1%eth0) would be looked up again by the connect.
            address = _unwrapped(ip_address(ip)) if "%" not in ip else None
        except ValueError:
            address = None
        if address is None:
            return _UNREADABLE
        for reached in (address, *_carried(address)):
            reason = self._own_socket(reached, port) or self._judge(reached)
            if reason is not None:
                return reason
        return None

    def _own_socket(self, address: Address, port: int) -> str | None:
        is_this_machine = address.is_loopback or address.is_unspecified
        if (address, port) in self._forbidden or (is_this_machine and port in self.own_ports):
            return _OWN_SOCKET
        return None

    def _judge(self, address: Address) -> str | None:
        for network, reason in _GUARDED:
            if address in network:
                return None if self._is_allowed(address, network.prefixlen) else reason
        if any(address in network for network in _DENIED) and not self._is_allowed(address):
            return _RESERVED
        return None

    def _is_allowed(self, address: Address, least_prefix: int = 0) -> bool:
        """Whether an entry of at least that many bits contains the address.

        Of two networks that share an address, the one with the longer prefix
        lies within the other.
        """
        return any(entry.prefixlen >= least_prefix and address in entry for entry in self._allow)


def _unwrapped(address: Address) -> Address:
    """`::ffff:10.0.0.1` is 10.0.0.1 in another spelling: the kernel speaks IPv4."""
    if isinstance(address, IPv6Address) and address.ipv4_mapped is not None:
        return address.ipv4_mapped
    return address


def _carried(address: Address) -> tuple[IPv4Address, ...]:
    """The IPv4 addresses that a gateway would take out of an IPv6 address."""
    if isinstance(address, IPv4Address):
        return ()
    if address.sixtofour is not None:
        return (address.sixtofour,)
    if address.teredo is not None:
        return address.teredo
    if any(address in network for network in _NAT64):
        return (IPv4Address(int(address) & 0xFFFF_FFFF),)
    return ()
