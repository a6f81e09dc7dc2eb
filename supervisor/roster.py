"""All processes of a supervisor and the queue of what happens to them.

Everything that happens becomes an event of one seat; `settle` carries out what the
machine makes of it, until nothing changes any more. The order of a stop, the readiness
of the whole and who is told of it are the supervisor's.
"""

import os
import socket
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

from supervisor.guard import Guard
from supervisor.incarnation import Ears, Incarnation
from supervisor.machine import (
    Abandon,
    Action,
    Event,
    Exited,
    Kill,
    NeedsLost,
    NeedsMet,
    Signal,
    Spawn,
    Tick,
    advance,
)
from supervisor.reactor import Reactor
from supervisor.seat import Seat, serving_roles
from supervisor.spawn import RUN_VARIABLE, exit_reason, spawn
from supervisor.spec import ProcessSpec

_CAN_NOT_START = 127


@dataclass(frozen=True, kw_only=True, slots=True)
class News:
    """Whom the roster tells: a child's line; a new state; an exit (who it was, its code)."""

    line: Callable[[str, bytes], None]
    changed: Callable[[Seat], None]
    exited: Callable[[Seat, Mapping[str, object], int], None]


class Roster:
    """The seats, each filled again as its machine decides."""

    def __init__(
        self,
        specs: Sequence[ProcessSpec],
        *,
        listeners: Mapping[str, socket.socket],
        reactor: Reactor,
        news: News,
    ) -> None:
        self.seats = [Seat(spec) for spec in specs]
        self._listeners = listeners
        self._reactor = reactor
        self._news = news
        self._run_token = os.urandom(8).hex()
        self._guard = Guard(f"{RUN_VARIABLE}={self._run_token}")
        self._events: deque[tuple[Seat, Event]] = deque()
        self._has_changed = True

    def open(self) -> None:
        """Set up what ends the children when we are killed; before the first event."""
        self._guard.start()

    def close(self) -> None:
        """Leave no process behind, whatever state it is in."""
        for seat in self.seats:
            if seat.child is not None:
                seat.child.kill()
                seat.child.close()
                seat.child = None
        self._guard.finish()
        while (pid := _find_ended()) is not None:
            os.waitpid(pid, 0)

    def post(self, event: Event, *seats: Seat) -> None:
        """Queue an event for `seats`, or for all of them."""
        self._events.extend((seat, event) for seat in seats or self.seats)

    def settle(self, review: Callable[[], None]) -> None:
        """Carry out what is queued; `review` looks at the whole after each change of states."""
        while self._events or self._has_changed:
            self._drain()
            if self._has_changed:
                self._has_changed = False
                self._review_needs()
                review()

    def reap(self) -> None:
        """Bury every child that ended: ours, the guard, and the orphans we adopted."""
        children = {seat.child.pid: seat for seat in self.seats if seat.child is not None}
        while (pid := _find_ended()) is not None:
            if (seat := children.get(pid)) is not None and seat.child is not None:
                self._bury(seat, seat.child)
            else:
                os.waitpid(pid, 0)
                if pid == self._guard.pid:
                    self._guard.start(children)

    def _bury(self, seat: Seat, child: Incarnation) -> None:
        if seat.child is not child:
            return  # its end is seen twice: on its pidfd and by SIGCHLD
        self._drain()  # what it said before it ended comes first
        identity = seat.identity()
        code = child.bury()
        self._guard.forget(child.pid)
        seat.child = None
        self._end(seat, identity, Exited(code, exit_reason(code), _draw()))

    def _end(self, seat: Seat, identity: Mapping[str, object], exited: Exited) -> None:
        self._advance(seat, exited)
        self._news.exited(seat, identity, exited.code)

    def _drain(self) -> None:
        while self._events:
            self._advance(*self._events.popleft())

    def _advance(self, seat: Seat, event: Event) -> None:
        before = seat.slot
        seat.slot, actions = advance(seat.spec, seat.slot, event=event, now=self._reactor.now())
        self._arm(seat)
        for action in actions:
            self._act(seat, action)
        if seat.slot.wanted != before.wanted:
            self._has_changed = True
        if seat.slot.state is not before.state:
            self._has_changed = True
            self._news.changed(seat)

    def _act(self, seat: Seat, action: Action) -> None:
        match action, seat.child:
            case Spawn(), _:
                self._spawn(seat)
            case Signal(number=number), Incarnation() as child:
                child.signal(number)
            case Kill(), Incarnation() as child:
                child.kill()
            case Abandon(), Incarnation() as child:
                child.close()
                seat.child = None

    def _spawn(self, seat: Seat) -> None:
        spec = seat.spec
        instance = f"{spec.name}.{os.urandom(3).hex()}"
        seat.spawns += 1
        try:
            spawned = spawn(spec, instance=instance, listeners=self._listeners, run=self._run_token)
        except OSError as error:
            reason = f"can not start {spec.argv[0]}: {error.strerror or error}"
            failure = Exited(_CAN_NOT_START, reason, _draw())
            # From the loop, because the state that this event belongs to is still to be told.
            identity = {**seat.identity(), "instance": instance}
            self._reactor.call_later(0, partial(self._end, seat, identity, failure))
            return
        self._guard.note(spawned.pid)
        ears = Ears(
            event=lambda event: self.post(event, seat),
            line=partial(self._news.line, spec.name),
            ended=lambda: self._bury(seat, child),
        )
        child = Incarnation(spec, spawned, reactor=self._reactor, ears=ears)
        seat.child = child

    def _arm(self, seat: Seat) -> None:
        """Have a timer at or before `due`; an early one finds nothing to do and arms again.

        So a heartbeat, which only moves `due` on, costs no timer.
        """
        due = seat.slot.due
        if seat.timer is not None and seat.timer.is_pending:
            if due is not None and seat.timer.when <= due:
                return
            seat.timer.cancel()
        if due is not None:
            seat.timer = self._reactor.call_at(due, lambda: self.post(Tick(), seat))

    def _review_needs(self) -> None:
        serving = serving_roles(self.seats)
        for seat in self.seats:
            is_met = seat.spec.needs <= serving
            if is_met != seat.slot.needs_met:
                self.post(NeedsMet() if is_met else NeedsLost(), seat)


def _draw() -> float:
    """A random number from 0 to 1, without the weight of the random module."""
    return int.from_bytes(os.urandom(4)) / 2**32


def _find_ended() -> int | None:
    try:
        ended = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
    except ChildProcessError:
        return None
    return None if ended is None else ended.si_pid
