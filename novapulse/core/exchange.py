"""One request on its way: what is sent, what comes back, when, and what went wrong.

The words of `core.outbound`; nothing here connects.
"""

from collections.abc import Mapping
from contextvars import ContextVar
from time import perf_counter
from typing import Literal

import aiohttp
import msgspec
from aiohttp.client_reqrep import ConnectionKey

from novapulse.core.errors import Error

FailureKind = Literal[
    "blocked", "dns", "connect", "reset", "tls", "timeout", "protocol", "proxy", "busy"
]


class OutboundRequest(msgspec.Struct, frozen=True):
    """`timeout_seconds` covers everything, the body of the answer included.

    `party` is on whose behalf it is sent: what it holds up counts for that one.
    """

    method: str
    url: str
    headers: Mapping[str, str]
    body: bytes
    timeout_seconds: float
    party: str = ""


class Timings(msgspec.Struct, frozen=True):
    """Milliseconds that each part took; zero where it was not needed.

    `first_byte_ms` runs from the sent request to the head of the answer.
    """

    dns_ms: float
    connect_ms: float
    tls_ms: float
    first_byte_ms: float
    total_ms: float


class OutboundAnswer(msgspec.Struct, frozen=True):
    """Header names are in lower case; only those worth keeping are there."""

    status: int
    headers: Mapping[str, str]
    body: bytes
    truncated: bool
    peer_ip: str | None
    timings: Timings


class OutboundFailure(Error):
    """No complete answer came. `detail` holds nothing of the URL, which may be a secret.

    blocked: the target or the request is not allowed, now or later.
    dns, connect, tls: no connection. reset: it broke. timeout: too slow.
    protocol: what came was not HTTP. proxy: our own way out is not working.
    busy: the name could not be looked up for other parties' names that hang.
    """

    code = "outbound_failed"
    title = "The receiver gave no answer"

    def __init__(
        self, kind: FailureKind, detail: str, *, timings: Timings, peer_ip: str | None = None
    ) -> None:
        super().__init__(detail)
        self.kind: FailureKind = kind
        self.timings = timings
        self.peer_ip = peer_ip

    @property
    def is_ours(self) -> bool:
        """Whether the receiver is not to blame: nothing got so far as to it."""
        return self.kind in ("proxy", "busy")


class LookupsBusy(OSError):
    """A name was not looked up: too many others hang."""


class PartySpent(LookupsBusy):
    """Those others are of the party that asked first; who asked with it hears of it, too."""

    def __init__(self, party: str) -> None:
        super().__init__(None, "too many lookups of one party's names are hanging")
        self.party = party


class Marks:
    """Moments of one exchange, in seconds of `perf_counter`; 0.0 is not reached."""

    __slots__ = (
        "answered",
        "begun",
        "connecting",
        "has_opened",
        "is_proxied",
        "key",
        "party",
        "peer_ip",
        "refused",
        "securing",
        "sent",
        "status",
    )

    def __init__(self, *, is_proxied: bool = False, party: str = "") -> None:
        self.is_proxied = is_proxied
        self.party = party
        self.begun = perf_counter()
        self.connecting = 0.0
        self.securing = 0.0
        self.sent = 0.0
        self.answered = 0.0
        self.status = 0
        self.peer_ip: str | None = None
        self.has_opened = False
        self.refused: str | None = None
        # Under which its connection is pooled, for the next request to the same place.
        self.key: ConnectionKey | None = None


# The exchange that the running task is in: the hooks below get no request.
current_marks: ContextVar[Marks] = ContextVar("current_marks")


def timings_of(marks: Marks) -> Timings:
    now = perf_counter()
    sent = marks.sent or now
    secured_from = marks.securing or sent
    # A pooled connection is not connected to: nothing lies before `sent`.
    looked_up_until = marks.connecting or (marks.begun if marks.sent else now)
    return Timings(
        dns_ms=_milliseconds(marks.begun, looked_up_until),
        connect_ms=_milliseconds(marks.connecting, secured_from) if marks.connecting else 0.0,
        tls_ms=_milliseconds(marks.securing, sent) if marks.securing else 0.0,
        first_byte_ms=_milliseconds(sent, marks.answered or now),
        total_ms=_milliseconds(marks.begun, now),
    )


def _milliseconds(start: float, end: float) -> float:
    return round((end - start) * 1_000, 3)


def failure(kind: FailureKind, detail: str, marks: Marks) -> OutboundFailure:
    # What a refused name led to is nobody's business: it may be an internal address.
    peer_ip = None if kind == "blocked" else marks.peer_ip
    return OutboundFailure(kind, detail, timings=timings_of(marks), peer_ip=peer_ip)


def reading_of(error: Exception, marks: Marks) -> tuple[FailureKind, str]:
    """What a library's exception means, in words that hold nothing of the URL."""
    match error:
        case aiohttp.ClientHttpProxyError(status=407) | aiohttp.ClientProxyConnectionError():
            return "proxy", "The egress proxy does not let us through"
        case aiohttp.ClientConnectorDNSError() if marks.is_proxied:
            return "proxy", "The name of the egress proxy was not found"
        case aiohttp.ClientConnectorDNSError(os_error=PartySpent(party=marks.party)):
            return "dns", "Too many lookups of your names hang"
        case aiohttp.ClientConnectorDNSError(os_error=LookupsBusy()):
            return "busy", "Too many lookups of other names hang"
        case aiohttp.ClientHttpProxyError():
            return "connect", f"The egress proxy answered {error.status}"
        case aiohttp.ClientConnectorError() if marks.refused and not marks.has_opened:
            return "blocked", f"The target is {marks.refused}, which is not allowed here"
        case aiohttp.ClientConnectorDNSError():
            return "dns", f"The name was not found: {error.strerror}"
        case aiohttp.ClientConnectorCertificateError() | aiohttp.ClientConnectorSSLError():
            return "tls", f"There was no secure connection: {_ssl_reason(error)}"
        case aiohttp.ClientConnectorError() if marks.securing:
            return "tls", "The connection broke while it was being secured"
        case aiohttp.ClientConnectorError():
            return "connect", f"There was no connection: {error.strerror}"
        case aiohttp.ServerDisconnectedError() | aiohttp.ClientConnectionError():
            return "reset", "The connection was closed before an answer came"
        case aiohttp.ClientPayloadError():
            return "reset", f"Status {marks.status} came, but its answer broke off"
        case aiohttp.ClientResponseError():
            return "protocol", "The answer is not valid HTTP"
        case _:
            return "blocked", "The request can not be written as HTTP"


def _ssl_reason(error: aiohttp.ClientConnectorError) -> str:
    cause = error.os_error
    return str(getattr(cause, "verify_message", "") or getattr(cause, "reason", "") or "TLS error")
