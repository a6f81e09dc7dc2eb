"""Asking a foreign child over its unix socket, without ever blocking the loop.

Before a byte is sent the peer's pid is compared with the child's: somebody else's
server on the path is a failure and not a ready store.
"""

import errno
import os
import socket
import struct
from collections.abc import Callable

from supervisor.beats import next_moment
from supervisor.machine import BecameReady, Refused
from supervisor.reactor import READ, WRITE, Reactor, Timer
from supervisor.spec import ProbeReadiness

_CREDENTIALS = struct.Struct("3i")
_REPLY_LIMIT_BYTES = 1 << 20

Report = Callable[[BecameReady | Refused], None]


def peer_pid(connection: socket.socket) -> int:
    """Who listened on (or connected) the other end of a unix socket (unix(7), SO_PEERCRED)."""
    raw = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
    pid: int = _CREDENTIALS.unpack(raw)[0]
    return pid


class ProbeRun:
    """The probes of one incarnation: on one kept connection, one after the other."""

    def __init__(
        self, readiness: ProbeReadiness, pid: int, *, reactor: Reactor, report: Report
    ) -> None:
        self._readiness = readiness
        self._probe = readiness.probe
        self._pid = pid
        self._reactor = reactor
        self._report = report
        self._connection: socket.socket | None = None
        self._reply = b""
        self._unsent = b""
        self._has_answered = False
        self._timer: Timer | None = None
        self._ask()

    def close(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._hang_up()

    def _ask(self) -> None:
        try:
            connection = self._connection or self._connect()
        except OSError:
            self._rest()  # not listening yet or any more; silence decides
            return
        if (pid := peer_pid(connection)) != self._pid:
            self._hang_up()
            self._report(Refused(f"{self._probe.path} is served by pid {pid}, not by the child"))
            return
        self._reply, self._unsent = b"", self._probe.request
        self._timer = self._reactor.call_later(self._readiness.timeout_seconds, self._give_up)
        self._watch(connection, READ | WRITE)

    def _connect(self) -> socket.socket:
        connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
        # On a unix socket this never waits: it succeeds, or EAGAIN says that the queue is full.
        if (code := connection.connect_ex(os.fspath(self._probe.path))) != 0:
            connection.close()
            raise OSError(code, errno.errorcode.get(code, "connect failed"))
        self._connection = connection
        return connection

    def _watch(self, connection: socket.socket, interest: int) -> None:
        self._reactor.watch(
            connection.fileno(), interest, lambda events: self._serve(connection, events)
        )
        if self._has_answered and interest == READ:
            self._reactor.let_wait(connection.fileno())

    def _serve(self, connection: socket.socket, events: int) -> None:
        try:
            if events & WRITE and self._unsent:
                self._unsent = self._unsent[connection.send(self._unsent) :]
                if not self._unsent:
                    self._watch(connection, READ)
            if events & READ:
                self._receive(connection.recv(65536))
        except BlockingIOError:
            return
        except OSError:
            self._give_up()

    def _receive(self, data: bytes) -> None:
        self._reply += data
        verdict = self._judge() if data else False
        if verdict is None and len(self._reply) < _REPLY_LIMIT_BYTES:
            return
        if not data or verdict is None:
            self._give_up()
            return
        self._has_answered = self._has_answered or verdict
        self._rest()
        if verdict:
            self._report(BecameReady())

    def _judge(self) -> bool | None:
        try:
            return self._probe.verdict(self._reply)
        except (ValueError, LookupError, TypeError, struct.error):
            return False  # not the protocol that the probe understands

    def _give_up(self) -> None:
        """A late answer must not be taken for the next one's, so the connection goes too."""
        self._hang_up()
        self._rest()

    def _hang_up(self) -> None:
        if self._connection is not None:
            self._reactor.unwatch(self._connection.fileno())
            self._connection.close()
            self._connection = None

    def _rest(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        if self._connection is not None:
            # Silent until the next question; its end is met there.
            self._reactor.unwatch(self._connection.fileno())
        now, pause = self._reactor.now(), self._readiness
        at = now + pause.start_interval_seconds
        if self._has_answered:
            at = next_moment(now, pause.interval_seconds)
        self._timer = self._reactor.call_at(at, self._ask)
