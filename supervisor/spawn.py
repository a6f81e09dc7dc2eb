"""Starting one child: session, death signal, clean signals and environment, exactly its fds."""

import os
import signal
import socket
import subprocess
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from supervisor.child import descriptor_variables
from supervisor.forkserver import ForkFailed, Order
from supervisor.headstart import RUN_VARIABLE
from supervisor.prctl import set_parent_death_signal
from supervisor.spec import MessageReadiness, ProbeReadiness, ProcessSpec


@dataclass(frozen=True, kw_only=True, slots=True)
class Spawned:
    """A child that was just started. `link` is our end, None for a foreign program."""

    pid: int
    pidfd: int
    instance: str
    link: socket.socket | None
    output: int


# Has a fork server make the child: its pid and a pidfd, or ForkFailed.
Fork = Callable[[Order], tuple[int, int]]


def spawn(
    spec: ProcessSpec,
    *,
    instance: str,
    listeners: Mapping[str, socket.socket],
    run: str,
    fork: Fork | None = None,
) -> Spawned:
    """Start the process of `spec` as incarnation `instance` of supervisor run `run`.

    By `fork`, or by executing its `argv` when there is none or it fails. Must be called
    from the main thread: the death signal follows the thread that forks.

    Raises:
        OSError: the program can not be started.
    """
    ours, theirs = _open_link(spec)
    output, child_output = os.pipe()
    try:
        variables = {**_variables(spec), RUN_VARIABLE: run, "SUPERVISOR_INSTANCE": instance}
        order = Order(
            argv=spec.argv,
            env=variables,
            cwd=None if spec.cwd is None else str(spec.cwd),
            output=child_output,
            link=None if theirs is None else theirs.fileno(),
            listeners={name: listeners[name].fileno() for name in spec.sockets},
        )
        os.set_blocking(output, False)
        pid, pidfd = _start(order, fork)
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


def _variables(spec: ProcessSpec) -> dict[str, str]:
    variables = dict(spec.env)
    if isinstance(spec.readiness, MessageReadiness):
        variables["SUPERVISOR_BEAT_SECONDS"] = str(spec.readiness.heartbeat_seconds)
    return variables


def _start(order: Order, fork: Fork | None) -> tuple[int, int]:
    if fork is not None:
        try:
            return fork(order)
        except ForkFailed:
            pass  # its own end is told of; a child that is needed now does not wait for that
    return _execute(order)


def _execute(order: Order) -> tuple[int, int]:
    try:
        process = subprocess.Popen(
            order.argv,
            env={**order.env, **descriptor_variables(order.link, order.listeners)},
            cwd=order.cwd,
            stdin=subprocess.DEVNULL,
            stdout=order.output,
            stderr=order.output,
            pass_fds=order.descriptors[1:],
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
