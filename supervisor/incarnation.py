"""One living child: its exit, its link, its output and its probe, each watched by the loop."""

import os
import socket
from collections.abc import Callable
from dataclasses import dataclass

from supervisor.forkserver import ForkFailed, Order, order_fork
from supervisor.lines import LineBuffer, decode_frame, encode_frame
from supervisor.machine import BecameReady, Event, Heard
from supervisor.probe import ProbeRun
from supervisor.reactor import READ, Reactor
from supervisor.spawn import Spawned, kill_group, send_signal
from supervisor.spec import ProbeReadiness, ProcessSpec

_LINK_LINE_BYTES = 64 * 1024
_OUTPUT_LINE_BYTES = 64 * 1024
_READ_BYTES = 64 * 1024
# What a pipe holds at most by default rights (pipe(7), pipe-max-size).
_LEFTOVER_BYTES = 1 << 20
_BEAT = b'{"beat":true}'


@dataclass(frozen=True, kw_only=True, slots=True)
class Ears:
    """Where an incarnation reports to.

    `asked` is a child's own wish to be replaced, `took` that it has followed the last
    thing it was told, and `offered` that it can be forked into others.
    """

    event: Callable[[Event], None]
    line: Callable[[bytes], None]
    ended: Callable[[], None]
    asked: Callable[[str], None]
    took: Callable[[], None]
    offered: Callable[[], None]


class Incarnation:
    """A spawned child until `bury`; owns the descriptors that `spawn` opened."""

    def __init__(
        self, spec: ProcessSpec, spawned: Spawned, *, reactor: Reactor, ears: Ears
    ) -> None:
        self.pid = spawned.pid
        self.instance = spawned.instance
        self.started_at = reactor.now()
        self.status_text = ""
        self.has_link = spawned.link is not None
        self.told = 0
        self.took = 0
        self.offers: frozenset[str] = frozenset()
        self._spawned = spawned
        self._reactor = reactor
        self._ears = ears
        self._is_reporting = True
        self._frames = LineBuffer(_LINK_LINE_BYTES)
        self._output = LineBuffer(_OUTPUT_LINE_BYTES)
        reactor.watch(spawned.pidfd, READ, lambda _events: ears.ended())
        reactor.watch(spawned.output, READ, lambda _events: self._forward_output())
        if (link := spawned.link) is not None:
            reactor.watch(link.fileno(), READ, lambda _events: self._read_link(link))
        self._probe: ProbeRun | None = None
        if isinstance(spec.readiness, ProbeReadiness):
            self._probe = ProbeRun(spec.readiness, self.pid, reactor=reactor, report=ears.event)

    def signal(self, number: int) -> None:
        send_signal(self._spawned.pidfd, number)

    def tell(self, **message: object) -> None:
        """Send a message down the link; `took` reaches `told` when the child has followed it."""
        link = self._spawned.link
        if link is None:
            return
        self.told += 1
        try:
            link.send(encode_frame({**message, "number": self.told}))
        except OSError:
            pass  # it stands still or has ended: it will not be heard to take it

    def fork(self, order: Order) -> tuple[int, int]:
        """As a fork server, make a child: its pid and a pidfd; ForkFailed ends the fork server."""
        link = self._spawned.link
        if link is None:
            raise ForkFailed("it has no link")
        try:
            return order_fork(link, order)
        except ForkFailed:
            self.kill()
            raise

    def kill(self) -> None:
        kill_group(self.pid)

    def bury(self) -> int:
        """Sweep its group, reap it, forward its last words; the exit code, negative for a signal.

        Only after its end was seen. The group goes first: as long as the leader is a
        zombie, its number belongs to nobody else.
        """
        kill_group(self.pid)
        _pid, status = os.waitpid(self.pid, 0)
        self._read_leftovers()
        self.close()
        return os.waitstatus_to_exitcode(status)

    def close(self) -> None:
        """Stop watching; a child that is still there is left to itself."""
        if self._probe is not None:
            self._probe.close()
        self._reactor.unwatch(self._spawned.pidfd)
        os.close(self._spawned.pidfd)
        self._stop_output()
        self._close_link()

    def _forward_output(self) -> None:
        self._read_output()

    def _read_output(self) -> int:
        """Forward what is there; the number of bytes, 0 at the end or when there is none now."""
        try:
            data = os.read(self._spawned.output, _READ_BYTES)
        except BlockingIOError:
            return 0
        for line in self._output.feed(data):
            self._ears.line(line)
        if not data:
            self._stop_output()
        return len(data)

    def _read_leftovers(self) -> None:
        left = _LEFTOVER_BYTES
        while self._is_reporting and left > 0 and (count := self._read_output()):
            left -= count

    def _stop_output(self) -> None:
        if not self._is_reporting:
            return
        self._is_reporting = False
        if rest := self._output.take_rest():
            self._ears.line(rest)
        self._reactor.unwatch(self._spawned.output)
        os.close(self._spawned.output)

    def _read_link(self, link: socket.socket) -> None:
        try:
            data = link.recv(_READ_BYTES)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            # It let go of its link; the missing beats decide what that means.
            self._reactor.unwatch(link.fileno())
            return
        for line in self._frames.feed(data):
            self._hear(line)

    def _hear(self, line: bytes) -> None:
        if line == _BEAT:
            self._ears.event(Heard())
            return
        try:
            frame = decode_frame(line)
        except ValueError:
            return  # what we can not read is no sign of life
        if "status" in frame:
            self.status_text = str(frame["status"])[:200]
        if "replace" in frame:
            self._ears.asked(str(frame["replace"])[:200])
        if isinstance(took := frame.get("took"), int):
            self.took = took
            self._ears.took()
        if isinstance(offers := frame.get("offers"), list):
            self.offers = frozenset(map(str, offers))
            self._ears.offered()
        ready = frame.get("ready")
        if isinstance(ready, dict) and self._is_own(ready):
            self._ears.event(BecameReady())
            self._listen_patiently()
        elif frame.get("beat") is True:
            self._ears.event(Heard())

    def _listen_patiently(self) -> None:
        """From now on it mostly beats, at the same moment as all others do."""
        if (link := self._spawned.link) is not None:
            self._reactor.let_wait(link.fileno())

    def _is_own(self, ready: dict[str, object]) -> bool:
        """A process that the child forked may hold the link too; it is not the child."""
        return ready.get("pid") == self.pid and ready.get("instance") == self.instance

    def _close_link(self) -> None:
        link = self._spawned.link
        if link is not None:
            self._reactor.unwatch(link.fileno())
            link.close()
