"""Network addresses in settings: listen addresses, networks and URLs."""

import re
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address, ip_network
from urllib.parse import urlsplit

_LISTEN = re.compile(r"(\[(?P<six>[^\[\]]*)\]|(?P<host>[^:\[\]]*)):(?P<port>[0-9]{1,5})")
_LABEL = r"(?!-)[A-Za-z0-9-]{1,63}(?<!-)"
_HOST_NAME = re.compile(rf"{_LABEL}(\.{_LABEL})*")
_HIGHEST_PORT = 65_535


@dataclass(frozen=True, slots=True)
class Address:
    """Where to listen; port 0 asks the kernel for a free one."""

    host: str
    port: int

    @classmethod
    def parse(cls, text: str) -> "Address":
        """`127.0.0.1:5000`, `[::1]:5000` or `localhost:5000`; raises ValueError."""
        match = _LISTEN.fullmatch(text)
        if match is None:
            raise ValueError("expected HOST:PORT or [IPv6]:PORT, such as 127.0.0.1:5000")
        port = int(match["port"])
        if port > _HIGHEST_PORT:
            raise ValueError(f"the port must be 0 to {_HIGHEST_PORT}")
        return cls(_host(match), port)

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{host}:{self.port}"


def _host(match: re.Match[str]) -> str:
    if match["six"] is not None:
        try:
            return str(IPv6Address(match["six"]))
        except ValueError:
            raise ValueError(f"[{match['six']}] is not an IPv6 address") from None
    host = match["host"]
    if not host:
        raise ValueError("the host is missing; 0.0.0.0 means every interface")
    if re.fullmatch(r"[0-9.]+", host):
        try:
            return str(IPv4Address(host))
        except ValueError:
            raise ValueError(f"{host} is not an IPv4 address") from None
    if _HOST_NAME.fullmatch(host) is None:
        raise ValueError(f"{host!r} is not a host name")
    return host


def check_listen(text: str) -> str:
    """A listen address in its one spelling."""
    return str(Address.parse(text))


def check_network(text: str) -> str:
    """`10.20.0.0/16`, or one address as a network of its own."""
    try:
        return str(ip_network(text))
    except ValueError:
        pass
    try:
        meant = ip_network(text, strict=False)
    except ValueError:
        raise ValueError(f"{text!r} is not a network such as 10.20.0.0/16") from None
    raise ValueError(f"{text!r} has bits beyond its prefix; {meant} would be the network")


def check_http_url(text: str) -> str:
    """Nothing, or an absolute http(s) URL without credentials, query or trailing slash."""
    if not text:
        return text
    wanted = "expected a URL such as https://nova.example.com"
    try:
        url = urlsplit(text)
        is_usable = url.scheme in ("http", "https") and bool(url.hostname) and url.port != 0
    except ValueError:
        raise ValueError(wanted) from None
    if not is_usable or not text.isascii() or " " in text:
        raise ValueError(wanted)
    if url.username is not None or url.query or url.fragment:
        raise ValueError("the URL must not carry credentials, a query or a fragment")
    return text.rstrip("/")
