"""The supervisor: starts a program's processes, keeps them running, stops them in order.

One thread, one loop. Here is what concerns the whole: first start, readiness, stop
order, and who is told; what happens to one process is `roster` and `machine`, what
changes the running table is `operations`.
"""

import os
import signal
import socket
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from supervisor.control import ControlServer, Frame, Reply
from supervisor.desk import Desk, Planner
from supervisor.headstart import HeadStart
from supervisor.lock import InstanceLock
from supervisor.machine import (
    HurryAsked,
    Paused,
    RetireAsked,
    StartAsked,
    State,
    StopAsked,
)
from supervisor.operations import Operations
from supervisor.place import Life
from supervisor.prctl import become_subreaper
from supervisor.procfs import find_rss_bytes
from supervisor.reactor import WRITE, Reactor, SignalWatch
from supervisor.report import Record, json_line, record
from supervisor.roster import News, Roster
from supervisor.sdnotify import Notifier
from supervisor.seat import Seat
from supervisor.sinks import LogSink
from supervisor.spec import ProcessSpec, check_specs

_STOP_SIGNALS = (signal.SIGTERM, signal.SIGINT)
_TROUBLE = frozenset({State.UNHEALTHY, State.BACKOFF, State.QUARANTINED, State.CONFIG_ERROR})


def _ignore(*_arguments: object) -> None:
    """What a program does that wants to hear nothing."""


@dataclass(frozen=True, kw_only=True)
class Program:
    """What the supervised program has to say itself.

    `on_ready` is called once, when every required process is ready for the first time,
    `on_change` with the status after every change, `on_stopping` before the first process
    is told to stop. `planners` are control verbs that change the table; SIGHUP runs
    `reload`, and without that is a stop. `facts` are its part of the status.
    """

    on_ready: Callable[[], None] = _ignore
    on_change: Callable[[Frame], None] = _ignore
    on_stopping: Callable[[], None] = _ignore
    planners: Mapping[str, Planner] = field(default_factory=dict)
    facts: Callable[[], Frame] = dict


