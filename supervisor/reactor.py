"""The one place that waits: file descriptors, timers and signals, on the monotonic clock."""

import heapq
import selectors
import signal
import socket
import time
from collections.abc import Callable, Iterable
from types import TracebackType

READ = selectors.EVENT_READ
WRITE = selectors.EVENT_WRITE

Watcher = Callable[[int], None]
# Waking up is dear on an idle machine; what comes so close together is served at once.
_GATHER_SECONDS = 0.01


class Timer:
    """One call to come; `cancel` forgets it."""

    __slots__ = ("callback", "when")

    def __init__(self, when: float, callback: Callable[[], None]) -> None:
        self.when = when
        self.callback: Callable[[], None] | None = callback

    def cancel(self) -> None:
        self.callback = None

    @property
    def is_pending(self) -> bool:
        return self.callback is not None


class Reactor:
    """Blocks until something is to do, then does it; input goes before timers.

    Timers come late when the machine is busy, and what was heard meanwhile must count.
    """

    def __init__(self) -> None:
        self._selector = selectors.DefaultSelector()
        self._timers: list[tuple[float, int, Timer]] = []
        self._timer_count = 0
        self._patient: set[int] = set()

    def now(self) -> float:
        return time.monotonic()

    def watch(self, fd: int, interest: int, callback: Watcher) -> None:
        """Call back with the ready events; a second call for `fd` replaces the first."""
        self._patient.discard(fd)
        if fd in self._selector.get_map():
            self._selector.modify(fd, interest, callback)
        else:
            self._selector.register(fd, interest, callback)

    def let_wait(self, fd: int) -> None:
        """Serve the watched `fd` up to a hundredth of a second late, with what comes meanwhile."""
        self._patient.add(fd)

    def unwatch(self, fd: int) -> None:
        """Forget `fd`, which must still be open; not watched is fine."""
        self._patient.discard(fd)
        if fd in self._selector.get_map():
            self._selector.unregister(fd)

    def call_at(self, when: float, callback: Callable[[], None]) -> Timer:
        timer = Timer(when, callback)
        self._timer_count += 1
        heapq.heappush(self._timers, (when, self._timer_count, timer))
        return timer

    def call_later(self, seconds: float, callback: Callable[[], None]) -> Timer:
        return self.call_at(self.now() + seconds, callback)

    def run_once(self, *, on_stall: Callable[[float], None], stall_seconds: float = 1.0) -> None:
        """Wait for and serve one batch.

        When the earliest timer is served more than `stall_seconds` late, we did not
        run (stopped, swapped out, starved): `on_stall` hears by how much, before the timers.
        """
        planned = self._next_timer()
        timeout = None if planned is None else max(0.0, planned - self.now())
        for key, events in self._select(timeout):
            current = self._selector.get_map().get(key.fd)
            # An earlier callback of this batch may have closed it, or reused its number.
            if current is not None and current.data is key.data:
                key.data(events)
        if planned is not None and self.now() - planned > stall_seconds:
            on_stall(self.now() - planned)
        self._run_timers()

    def _select(self, timeout: float | None) -> list[tuple[selectors.SelectorKey, int]]:
        ready = self._selector.select(timeout)
        if ready and all(key.fd in self._patient for key, _ in ready):
            time.sleep(_GATHER_SECONDS)
            ready = self._selector.select(0)
        return ready

    def close(self) -> None:
        self._selector.close()
        self._timers.clear()

    def _next_timer(self) -> float | None:
        while self._timers and not self._timers[0][2].is_pending:
            heapq.heappop(self._timers)
        return self._timers[0][0] if self._timers else None

    def _run_timers(self) -> None:
        now = self.now()
        due = []
        while self._timers and self._timers[0][0] <= now:
            due.append(heapq.heappop(self._timers)[2])
        for timer in due:
            if timer.callback is not None:
                callback, timer.callback = timer.callback, None
                callback()


class SignalWatch:
    """Turns signals into calls from the loop; the signal's own moment only wakes it."""

    def __init__(
        self, reactor: Reactor, numbers: Iterable[int], callback: Callable[[int], None]
    ) -> None:
        self._reactor = reactor
        self._numbers = tuple(numbers)
        self._callback = callback

    def __enter__(self) -> "SignalWatch":
        self._receiver, self._sender = socket.socketpair()
        self._receiver.setblocking(False)
        self._sender.setblocking(False)
        self._old_fd = signal.set_wakeup_fd(self._sender.fileno(), warn_on_full_buffer=False)
        self._old = {number: signal.signal(number, _ignore) for number in self._numbers}
        self._reactor.watch(self._receiver.fileno(), READ, self._drain)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for number, old in self._old.items():
            signal.signal(number, old)
        signal.set_wakeup_fd(self._old_fd)
        self._reactor.unwatch(self._receiver.fileno())
        self._receiver.close()
        self._sender.close()

    def _drain(self, _events: int) -> None:
        for number in self._receiver.recv(4096):
            if number in self._numbers:
                self._callback(number)


def _ignore(_number: int, _frame: object) -> None:
    """Not SIG_IGN: only a signal with a Python handler wakes the loop."""
