"""The connections of the outbound client: looked up, vetted, timed, pooled.

What is sent over them is the business of `core.outbound`.
"""

import asyncio
import contextlib
import errno
import functools
import math
import socket
import ssl
import threading
from collections.abc import Callable
from ipaddress import ip_address
from time import perf_counter
from typing import Any

from aiohttp import AddrInfoType, ClientResponse, TCPConnector
from aiohttp.abc import AbstractResolver, ResolveResult
from aiohttp.client_proto import ResponseHandler
from aiohttp.client_reqrep import ConnectionKey
from aiohttp.connector import Connection
from aiohttp.http_exceptions import HttpProcessingError

from novapulse.core.exchange import LookupsBusy, PartySpent, current_marks
from novapulse.core.networks import AddressPolicy

_MAX_LOOKUPS = 64
# Of one party: whoever runs a name server that hangs can not take all of them.
_MAX_OF_PARTY = 32
# Shorter than any request may take: one that can not be begun must not look like a slow receiver.
_TURN_SECONDS = 0.5
_MAX_ADDRESSES = 8
_MAX_QUEUED_ANSWERS = 16


class Connector(TCPConnector):
    """Vets the concrete address of every connect, whatever led to it.

    Names, literals, odd spellings and names that change their mind between
    two lookups all end in the socket factory. Without a policy everything is
    connected to: for a client that only ever connects to its proxy.
    """

    def __init__(
        self,
        policy: AddressPolicy | None,
        resolver: AbstractResolver,
        *,
        tls: ssl.SSLContext,
        keep_alive_seconds: float,
    ) -> None:
        super().__init__(
            resolver=resolver,
            ssl=tls,
            limit=0,
            keepalive_timeout=keep_alive_seconds,
            timeout_ceil_threshold=math.inf,
            socket_factory=self._open,
        )
        self._policy = policy
        wire: type[ResponseHandler] = _Wire
        self._factory = functools.partial(wire, loop=self._loop)

    def _open(self, info: AddrInfoType) -> socket.socket:
        family, kind, protocol, _, address = info
        ip, port = str(address[0]), int(address[1])
        marks = current_marks.get()
        reason = refusal(self._policy, ip, port) if self._policy is not None else None
        if reason is not None:
            marks.refused = reason
            raise PermissionError(errno.EACCES, reason)
        marks.has_opened = True
        marks.peer_ip = ip
        marks.connecting = marks.connecting or perf_counter()
        return socket.socket(family, kind, protocol)

    def _release(
        self, key: ConnectionKey, protocol: ResponseHandler, *, should_close: bool = False
    ) -> None:
        if isinstance(protocol, _Wire):
            protocol.is_idle = True
        super()._release(key, protocol, should_close=should_close)


class _Wire(ResponseHandler):
    """Hangs up on a peer that talks without being asked, or without end.

    Otherwise an idle pooled connection would parse and queue unrequested
    answers without a limit, and the next request would be given one of them;
    and a flood of interim answers (1xx) would keep the event loop busy.
    """

    is_idle = False

    def set_response_params(self, **params: Any) -> None:
        self.is_idle = False
        super().set_response_params(**params)

    def data_received(self, data: bytes) -> None:
        if self.is_idle:
            # Without data it is the reader of the last answer, resuming a parser that is done.
            if data:
                self.abort()
            return
        super().data_received(data)
        if len(self._buffer) > _MAX_QUEUED_ANSWERS:
            self._buffer.clear()
            self.abort()
            self.set_exception(HttpProcessingError(message="too many answers to one request"))


class Response(ClientResponse):
    """Marks when the request is out and when the head of its answer is in."""

    async def start(self, connection: Connection) -> ClientResponse:
        marks = current_marks.get()
        marks.sent = perf_counter()
        marks.key = connection._key
        if connection.transport is not None:
            peer = connection.transport.get_extra_info("peername")
            marks.peer_ip = peer[0] if peer else marks.peer_ip
        await super().start(connection)
        marks.answered = perf_counter()
        marks.status = self.status
        return self


class _TimedContext(ssl.SSLContext):
    """Reads the system's authorities with the first connection: most processes make none."""

    _has_authorities = False

    def wrap_bio(  # called by asyncio
        self,
        incoming: ssl.MemoryBIO,
        outgoing: ssl.MemoryBIO,
        server_side: bool = False,
        server_hostname: str | bytes | None = None,
        session: ssl.SSLSession | None = None,
    ) -> ssl.SSLObject:
        if not self._has_authorities:
            self.load_default_certs()
            self._has_authorities = True
        marks = current_marks.get(None)
        if marks is not None:
            marks.securing = perf_counter()
        return super().wrap_bio(incoming, outgoing, server_side, server_hostname, session)