class Supervisor:
    """Keeps the processes of `specs` running from `run()` until an ordered stop.

    `listeners` stay the caller's to close; each spawn looks them up anew. `lock` may be held
    already, so that a program can prepare its state directory under it. `head_start` is one
    of the processes that runs already. `describe` renders
    the supervisor's own log lines; what it makes nothing of is not written.
    """

    def __init__(
        self,
        specs: Sequence[ProcessSpec],
        *,
        listeners: Mapping[str, socket.socket],
        control_path: Path,
        lock: InstanceLock,
        log: LogSink,
        program: Program | None = None,
        describe: Callable[[Record], bytes] = json_line,
        head_start: HeadStart | None = None,
    ) -> None:
        check_specs(specs, listeners)
        self._control_path = control_path
        self._lock = lock
        self._log = log
        self._program = program or Program()
        self._describe = describe
        self._reactor = Reactor()
        news = News(
            line=log.write,
            changed=self._tell_state,
            exited=self._tell_exit,
            wishes=self._hear_wish,
        )
        self._roster = Roster(
            specs, listeners=listeners, reactor=self._reactor, news=news, head_start=head_start
        )
        self._operations = Operations(self._roster, self._reactor, ended=self._operation_ended)
        self._desk = Desk(
            self._roster, self._operations, planners=self._program.planners, say=self._say
        )
        self._notifier = Notifier.from_environ()
        self._was_ready = False
        self._is_stopping = False
        self._is_over = False
        self._exit_code = 0
        self._status_text = ""
        self._announced: list[str] = []
        self._started_at = self._reactor.now()
        self._terminals = [fd for fd in (0, 1, 2) if os.isatty(fd)]
        self._log_fd: int | None = None

    @property
    def state(self) -> str:
        """`starting`, `ready`, `drained`, `degraded` or `stopping`."""
        if self._is_stopping:
            return "stopping"
        if not self._was_ready:
            return "starting"
        if not self._is_whole():
            return "degraded"
        return "drained" if self._roster.is_drained else "ready"

    def run(self) -> int:
        """Run once, in the main thread, until stopped; the exit code for the program.

        0 after an ordered stop, or the code of a process that made the first start
        fail (`RestartPolicy.fatal_first_exit_codes`). Releases the lock and closes the log.

        Raises:
            AlreadyRunning: another supervisor holds the lock.
            OSError: the control socket or the guard can not be made.
        """
        try:
            self._lock.acquire()
            become_subreaper()
            verbs = {"status": self._status, "stop": self._stop, **self._desk.verbs()}
            numbers = (*_STOP_SIGNALS, signal.SIGHUP, signal.SIGCHLD)
            with SignalWatch(self._reactor, numbers, self._on_signal):
                self._control = ControlServer(self._reactor, self._control_path, verbs)
                try:
                    self._serve()
                finally:
                    self._let_go()
        finally:
            self._reactor.close()
            self._lock.release()
        return self._exit_code

    def _serve(self) -> None:
        self._roster.open()
        self._ping_watchdog()
        self._roster.post(StartAsked())
        self._roster.settle(self._review)
        while not self._is_over:
            self._flush_log()
            self._reactor.run_once(on_stall=self._excuse_silence)
            self._roster.settle(self._review)

    def _let_go(self) -> None:
        """The end, also after an error of our own.

        The lock goes before the last control connections, so that whoever waited for
        our end can start the next supervisor at once.
        """
        self._control.stop_listening()
        self._roster.close()
        self._say("info", "supervisor stopped", code=self._exit_code)
        self._log.close()
        self._lock.release()
        self._control.close()

    def _on_signal(self, number: int) -> None:
        if number == signal.SIGCHLD:
            self._roster.reap()
        elif number == signal.SIGHUP and self._desk.can_reload and not self._lost_terminal():
            if not self._is_stopping:
                self._desk.reload()
        elif not self._is_stopping:
            self._begin_stop(signal.Signals(number).name)
        elif number != signal.SIGHUP:
            self._say("warning", "stop hurried")
            self._roster.post(HurryAsked())

    def _lost_terminal(self) -> bool:
        """Whoever closes the terminal that we run in wants us to end, not to reload."""
        return not all(map(os.isatty, self._terminals))

    def _excuse_silence(self, seconds: float) -> None:
        self._say("warning", "supervisor was paused", seconds=round(seconds, 1))
        self._roster.post(Paused(seconds))

    def _hear_wish(self, seat: Seat, reason: str) -> None:
        if not self._is_stopping:
            self._desk.replace(seat, reason)

    def _operation_ended(self, _name: str) -> None:
        if not self._operations.names and self._was_ready:
            self._notifier.notify(READY=1)

    def _tell_state(self, seat: Seat, life: Life) -> None:
        slot = life.slot
        reason = slot.verdict or slot.reason
        identity = seat.identity(life.key)
        self._control.publish({"state": {**identity, "state": slot.state.value, "reason": reason}})
        level = "warning" if slot.state in _TROUBLE else "info"
        self._say(level, f"process {slot.state}", **identity, reason=reason)

    def _tell_exit(self, seat: Seat, identity: Mapping[str, object], code: int) -> None:
        reason = seat.slot.reason
        self._control.publish({"exit": {**identity, "reason": reason}})
        self._say("info", "process exited", **identity, reason=reason)
        if self._was_ready or self._is_stopping:
            return
        if code in seat.spec.restart.fatal_first_exit_codes:
            self._exit_code = code
            self._begin_stop(f"{seat.spec.name} can not start: {reason}")

    def _begin_stop(self, reason: str) -> None:
        self._is_stopping = True
        self._notifier.notify(STOPPING=1)
        self._say("info", "supervisor stopping", reason=reason)
        self._operations.cancel("the supervisor is stopping")
        self._program.on_stopping()
        self._roster.post(RetireAsked())

    def _review(self) -> None:
        if self._is_stopping:
            self._continue_stop()
        elif not self._was_ready and self._is_whole():
            self._was_ready = True
            self._say("info", "supervisor ready")
            self._notifier.notify(READY=1)
            self._program.on_ready()
        if not self._is_stopping:
            self._operations.look()
            self._announce_operations()
        self._program.on_change(self._describe_all())
        text = self._summary()
        if text != self._status_text:
            self._status_text = text
            self._notifier.notify(STATUS=text)

    def _continue_stop(self) -> None:
        """Stop the lowest rank that still lives; the next one when it is gone."""
        live = [seat for seat in self._roster.seats if seat.place.is_live]
        if not live:
            self._is_over = True
            return
        rank = min(seat.spec.stop.rank for seat in live)
        for seat in live:
            if seat.spec.stop.rank == rank and seat.slot.state in (State.STARTING, State.READY):
                self._roster.post(StopAsked(), seat)

    def _is_whole(self) -> bool:
        return all(seat.is_serving for seat in self._roster.seats if seat.is_expected)

    def _summary(self) -> str:
        seats = self._roster.seats
        waiting = [f"{one.spec.name} {one.slot.state}" for one in seats if not one.is_serving]
        ready = f"{self.state}: {len(seats) - len(waiting)} of {len(seats)} processes ready"
        return "; ".join((ready, *waiting))

    def _ping_watchdog(self) -> None:
        if self._notifier.watchdog_seconds is not None:
            self._notifier.notify(WATCHDOG=1)
            # Twice per period, as sd_watchdog_enabled(3) advises.
            self._reactor.call_later(self._notifier.watchdog_seconds / 2, self._ping_watchdog)

    def _announce_operations(self) -> None:
        """To the service manager; READY=1 follows when the last one has ended."""
        names = self._operations.names
        if names != self._announced and "reload" in names:
            stamp = time.monotonic_ns() // 1000
            self._notifier.notify(RELOADING=1, MONOTONIC_USEC=stamp)
        self._announced = names

    def _describe_all(self) -> Frame:
        now = self._reactor.now()
        return {
            "state": self.state,
            "pid": os.getpid(),
            "uptimeSeconds": round(now - self._started_at, 1),
            "rssBytes": find_rss_bytes(os.getpid()),
            "isDrained": self._roster.is_drained,
            "operations": self._operations.names,
            "program": self._program.facts(),
            "processes": [row for seat in self._roster.seats for row in seat.describe(now)],
        }

    def _status(self, _request: Mapping[str, object], _reply: Reply) -> Frame:
        return self._describe_all()

    def _stop(self, _request: Mapping[str, object], _reply: Reply) -> Frame:
        if not self._is_stopping:
            self._begin_stop("control request")
        return {"state": self.state}

    def _say(self, level: str, event: str, **fields: object) -> None:
        if line := self._describe(record(level, event, **fields)):
            self._log.write("supervisor", line)

    def _flush_log(self) -> None:
        self._log.flush()
        fd = self._log.waiting_fd()
        if fd == self._log_fd:
            return
        if self._log_fd is not None:
            self._reactor.unwatch(self._log_fd)
        if fd is not None:
            # Nothing to do when it can be written: every round flushes.
            self._reactor.watch(fd, WRITE, lambda _events: None)
        self._log_fd = fd
