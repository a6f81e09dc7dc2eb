"""Whose request this is, as far as the network tells: one resolver for limits, audit and logs."""

import ipaddress
from collections.abc import Sequence

FORWARDING_HEADERS = (b"forwarded", b"x-forwarded-for")
_UNKNOWN = "0.0.0.0"  # noqa: S104  # a bucket name for peers without an address


class ClientResolver:
    """Believes `X-Forwarded-For` only as far as the named proxies wrote it."""

    def __init__(self, trusted_proxies: Sequence[str]) -> None:
        self._trusted = tuple(ipaddress.ip_network(item, strict=False) for item in trusted_proxies)

    def address(self, peer: str | None, forwarded_for: str) -> str:
        """The nearest address that is not a trusted proxy, walked from the right."""
        current = _unwrapped(peer or _UNKNOWN)
        if not self._trusted:
            return current
        for hop in reversed([part.strip() for part in forwarded_for.split(",") if part.strip()]):
            if not self._is_trusted(current):
                break
            try:
                current = _unwrapped(str(ipaddress.ip_address(hop)))
            except ValueError:
                break
        return current

    def _is_trusted(self, address: str) -> bool:
        try:
            parsed = ipaddress.ip_address(address)
        except ValueError:
            return False
        return any(parsed in network for network in self._trusted)


def _unwrapped(address: str) -> str:
    """An IPv4 peer of a socket for both families is written `::ffff:192.0.2.1`."""
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return address
    mapped = parsed.ipv4_mapped if isinstance(parsed, ipaddress.IPv6Address) else None
    return address if mapped is None else str(mapped)


def bucket(address: str) -> str:
    """What is counted as one client: an IPv4 address, or an IPv6 /64."""
    address = _unwrapped(address)
    if ":" not in address:
        return address
    try:
        return str(ipaddress.ip_network(f"{address}/64", strict=False).network_address) + "/64"
    except ValueError:
        return _UNKNOWN


def is_loopback(peer: str | None) -> bool:
    """Whether the connection itself comes from this machine."""
    try:
        return peer is not None and ipaddress.ip_address(_unwrapped(peer)).is_loopback
    except ValueError:
        return False
