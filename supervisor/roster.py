"""All processes of a supervisor and the queue of what happens to them.

Everything that happens becomes an event of one seat; `settle` carries out what the
machine makes of it, until nothing changes any more. The order of a stop, the readiness
of the whole and who is told of it are the supervisor's; rolls in their order are the
operations'.
"""

import os
import signal
import socket
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

from supervisor.guard import Guard
from supervisor.headstart import RUN_VARIABLE, HeadStart, new_instance, new_run
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
    StartAsked,
    State,
    StopAsked,
    Tick,
)
from supervisor.place import Life, Place, Turn, ask, hear, roll, swap_spec
from supervisor.reactor import Reactor
from supervisor.seat import Seat, serving_roles
from supervisor.spawn import Fork, Spawned, exit_reason, spawn
from supervisor.spec import Drain, ProcessSpec

_CAN_NOT_START = 127
_NOT_STARTED = Exited(-signal.SIGTERM, "not started yet")


@dataclass(frozen=True, kw_only=True, slots=True)
class News:
    """Whom the roster tells: a child's line; a life in a new state; an exit (who it was,
    its code); a child that wishes to be replaced, and why.
    """

    line: Callable[[str, bytes], None]
    changed: Callable[[Seat, Life], None]
    exited: Callable[[Seat, Mapping[str, object], int], None]
    wishes: Callable[[Seat, str], None]


