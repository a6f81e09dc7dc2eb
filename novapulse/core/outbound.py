"""HTTP requests to addresses that users chose: webhooks and workflow actions.

`OutboundClient.send` gives an answer or raises `OutboundFailure`; neither
holds more of a receiver than is worth keeping. Where a request may go is
decided by `core.networks`, at the connect (`core.connector`).
"""

import math
import socket
from collections.abc import Mapping
from functools import lru_cache
from types import MappingProxyType
from typing import Any

import aiohttp
import msgspec
from aiohttp.abc import AbstractResolver
from yarl import URL

from novapulse import __version__
from novapulse.core.connector import Connector, NameResolver, Response, refusal, tls_context
from novapulse.core.deadlines import Deadlines
from novapulse.core.errors import Invalid
from novapulse.core.exchange import (
    Marks,
    OutboundAnswer,
    OutboundFailure,
    OutboundRequest,
    current_marks,
    failure,
    reading_of,
    timings_of,
)
from novapulse.core.networks import AddressPolicy
from novapulse.core.reuse import Opened, Reuse
from novapulse.core.targets import is_literal, read_target

# Set by the client itself; a request that brings one is not sent.
CONTROLLED_HEADERS = frozenset(
    {
        "accept-encoding",
        "connection",
        "content-length",
        "cookie",
        "expect",
        "host",
        "keep-alive",
        "proxy-authorization",
        "proxy-connection",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
    }
)

_KEPT_HEADERS: Mapping[bytes, str] = MappingProxyType(
    {
        name.encode(): name
        for name in (
            "content-encoding",
            "content-length",
            "content-type",
            "date",
            "location",
            "retry-after",
            "server",
            "webhook-delivery",
            "x-request-id",
        )
    }
)
_MAX_HEADER_CHARACTERS = 1_024
_MAX_LINE_BYTES = 8_190
_MAX_HEADERS = 100


class OutboundOptions(msgspec.Struct, frozen=True, kw_only=True):
    """`ca_file` (PEM) is trusted besides the system's authorities."""

    connect_timeout_seconds: float = 5.0
    dns_timeout_seconds: float = 3.0
    max_answer_bytes: int = 16_384
    # Below the five seconds after which many servers hang up, so that a
    # request rarely meets a connection that is just being closed.
    keep_alive_seconds: float = 4.0
    https_only: bool = False
    egress_proxy: str | None = None
    ca_file: str | None = None
    user_agent: str = f"NovaPulse-Webhooks/{__version__}"


