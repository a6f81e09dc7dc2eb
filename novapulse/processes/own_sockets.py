"""Where this program itself can be reached: what webhooks are never sent to."""

import socket
import threading
from collections.abc import Iterator
from contextlib import suppress
from ipaddress import ip_address
from urllib.parse import urlsplit

from novapulse.core.settings import Loaded
from novapulse.core.settings.stores import sentinels_in

_MONGO_PORT, _REDIS_PORT = 27_017, 6_379
_LOOKUP_SECONDS = 2.0
# Stands for every address of this machine.
_EVERYWHERE = "0.0.0.0"  # noqa: S104  # nothing is bound to it

Socket = tuple[str, int]


def own_sockets(loaded: Loaded) -> frozenset[Socket]:
    """`(ip, port)` of the API and of stores that listen on a port; embedded ones have none.

    A name stands for what it leads to now. What a `mongodb+srv` URI or a Sentinel
    leads to is not known here.
    """
    settings = loaded.settings
    found: set[Socket] = set()
    listen = settings.server.address
    if listen.port:
        found.update((ip, listen.port) for ip in _addresses(listen.host))
    for host, port in _stores(loaded):
        for ip in _addresses(host):
            # It may listen at the machine's other addresses, too.
            found.add((_EVERYWHERE if ip_address(ip).is_loopback else ip, port))
    return frozenset(found)


def _stores(loaded: Loaded) -> Iterator[Socket]:
    mongo, redis = loaded.settings.mongo, loaded.settings.redis
    if not mongo.is_embedded and mongo.uri.startswith("mongodb://"):
        hosts = mongo.uri.removeprefix("mongodb://").partition("/")[0].rpartition("@")[2]
        for host in hosts.split(","):
            if "%2f" not in host.lower():  # that is a unix socket
                yield _split(host, _MONGO_PORT)
    if sentinels := sentinels_in(redis.url):
        yield from sentinels.places
    elif not redis.is_embedded and not redis.url.startswith("unix:"):
        yield _split(urlsplit(redis.url).netloc.rpartition("@")[2], _REDIS_PORT)


def _split(place: str, default_port: int) -> Socket:
    parts = urlsplit(f"//{place}")
    return parts.hostname or "", parts.port or default_port


def _addresses(host: str) -> list[str]:
    """What a name leads to; nothing when nobody says so in time."""
    with suppress(ValueError):
        return [str(ip_address(host))]
    found: list[str] = []

    def look_up() -> None:
        with suppress(OSError, UnicodeError):
            rows = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
            found.extend(str(address[0]).partition("%")[0] for *_, address in rows)

    # A thread that is left behind, because a lookup has no time limit of its own.
    looking = threading.Thread(target=look_up, name="lookup", daemon=True)
    looking.start()
    looking.join(_LOOKUP_SECONDS)
    return list(dict.fromkeys(found))
