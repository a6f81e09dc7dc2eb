"""A fork server: a child that has loaded the program once, and is forked into its siblings.

The supervisor orders over the fork server's link, as one line with the new child's
descriptors beside it. The fork server forks twice, so that the supervisor, as the nearest
subreaper, becomes the new child's parent: it reaps it as any other, and a fork server that
ends takes nobody along. The new child says its pid and does nothing before it is let go;
so none lives that the supervisor does not know.
"""

import gc
import os
import signal
import socket
import time
from collections.abc import Iterable, Mapping, MutableMapping
from dataclasses import dataclass
from select import POLLIN, poll
from typing import Any

from supervisor.child import Link, descriptor_variables
from supervisor.lines import LineBuffer, decode_frame, encode_frame
from supervisor.prctl import set_command_line, set_parent_death_signal

# A fork takes milliseconds; who needs longer than this stands still.
_PATIENCE_SECONDS = 2.0
_ORDER_LIMIT_BYTES = 64 * 1024
_MOST_DESCRIPTORS = 64
_REPARENTING_SECONDS = 0.0005
# Whoever waits for an offer orders at once.
_OFFER_SECONDS = 0.05
_GO = b"go"


class ForkFailed(Exception):
    """The fork server made no child; the message says why."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Order:
    """A child to be made: `argv` is what it would be without a fork server."""

    argv: tuple[str, ...]
    env: Mapping[str, str]
    cwd: str | None
    output: int
    link: int | None
    listeners: Mapping[str, int]

    @property
    def descriptors(self) -> list[int]:
        link = [] if self.link is None else [self.link]
        return [self.output, *link, *self.listeners.values()]

    def frame(self) -> bytes:
        """What is sent beside the descriptors."""
        fork = {
            "argv": self.argv,
            "env": dict(self.env),
            "cwd": self.cwd,
            "supervisor": os.getpid(),
            "hasLink": self.link is not None,
            "listeners": list(self.listeners),
        }
        return encode_frame({"fork": fork})


def order_fork(server: socket.socket, order: Order) -> tuple[int, int]:
    """Have the fork server at the other end of `server` make a child: its pid and a pidfd.

    Raises:
        ForkFailed: there is no child, and will be none.
    """
    ours, theirs = socket.socketpair()
    with ours:
        try:
            with theirs:
                frame = order.frame()
                descriptors = [theirs.fileno(), *order.descriptors]
                if socket.send_fds(server, [frame], descriptors) < len(frame):
                    raise ForkFailed("the fork server does not read")
            ours.settimeout(_PATIENCE_SECONDS)
            pid = int(ours.recv(32))
            pidfd = os.pidfd_open(pid)
        except (OSError, ValueError) as error:
            raise ForkFailed(f"the fork server made no child: {error}") from error
        try:
            ours.send(_GO)
        except OSError:
            pass  # it was killed just now, which its pidfd tells
        return pid, pidfd


def serve(
    link: Link, *, offers: Iterable[str] = (), rest: Iterable[object] = ()
) -> tuple[str, ...] | None:
    """Fork as the supervisor orders, from a process that has loaded what its children need.

    Children of the roles `offers` can be forked at once, all others when what is left to
    load is: each turn of `rest` loads a part of it.

    Returns as fork does: None in the fork server when the supervisor is gone, and in each
    child the `argv` that it is to be, with the child's own environment and descriptors.
    There must be no other thread, no event loop and no connection yet.
    """
    gc.disable()  # what is loaded stays for good: to look at it would only unshare its pages
    server = _Server(link)
    argv = server.load(offers, rest) or server.run()
    gc.enable()
    return argv


class _Server:
    def __init__(self, link: Link) -> None:
        self._link = link
        self._lines = LineBuffer(_ORDER_LIMIT_BYTES)
        self._descriptors: list[int] = []

        self._waiting = poll()
        self._waiting.register(link.fileno(), POLLIN)
        self._is_over = False

    def load(self, offers: Iterable[str], rest: Iterable[object]) -> tuple[str, ...] | None:
        """Load the `rest`, and between two parts of it fork whom we offered."""
        if roles := list(offers):
            self._link.offer(roles)
            if argv := self._turn(_OFFER_SECONDS):
                return argv
        for _ in rest:
            if argv := self._turn(0):
                return argv
        self._link.ready()
        return None

    def run(self) -> tuple[str, ...] | None:
        while not self._is_over:
            if argv := self._turn(self._link.beat_seconds):
                return argv
            self._link.beat()
        return None

    def _turn(self, seconds: float) -> tuple[str, ...] | None:
        """Wait for so long at most, and obey what has come; in a child its `argv`."""
        if not self._waiting.poll(seconds * 1000):
            return None
        lines = self._receive()
        self._is_over = lines is None
        for line in lines or ():
            message = decode_frame(line)
            if "fork" not in message:
                self._link.took(message)
            elif (argv := self._obey(message["fork"])) is not None:
                return argv
        return None

    def _receive(self) -> list[bytes] | None:
        try:
            data, descriptors, _flags, _sender = socket.recv_fds(
                self._link.connection, _ORDER_LIMIT_BYTES, _MOST_DESCRIPTORS, _CLOSE_ON_EXEC
            )
        except BlockingIOError:
            return []
        except OSError:
            return None
        self._descriptors += descriptors
        return self._lines.feed(data) if data else None

    def _obey(self, fork: Any) -> tuple[str, ...] | None:
        """Fork a child; its `argv` in that child, None in the fork server."""
        descriptors, self._descriptors = self._descriptors, []
        gc.freeze()
        go_between = _fork_away()
        if go_between is None:
            for descriptor in descriptors:
                os.close(descriptor)
            return None
        self._link.close()
        _enter(fork, descriptors, go_between=go_between)
        return tuple(fork["argv"])


# Python leaves what a socket brings inheritable, unless it is asked not to.
_CLOSE_ON_EXEC = socket.MSG_CMSG_CLOEXEC


def _fork_away() -> int | None:
    """Fork a child that is not ours: in it the pid of who went between, None in ourselves."""
    pid = os.fork()
    if pid:
        os.waitpid(pid, 0)
        return None
    go_between = os.getpid()
    try:
        if os.fork() == 0:
            return go_between
    except OSError:
        pass  # the supervisor sees that nobody answers
    os._exit(0)


def _enter(fork: Any, descriptors: list[int], *, go_between: int) -> None:
    """Become what a child of the supervisor's own fork and exec would be."""
    os.setsid()
    while os.getppid() == go_between:
        time.sleep(_REPARENTING_SECONDS)
    set_parent_death_signal(signal.SIGKILL)
    if os.getppid() != fork["supervisor"]:
        os._exit(os.EX_UNAVAILABLE)
    answer, output, *handed = descriptors
    null = os.open(os.devnull, os.O_RDONLY)
    for source, target in ((null, 0), (output, 1), (output, 2)):
        os.dup2(source, target)
    os.close(null)
    os.close(output)
    link = handed.pop(0) if fork["hasLink"] else None
    listeners = dict(zip(fork["listeners"], handed, strict=True))
    _replace_environment(os.environ, {**fork["env"], **descriptor_variables(link, listeners)})
    if fork["cwd"] is not None:
        os.chdir(fork["cwd"])
    set_command_line(fork["argv"])
    _await_release(answer)


def _replace_environment(environ: MutableMapping[str, str], variables: Mapping[str, str]) -> None:
    environ.clear()
    environ.update(variables)


def _await_release(answer: int) -> None:
    with socket.socket(fileno=answer) as supervisor:
        try:
            supervisor.send(b"%d" % os.getpid())
            is_wanted = supervisor.recv(len(_GO)) == _GO
        except OSError:
            is_wanted = False
    if not is_wanted:
        os._exit(os.EX_UNAVAILABLE)
