"""Starting one child: session, death signal, clean signals and environment, exactly its fds."""

import os
import signal
import socket
import subprocess
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from supervisor.prctl import set_parent_death_signal
from supervisor.spec import MessageReadiness, ProbeReadiness, ProcessSpec

# In every child's environment, so that even a descendant in a session of its own is found.
RUN_VARIABLE = "SUPERVISOR_RUN"


@dataclass(frozen=True, kw_only=True, slots=True)
class Spawned:
    """A child that was just started. `link` is our end, None for a foreign program."""

    pid: int
    pidfd: int
    instance: str
    link: socket.socket | None
    output: int


def spawn(
    spec: ProcessSpec, *, instance: str, listeners: Mapping[str, socket.socket], run: str
) -> Spawned:
    """Start the process of `spec` as incarnation `instance` of supervisor run `run`.

    Must be called from the main thread: the death signal follows the thread that forks.

    Raises:
        OSError: the program can not be started.
    """
    ours, theirs = _open_link(spec)
    output, child_output = os.pipe()
    try:
        shared = {name: listeners[name].fileno() for name in spec.sockets}
        variables = _variables(spec, link=theirs, shared=shared)
        variables |= {RUN_VARIABLE: run, "SUPERVISOR_INSTANCE": instance}
        fds = tuple(shared.values()) + (() if theirs is None else (theirs.fileno(),))
        os.set_blocking(output, False)
        pid, pidfd = _fork(spec, variables, fds=fds, output=child_output)
        return Spawned(pid=pid, pidfd=pidfd, instance=instance, link=ours, output=output)
    except BaseException:
        os.close(output)
        if ours is not None:
            ours.close()
        raise
    finally:
        os.close(child_output)
        if theirs is not None:
            theirs.close()


def _open_link(spec: ProcessSpec) -> tuple[socket.socket | None, socket.socket | None]:
    if isinstance(spec.readiness, ProbeReadiness):
        return None, None
    ours, theirs = socket.socketpair()
    ours.setblocking(False)
    return ours, theirs


def _variables(
    spec: ProcessSpec, *, link: socket.socket | None, shared: Mapping[str, int]
) -> dict[str, str]:
    variables = dict(spec.env)
    if link is not None:
        variables["SUPERVISOR_LINK_FD"] = str(link.fileno())
    if isinstance(spec.readiness, MessageReadiness):
        variables["SUPERVISOR_BEAT_SECONDS"] = str(spec.readiness.heartbeat_seconds)
    if shared:
        pairs = (f"{name}={fd}" for name, fd in shared.items())
        variables["SUPERVISOR_LISTEN_FDS"] = ",".join(pairs)
    return variables


def _fork(
    spec: ProcessSpec, variables: Mapping[str, str], *, fds: tuple[int, ...], output: int
) -> tuple[int, int]:
    try:
        process = subprocess.Popen(
            spec.argv,
            env=variables,
            cwd=spec.cwd,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            pass_fds=fds,
            start_new_session=True,
            preexec_fn=_preparation(os.getpid()),  # noqa: PLW1509 - a supervisor has one thread
        )
    except subprocess.SubprocessError as error:
        raise OSError(f"could not prepare the child: {error}") from error
    # We reap it ourselves, by its pidfd; Popen shall neither wait nor complain.
    process.returncode = 0
    try:
        return process.pid, os.pidfd_open(process.pid)
    except OSError:  # out of file descriptors: a child that we can not watch must not be
        kill_group(process.pid)
        os.waitpid(process.pid, 0)
        raise


def _preparation(supervisor: int) -> Callable[[], None]:
    resettable = signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP}

    def prepare() -> None:
        # Until exec a signal to the child would wake the supervisor's loop through the shared fd.
        signal.set_wakeup_fd(-1)
        set_parent_death_signal(signal.SIGKILL)
        if os.getppid() != supervisor:
            os._exit(os.EX_UNAVAILABLE)
        # Ignored signals survive exec (nohup, a shell's `&`), and so does the mask.
        for number in resettable:
            signal.signal(number, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_SETMASK, ())

    return prepare


def kill_group(pid: int) -> None:
    """SIGKILL to the group that `pid` leads; the leader must not be reaped yet."""
    try:
        os.killpg(pid, signal.SIGKILL)
    except (ProcessLookupError, PermissionError):
        pass


def send_signal(pidfd: int, number: int) -> None:
    """Signal one child; that it has just ended is fine."""
    try:
        signal.pidfd_send_signal(pidfd, number)
    except (ProcessLookupError, PermissionError):
        pass


def exit_reason(code: int) -> str:
    """`exit 78` or `killed by SIGKILL`; `code` is negative for a signal."""
    if code >= 0:
        return f"exit {code}"
    try:
        return f"killed by {signal.Signals(-code).name}"
    except ValueError:
        return f"killed by signal {-code}"
