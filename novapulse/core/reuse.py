"""A request over a connection that is open already: the short way of the outbound client.

Connecting, with all that is vetted at it, is left to aiohttp's client. Most
requests find a connection that an earlier one left in the pool, and need none
of its machinery: they are written at once, and the answer is read by the same
parser with the same limits.
"""

from collections.abc import Mapping
from functools import lru_cache
from time import perf_counter
from typing import Any, NamedTuple

from aiohttp import StreamReader, hdrs
from aiohttp.client_reqrep import ConnectionKey
from aiohttp.connector import BaseConnector, Connection
from aiohttp.http import RawResponseMessage
from aiohttp.http_exceptions import HttpProcessingError
from yarl import URL

from novapulse.core.exchange import Marks, OutboundRequest, failure

_MOST_ORIGINS = 10_000
Origin = tuple[str, str | None, int | None]


class Opened(NamedTuple):
    """The head of an answer, its body to be read, and the connection that it comes over."""

    message: RawResponseMessage
    content: StreamReader
    connection: Connection


class Reuse:
    """Sends over pooled connections; `parsing` are the limits of the answer's parser."""

    def __init__(
        self, connector: BaseConnector, headers: Mapping[str, str], parsing: Mapping[str, Any]
    ) -> None:
        self._connector = connector
        self._common = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
        self._parsing = dict(parsing)
        self._keys: dict[Origin, ConnectionKey] = {}

    def learn(self, target: URL, key: ConnectionKey) -> None:
        """Under which key connections to the target's origin are pooled."""
        if len(self._keys) >= _MOST_ORIGINS:
            self._keys.clear()
        self._keys[_origin(target)] = key

    async def open(self, request: OutboundRequest, target: URL, marks: Marks) -> Opened | None:
        """The answer's head, or None when there is no open connection. Raises what aiohttp raises.

        For requests with a body that bring none of the client's own headers.
        """
        key = self._keys.get(_origin(target))
        connection = await self._connector._get(key, []) if key is not None else None
        if connection is None:
            return None
        try:
            return await self._exchange(connection, self._text(request, target), marks)
        except HttpProcessingError:
            connection.close()
            raise failure("protocol", "The answer is not valid HTTP", marks) from None
        except BaseException:
            connection.close()
            raise

    async def _exchange(self, connection: Connection, text: bytes, marks: Marks) -> Opened:
        protocol, transport = connection.protocol, connection.transport
        if protocol is None or transport is None:
            raise ConnectionResetError
        protocol.set_response_params(**self._parsing)
        transport.write(text)
        marks.sent = perf_counter()
        peer = transport.get_extra_info("peername")
        marks.peer_ip = peer[0] if peer else None
        while True:
            message, content = await protocol.read()
            if message.code >= 200 or message.code == 101:
                break
        marks.answered = perf_counter()
        marks.status = message.code
        return Opened(message, content, connection)

    def _text(self, request: OutboundRequest, target: URL) -> bytes:
        """The request as it is written; raises ValueError for a line break in a header."""
        own = "".join([f"{name}: {value}\r\n" for name, value in request.headers.items()])
        if own.count("\r") != len(request.headers) or own.count("\n") != len(request.headers):
            raise ValueError("a header holds a line break")
        if "\0" in own:
            raise ValueError("a header holds a null byte")
        start = _start(request.method, target)
        length = f"{hdrs.CONTENT_LENGTH}: {len(request.body)}\r\n\r\n"
        return f"{start}{self._common}{own}{length}".encode() + request.body


def _origin(target: URL) -> Origin:
    return target.scheme, target.raw_host, target.port


@lru_cache(maxsize=2_048)
def _start(method: str, target: URL) -> str:
    """Request line and `Host`, as aiohttp has them."""
    return f"{method} {target.raw_path_qs} HTTP/1.1\r\nHost: {target.host_port_subcomponent}\r\n"