class Roster:
    """The seats, each filled again as its machine decides."""

    def __init__(
        self,
        specs: Sequence[ProcessSpec],
        *,
        listeners: Mapping[str, socket.socket],
        reactor: Reactor,
        news: News,
        head_start: HeadStart | None = None,
    ) -> None:
        self.seats = [Seat.of(spec) for spec in specs]
        self.is_drained = False
        self._listeners = listeners
        self._reactor = reactor
        self._news = news
        self._head_start = head_start
        self._run_token = head_start.run if head_start is not None else new_run()
        self._guard = Guard(f"{RUN_VARIABLE}={self._run_token}")
        self._events: deque[tuple[Seat, int | None, Event]] = deque()
        # Lives that start as soon as their fork server has loaded, or has failed to.
        self._unborn: list[tuple[Seat, int]] = []
        self._has_changed = True

    def open(self) -> None:
        """Set up what ends the children when we are killed; before the first event."""
        self._guard.start()

    def close(self) -> None:
        """Leave no process behind, whatever state it is in."""
        for seat in self.seats:
            for child in seat.children.values():
                child.kill()
                child.close()
            seat.children.clear()
        self._guard.finish()
        while (pid := _find_ended()) is not None:
            os.waitpid(pid, 0)

    def post(self, event: Event, *seats: Seat) -> None:
        """Queue an event for `seats`, or for all of them."""
        self._events.extend((seat, None, event) for seat in seats or self.seats)

    def find(self, target: str) -> list[Seat]:
        """The seats of a name, of a role, or of the roles below one (`consumer`)."""
        named = [seat for seat in self.seats if seat.spec.name == target]
        below = target + ":"
        return named or [
            seat
            for seat in self.seats
            if seat.spec.role == target or seat.spec.role.startswith(below)
        ]

    def roll(self, seat: Seat, spec: ProcessSpec) -> None:
        """Begin to replace what is in the seat; its place tells how that ends."""
        self._take(seat, roll(seat.place, spec, self._reactor.now()))

    def swap(self, seat: Seat, spec: ProcessSpec) -> None:
        """Let `spec` hold from the seat's next decision on."""
        seat.place = swap_spec(seat.place, spec)

    def add(self, spec: ProcessSpec, *, index: int) -> None:
        """A new seat at `index` of the table."""
        seat = Seat.of(spec)
        self.seats.insert(index, seat)
        self._has_changed = True
        if self.is_drained and spec.drain is Drain.STOP:
            seat.is_paused = True
        else:
            self.post(StartAsked(), seat)

    def remove(self, seat: Seat) -> None:
        """Drain the seat; it goes when its last child has ended."""
        seat.is_retired = True
        self._has_changed = True
        self.post(StopAsked(), seat)

    def touch(self) -> None:
        """Have the whole looked at again: time has passed."""
        self._has_changed = True

    def settle(self, review: Callable[[], None]) -> None:
        """Carry out what is queued; `review` looks at the whole after each change of states."""
        while self._events or self._has_changed:
            self._drain()
            if self._has_changed:
                self._has_changed = False
                gone = [seat for seat in self.seats if seat.is_retired and not seat.place.is_live]
                self.seats = [seat for seat in self.seats if seat not in gone]
                self._review_needs()
                self._bear()
                review()

    def reap(self) -> None:
        """Bury every child that ended: ours, the guard, and the orphans we adopted."""
        owners = {
            child.pid: (seat, key) for seat in self.seats for key, child in seat.children.items()
        }
        while (pid := _find_ended()) is not None:
            seat, key = owners.pop(pid, (None, 0))
            child = None if seat is None else seat.children.get(key)
            if seat is not None and child is not None:
                self._bury(seat, key, child)
            else:
                os.waitpid(pid, 0)
                if pid == self._guard.pid:
                    self._guard.start(owners)

    def _bury(self, seat: Seat, key: int, child: Incarnation) -> None:
        if seat.children.get(key) is not child:
            return  # its end is seen twice: on its pidfd and by SIGCHLD
        self._drain()  # what it said before it ended comes first
        if seat.children.get(key) is not child:
            return  # and may have been that it was abandoned
        identity = seat.identity(key)
        code = child.bury()
        self._guard.forget(child.pid)
        del seat.children[key]
        self._end(seat, key, identity=identity, exited=Exited(code, exit_reason(code), _draw()))

    def _end(self, seat: Seat, key: int, *, identity: Mapping[str, object], exited: Exited) -> None:
        self._take(seat, hear(seat.place, exited, key=key, now=self._reactor.now()))
        self._news.exited(seat, identity, exited.code)

    def _drain(self) -> None:
        while self._events:
            seat, key, event = self._events.popleft()
            now = self._reactor.now()
            if key is None:
                self._take(seat, ask(seat.place, event, now))
            else:
                self._take(seat, hear(seat.place, event, key=key, now=now))

    def _take(self, seat: Seat, turn: Turn) -> None:
        """Make the next place the seat's, and carry out its orders."""
        before, (after, orders) = seat.place, turn
        seat.place = after
        self._arm(seat)
        for key, action in orders:
            self._act(seat, key, action)
        if _outline(after) != _outline(before):
            self._has_changed = True
        states = {life.key: life.slot.state for life in before.lives}
        for life in after.lives:
            if life.slot.state is not states.get(life.key):
                self._news.changed(seat, life)

    def _act(self, seat: Seat, key: int, action: Action) -> None:
        match action, seat.children.get(key):
            case Spawn(), _:
                self._spawn(seat, key)
            case Signal(number=number), Incarnation() as child:
                child.signal(number)
            case Kill(), Incarnation() as child:
                child.kill()
            case Abandon(), Incarnation() as child:
                child.close()
                del seat.children[key]
            case ((Signal() | Kill()), None) if (seat, key) in self._unborn:
                self._unborn.remove((seat, key))
                self._end_later(seat, key, identity=seat.identity(key), exited=_NOT_STARTED)

    def _bear(self) -> None:
        """Start what has been waiting for its fork server; what still must waits again."""
        unborn, self._unborn = self._unborn, []
        for seat, key in unborn:
            self._spawn(seat, key)

    def _spawn(self, seat: Seat, key: int) -> None:
        life = next(life for life in seat.place.lives if life.key == key)
        spec = life.spec
        server = self._find_fork_server(spec)
        fork = _find_fork(server, spec.role)
        if fork is None and server is not None and server.slot.state is State.STARTING:
            self._unborn.append((seat, key))
            return
        instance = new_instance(spec.name)
        seat.restarts += life.slot.fell
        try:
            spawned = self._take_head_start(spec) or spawn(
                spec,
                instance=instance,
                listeners=self._listeners,
                run=self._run_token,
                fork=fork,
            )
        except OSError as error:
            reason = f"can not start {spec.argv[0]}: {error.strerror or error}"
            failure = Exited(_CAN_NOT_START, reason, _draw())
            identity = {**seat.identity(key), "instance": instance}
            self._end_later(seat, key, identity=identity, exited=failure)
            return
        self._guard.note(spawned.pid)
        ears = Ears(
            event=lambda event: self._events.append((seat, key, event)),
            line=partial(self._news.line, spec.name),
            ended=lambda: self._bury(seat, key, child),
            asked=lambda reason: self._hear_wish(seat, key, reason),
            took=self.touch,
            offered=self.touch,
        )
        child = Incarnation(spec, spawned, reactor=self._reactor, ears=ears)
        seat.children[key] = child
        if self.is_drained and spec.drain is Drain.BE_TOLD:
            child.tell(drain=True)

    def _take_head_start(self, spec: ProcessSpec) -> Spawned | None:
        return None if self._head_start is None else self._head_start.take(spec.name)

    def _end_later(
        self, seat: Seat, key: int, *, identity: Mapping[str, object], exited: Exited
    ) -> None:
        """From the loop, because the state that this event belongs to is still to be told."""
        later = partial(self._end, seat, key, identity=identity, exited=exited)
        self._reactor.call_later(0, later)

    def _find_fork_server(self, spec: ProcessSpec) -> Seat | None:
        """The seat of the process that is forked into the one of `spec`."""
        servers = (seat for seat in self.seats if seat.spec.role == spec.fork_server)
        return next(servers, None)

    def _hear_wish(self, seat: Seat, key: int, reason: str) -> None:
        if key == seat.place.serving.key:
            self._news.wishes(seat, reason)

    def _arm(self, seat: Seat) -> None:
        """For each life have a timer at or before `due`; an early one finds nothing to do
        and arms again. So a heartbeat, which only moves `due` on, costs no timer.
        """
        dues = {life.key: life.slot.due for life in seat.place.lives}
        for key in [key for key in seat.timers if key not in dues]:
            seat.timers.pop(key).cancel()
        for key, due in dues.items():
            timer = seat.timers.get(key)
            if timer is not None and timer.is_pending:
                if due is not None and timer.when <= due:
                    continue
                timer.cancel()
            if due is not None:
                tick = partial(self._events.append, (seat, key, Tick()))
                seat.timers[key] = self._reactor.call_at(due, tick)

    def _review_needs(self) -> None:
        serving = serving_roles(self.seats)
        for seat in self.seats:
            is_met = seat.spec.needs <= serving
            if is_met != seat.slot.needs_met:
                self.post(NeedsMet() if is_met else NeedsLost(), seat)


def _find_fork(server: Seat | None, role: str) -> Fork | None:
    if server is None or server.child is None or not server.can_fork(role):
        return None
    return server.child.fork


def _outline(place: Place) -> object:
    """What others look at: a heartbeat does not change it."""
    lives = [(life.key, life.slot.state, life.slot.wanted) for life in place.lives]
    return lives, place.is_settled, place.verdict


def _draw() -> float:
    """A random number from 0 to 1, without the weight of the random module."""
    return int.from_bytes(os.urandom(4)) / 2**32


def _find_ended() -> int | None:
    try:
        ended = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
    except ChildProcessError:
        return None
    return None if ended is None else ended.si_pid