class OutboundClient:
    """One pool of connections; to be made inside of a running event loop.

    No redirects, cookies or environment proxies. Behind an `egress_proxy`
    addresses are still vetted, but names are for the proxy to look up and judge.
    """

    def __init__(
        self,
        policy: AddressPolicy,
        options: OutboundOptions | None = None,
        *,
        resolver: AbstractResolver | None = None,
    ) -> None:
        self._policy = policy
        self._deadlines = Deadlines()
        self._options = options = options or OutboundOptions()
        self._resolver = resolver or NameResolver(options.dns_timeout_seconds)
        self._is_proxied = options.egress_proxy is not None
        headers = {"User-Agent": options.user_agent, "Accept-Encoding": "identity"}
        limits: dict[str, Any] = {
            "read_bufsize": options.max_answer_bytes,
            "max_line_size": _MAX_LINE_BYTES,
            "max_field_size": _MAX_LINE_BYTES,
            "max_headers": _MAX_HEADERS,
        }
        connector = Connector(
            None if self._is_proxied else policy,
            self._resolver,
            tls=tls_context(options.ca_file),
            keep_alive_seconds=options.keep_alive_seconds,
        )
        self._session = aiohttp.ClientSession(
            connector=connector,
            response_class=Response,
            headers=headers,
            skip_auto_headers=("Accept",),
            cookie_jar=aiohttp.DummyCookieJar(),
            auto_decompress=False,
            trust_env=False,
            proxy=options.egress_proxy,
            timeout=aiohttp.ClientTimeout(
                connect=options.dns_timeout_seconds + options.connect_timeout_seconds,
                sock_connect=options.connect_timeout_seconds,
                ceil_threshold=math.inf,
            ),
            **limits,
        )
        parsing = {**limits, "read_until_eof": True, "auto_decompress": False}
        self._reuse = Reuse(connector, headers, parsing)

    async def send(self, request: OutboundRequest) -> OutboundAnswer:
        """Send once and read what is worth keeping of the answer, whatever its status.

        Raises:
            OutboundFailure: there is no complete answer within the time.
        """
        marks = Marks(is_proxied=self._is_proxied, party=request.party)
        token = current_marks.set(marks)
        try:
            with self._deadlines.within(request.timeout_seconds):
                return await self._exchange(request, marks)
        # Not chained: aiohttp's errors hold the URL, and it may hold a secret.
        except Invalid as error:
            raise failure(
                "blocked", f"The request is not acceptable: {error.detail}", marks
            ) from None
        except TimeoutError:
            raise self._too_slow(request.timeout_seconds, marks) from None
        except (aiohttp.ClientError, OSError, ValueError) as error:
            raise failure(*reading_of(error, marks), marks) from None
        finally:
            current_marks.reset(token)

    async def vet(self, url: str, *, resolve: bool, party: str = "") -> None:
        """Refuse a URL that can not be called, for a friendly message when it is entered.

        With `resolve` a name is looked up; one that is not found passes, as it
        may come to be. The connect has the last word either way.

        Raises:
            Invalid: with the field `url`.
        """
        target = read_target(url, https_only=self._options.https_only)
        self._refuse_address(target)
        if not resolve or self._is_proxied:
            return
        host, port = _socket_of(target)
        token = current_marks.set(Marks(party=party))
        try:
            found = await self._resolver.resolve(host, port, socket.AF_UNSPEC)
        except OSError:
            return
        finally:
            current_marks.reset(token)
        reasons = [refusal(self._policy, row["host"], port) for row in found]
        if reasons and reasons[0] is not None and all(reasons):
            raise Invalid.field("url", f"leads to {reasons[0]}, which is not allowed here")

    async def aclose(self) -> None:
        """Drop all connections; a running `send` fails."""
        await self._session.close()

    async def _exchange(self, request: OutboundRequest, marks: Marks) -> OutboundAnswer:
        target = read_target(request.url, https_only=self._options.https_only)
        if self._is_proxied:
            self._refuse_address(target)
        names = _names(tuple(request.headers))
        if not CONTROLLED_HEADERS.isdisjoint(names):
            raise Invalid("a header is set that only the client itself may set")
        if not self._is_proxied and request.body and "user-agent" not in names:
            opened = await self._reuse.open(request, target, marks)
            if opened is not None:
                return await self._finish(opened, marks)
        return await self._connect_and_send(request, target, marks=marks)

    async def _finish(self, opened: Opened, marks: Marks) -> OutboundAnswer:
        """Read the rest of an answer over a connection that was open already."""
        connection = opened.connection
        try:
            body, is_truncated = await self._read(opened.content)
        except BaseException:
            connection.close()
            raise
        if is_truncated or opened.message.upgrade:
            connection.close()
        else:
            connection.release()
        kept = _kept(opened.message.raw_headers)
        return _answer(opened.message.code, kept, body=(body, is_truncated), marks=marks)

    async def _connect_and_send(
        self, request: OutboundRequest, target: URL, *, marks: Marks
    ) -> OutboundAnswer:
        response = await self._session.request(
            request.method,
            target,
            data=request.body or None,
            headers=request.headers,
            allow_redirects=False,
        )
        try:
            body, is_truncated = await self._read(response.content)
        finally:
            # A response that was read to its end has gone back to the pool.
            if not response.closed:
                response.close()
        if marks.key is not None:
            self._reuse.learn(target, marks.key)
        kept = _kept(response.raw_headers)
        return _answer(response.status, kept, body=(body, is_truncated), marks=marks)

    async def _read(self, content: aiohttp.StreamReader) -> tuple[bytes, bool]:
        limit = self._options.max_answer_bytes
        body = b""
        while piece := await content.readany():
            body += piece
            if len(body) > limit:
                return body[:limit], True
            if content.at_eof():
                break
        return body, False

    def _refuse_address(self, target: URL) -> None:
        host, port = _socket_of(target)
        name = host.removesuffix(".")
        if name == "localhost" or name.endswith(".localhost"):
            host = "127.0.0.1"
        if is_literal(host) and (reason := refusal(self._policy, host, port)):
            raise Invalid.field("url", f"leads to {reason}, which is not allowed here")

    def _too_slow(self, timeout_seconds: float, marks: Marks) -> OutboundFailure:
        if marks.answered:
            what = f"Status {marks.status} came, but its answer did not end"
        elif marks.sent:
            what = "No answer came"
        else:
            return failure("timeout", "There was no connection in time", marks)
        return failure("timeout", f"{what} within {timeout_seconds:g} s", marks)


def _answer(
    status: int, headers: dict[str, str], *, body: tuple[bytes, bool], marks: Marks
) -> OutboundAnswer:
    """`body` is what was read of it, and whether there was more."""
    return OutboundAnswer(
        status=status,
        headers=headers,
        body=body[0],
        truncated=body[1],
        peer_ip=marks.peer_ip,
        timings=timings_of(marks),
    )


@lru_cache(maxsize=512)
def _names(spelled: tuple[str, ...]) -> frozenset[str]:
    """Headers by name: those of a webhook are the same at each of its attempts."""
    return frozenset(map(str.lower, spelled))


def _socket_of(target: URL) -> tuple[str, int]:
    return target.raw_host or "", target.port or 0


def _kept(raw_headers: tuple[tuple[bytes, bytes], ...]) -> dict[str, str]:
    """Latin-1, in which every byte is a character: what is kept can be stored and shown."""
    kept: dict[str, str] = {}
    for raw_name, raw_value in raw_headers:
        name = _KEPT_HEADERS.get(raw_name.lower())
        if name is not None:
            value = raw_value.decode("latin-1")
            whole = f"{kept[name]}, {value}" if name in kept else value
            kept[name] = whole[:_MAX_HEADER_CHARACTERS]
    return kept