def tls_context(ca_file: str | None) -> ssl.SSLContext:
    """Verifies against the system's authorities and, if given, those in `ca_file` (PEM)."""
    context = _TimedContext(ssl.PROTOCOL_TLS_CLIENT)
    if ca_file is not None:
        context.load_verify_locations(ca_file)
    context.set_alpn_protocols(["http/1.1"])
    return context


def refusal(policy: AddressPolicy, ip: str, port: int) -> str | None:
    """The verdict of the policy, with the kernel's word on which addresses are ours."""
    reason = policy.verdict(ip, port)
    if reason is None and port in policy.own_ports and _is_of_this_machine(ip):
        return "an address of this program"
    return reason


def _is_of_this_machine(ip: str) -> bool:
    """To its own addresses the kernel speaks from the same address. Nothing is sent."""
    family = socket.AF_INET6 if ":" in ip else socket.AF_INET
    with socket.socket(family, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect((ip, 9))
        except OSError:
            return False
        return ip_address(probe.getsockname()[0]) == ip_address(ip)


Lookup = Callable[..., list[tuple[Any, ...]]]
_Name = tuple[str, socket.AddressFamily]
_Address = tuple[socket.AddressFamily, int, str]  # with the protocol's number


class NameResolver(AbstractResolver):
    """`getaddrinfo` in threads, with a time limit that it does not have itself.

    The threads are daemons and not the loop's executor: a name server that
    hangs delays neither a shutdown nor anybody else's work. A name is looked
    up once at a time, for all ports, so a hanging one holds one thread.
    """

    def __init__(self, timeout_seconds: float, *, lookup: Lookup = socket.getaddrinfo) -> None:
        self._timeout_seconds = timeout_seconds
        self._lookup = lookup
        self._loop = asyncio.get_running_loop()
        self._running: dict[_Name, asyncio.Future[list[_Address] | OSError]] = {}
        self._parties: dict[_Name, str] = {}
        # Done with the end of the next lookup.
        self._one_ended: asyncio.Future[None] = self._loop.create_future()

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        """Addresses of a name, at most eight.

        Raises OSError; LookupsBusy when it was not looked up at all.
        """
        found = await self._running_for((host, family))
        done, _ = await asyncio.wait((found,), timeout=self._timeout_seconds)
        if not done:
            raise OSError(None, f"the name server did not answer in {self._timeout_seconds:g} s")
        outcome = found.result()
        if isinstance(outcome, OSError):
            raise OSError(None, outcome.strerror)
        return [
            ResolveResult(
                hostname=host,
                host=address,
                port=port,
                family=kind,
                proto=protocol,
                flags=socket.AI_NUMERICHOST,
            )
            for kind, protocol, address in outcome
        ]

    async def close(self) -> None:
        """Nothing to close: threads end with their lookup."""

    async def _running_for(self, name: _Name) -> asyncio.Future[list[_Address] | OSError]:
        """The lookup of a name, begun as soon as others leave room for it; raises LookupsBusy."""
        marks = current_marks.get(None)
        party = marks.party if marks is not None else ""
        give_up = self._loop.time() + min(_TURN_SECONDS, self._timeout_seconds)
        while (found := self._running.get(name) or self._start(name, party)) is None:
            rest = give_up - self._loop.time()
            done, _ = await asyncio.wait((self._one_ended,), timeout=max(0.0, rest))
            if not done and self._is_spent(party):
                raise PartySpent(party)
            if not done:
                raise LookupsBusy(None, "too many name lookups are hanging")
        return found

    def _is_spent(self, party: str) -> bool:
        """Whether all is running that one party may have looked up at once."""
        running = list(self._parties.values()).count(party)
        return party != "" and running >= _MAX_OF_PARTY

    def _start(self, name: _Name, party: str) -> asyncio.Future[list[_Address] | OSError] | None:
        """None while as many run as may."""
        if len(self._running) >= _MAX_LOOKUPS or self._is_spent(party):
            return None
        found = self._running[name] = self._loop.create_future()
        self._parties[name] = party
        threading.Thread(target=self._look_up, args=(name,), name="lookup", daemon=True).start()
        return found

    def _look_up(self, name: _Name) -> None:
        host, family = name
        outcome: list[_Address] | OSError
        try:
            rows = self._lookup(
                host, None, family=family, type=socket.SOCK_STREAM, flags=socket.AI_ADDRCONFIG
            )
            outcome = [
                (kind, protocol, str(address[0]))
                for kind, _, protocol, _, address in rows[:_MAX_ADDRESSES]
            ]
        except UnicodeError:
            outcome = OSError(None, "not a valid name")
        except OSError as error:
            outcome = OSError(None, error.strerror or "the lookup failed")
        with contextlib.suppress(RuntimeError):  # the loop may be closed by now
            self._loop.call_soon_threadsafe(self._finish, name, outcome)

    def _finish(self, name: _Name, outcome: list[_Address] | OSError) -> None:
        del self._parties[name]
        self._running.pop(name).set_result(outcome)
        self._one_ended.set_result(None)
        self._one_ended = self._loop.create_future()
