"""The guard: a second, sleeping process that ends what a killed supervisor leaves behind.

The kernel's parent death signal reaches a child but not what the child started. The guard
holds a pipe from the supervisor; at its end it kills every process that is in a session of
a living child or carries the run's mark in its environment, then exits. It sleeps
otherwise, and after an ordered stop the same sweep finds nothing.
"""

import os
import select
import signal
import time
from collections.abc import Iterable
from pathlib import Path

from supervisor.prctl import set_process_name
from supervisor.procfs import all_pids, carries, find_stat

SWEEP_SECONDS = 2.0
_PAUSE_SECONDS = 0.02
_PIPE_FD = 3


class Guard:
    """Our handle on the guard; `mark` is the `NAME=value` that all descendants carry."""

    def __init__(self, mark: str) -> None:
        self._mark = mark
        self._pipe: int | None = None
        self.pid: int | None = None

    def start(self, sessions: Iterable[int] = ()) -> None:
        """Fork it; also after it was killed, then with the `sessions` that live."""
        self._close_pipe()
        receiver, sender = os.pipe()
        pid = os.fork()
        if pid == 0:
            try:
                _guard(receiver, self._mark)
            finally:
                os._exit(0)
        os.close(receiver)
        os.set_blocking(sender, False)
        self._pipe = sender
        self.pid = pid
        for session in sessions:
            self.note(session)

    def note(self, session: int) -> None:
        """A child leads `session` from now on."""
        self._tell(f"+{session}\n")

    def forget(self, session: int) -> None:
        """The child is gone and its group was swept."""
        self._tell(f"-{session}\n")

    def finish(self) -> None:
        """Have it sweep and wait for its end, a little longer than it may take."""
        self._close_pipe()
        if self.pid is None:
            return
        pidfd = os.pidfd_open(self.pid)
        try:
            poll = select.poll()
            poll.register(pidfd, select.POLLIN)
            if not poll.poll((SWEEP_SECONDS + 1) * 1000):
                signal.pidfd_send_signal(pidfd, signal.SIGKILL)
            os.waitpid(self.pid, 0)
        finally:
            os.close(pidfd)
            self.pid = None

    def _tell(self, line: str) -> None:
        if self._pipe is not None:
            try:
                os.write(self._pipe, line.encode())
            except (BrokenPipeError, BlockingIOError):
                pass  # it was killed; its exit has it started again with all sessions

    def _close_pipe(self) -> None:
        if self._pipe is not None:
            os.close(self._pipe)
            self._pipe = None


def _guard(receiver: int, mark: str) -> None:
    _detach(receiver)
    sessions: set[int] = set()
    rest = b""
    while data := os.read(_PIPE_FD, 4096):
        *lines, rest = (rest + data).split(b"\n")
        for line in lines:
            change = sessions.add if line.startswith(b"+") else sessions.discard
            change(int(line[1:]))
    _sweep(sessions, mark.encode())


def _detach(receiver: int) -> None:
    """Let go of all that a next supervisor needs: lock, ports, terminal, log."""
    os.setsid()
    signal.set_wakeup_fd(-1)
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGPIPE):
        signal.signal(number, signal.SIG_IGN)
    os.chdir("/")
    os.dup2(receiver, _PIPE_FD)
    null = os.open(os.devnull, os.O_RDWR)
    for fd in (0, 1, 2):
        os.dup2(null, fd)
    for fd in [int(entry.name) for entry in Path("/proc/self/fd").iterdir()]:
        if fd > _PIPE_FD:
            try:
                os.close(fd)
            except OSError:
                pass  # the directory's own descriptor, closed since
    set_process_name("supervisor-guard")


def _sweep(sessions: set[int], mark: bytes) -> None:
    deadline = time.monotonic() + SWEEP_SECONDS
    while time.monotonic() < deadline:
        found = [pid for pid in all_pids() if _belongs(pid, sessions, mark)]
        if not found:
            return
        for pid in found:
            try:
                os.kill(pid, signal.SIGKILL)
            except OSError:
                pass  # ended by itself, or became another user's
        time.sleep(_PAUSE_SECONDS)


def _belongs(pid: int, sessions: set[int], mark: bytes) -> bool:
    stat = find_stat(pid)
    if stat is None or stat.state in "ZX" or pid == os.getpid():
        return False
    return stat.session in sessions or carries(pid, mark)
