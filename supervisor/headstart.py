"""A head start: a process that loads while its supervisor still does.

It is begun before the table of processes is known, with what is known of it, and before
this program has loaded what starts the others. The supervisor that is given it takes it for
the first incarnation of its name. One that nobody takes ends with us, or when it is let go.
"""

import os
import signal
import socket
from collections.abc import Mapping, MutableMapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from supervisor.spawn import Spawned

# In every child's environment, so that even a descendant in a session of its own is found.
RUN_VARIABLE = "SUPERVISOR_RUN"
_PARENT = "SUPERVISOR_PID"


class HeadStart:
    """A process that runs already, and the `run` that all of its supervisor's will belong to."""

    def __init__(self, name: str, *, argv: tuple[str, ...], env: Mapping[str, str]) -> None:
        """Start it; raises OSError. It has to call `follow_parent` first of all."""
        for standard in (0, 1, 2):
            os.fstat(standard)  # else what we open could be taken for it
        self.name = name
        self.run = new_run()
        self._instance = new_instance(name)
        self._link, theirs = socket.socketpair()
        self._output, output = os.pipe()
        variables = {
            RUN_VARIABLE: self.run,
            "SUPERVISOR_INSTANCE": self._instance,
            "SUPERVISOR_LINK_FD": str(theirs.fileno()),
            _PARENT: str(os.getpid()),
        }
        foreign = _inherited()
        with theirs:
            theirs.set_inheritable(True)
            self._pid: int | None = os.posix_spawn(
                argv[0],
                argv,
                {**env, **variables},
                file_actions=[
                    (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
                    *((os.POSIX_SPAWN_DUP2, output, standard) for standard in (1, 2)),
                    *((os.POSIX_SPAWN_CLOSE, fd) for fd in foreign),
                ],
                setsid=True,
                setsigmask=(),
                setsigdef=signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP},
            )
        os.close(output)
        self._link.setblocking(False)
        os.set_blocking(self._output, False)

    @property
    def pid(self) -> int | None:
        """Of the process, as long as nobody took it."""
        return self._pid

    def take(self, name: str) -> "Spawned | None":
        """The process, for who asks first and means it; from then on it is the caller's."""
        if name != self.name or self._pid is None:
            return None
        from supervisor.spawn import Spawned

        pid, self._pid = self._pid, None
        return Spawned(
            pid=pid,
            pidfd=os.pidfd_open(pid),
            instance=self._instance,
            link=self._link,
            output=self._output,
        )

    def let_go(self) -> None:
        """End it, if nobody took it."""
        if self._pid is None:
            return
        pid, self._pid = self._pid, None
        try:
            os.killpg(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
        except PermissionError:
            pass  # we have become somebody else since; the end of its link tells it
        os.close(self._output)
        self._link.close()


def follow_parent(environ: MutableMapping[str, str] = os.environ) -> None:
    """Where we have been given a head start, end with the one who gave it.

    All others were made to before they were executed.
    """
    from supervisor.prctl import set_parent_death_signal

    parent = environ.pop(_PARENT, None)
    if parent is None:
        return
    set_parent_death_signal(signal.SIGKILL)
    if os.getppid() != int(parent):
        os._exit(os.EX_UNAVAILABLE)


def _inherited() -> list[int]:
    """What somebody gave us, and a child of ours would get as well."""
    found = []
    # pathlib is as dear as all that is loaded here.
    for fd in map(int, os.listdir("/proc/self/fd")):  # noqa: PTH208 - as just said
        try:
            if fd > 2 and os.get_inheritable(fd):  # the standard ones are replaced
                found.append(fd)
        except OSError:
            continue  # the one by which we looked
    return found


def new_run() -> str:
    """A mark for all processes of one supervisor's life."""
    return os.urandom(8).hex()


def new_instance(name: str) -> str:
    """A name for one incarnation of the process `name`."""
    return f"{name}.{os.urandom(3).hex()}"
