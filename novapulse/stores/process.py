"""A store as something to start and to ask; how that is done is the caller's business."""

import os
import signal
import socket
import struct
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

_CREDENTIALS = struct.Struct("3i")
_PR_SET_PDEATHSIG = 1

Verdict = Callable[[bytes], bool | None]


@dataclass(frozen=True, kw_only=True, slots=True)
class StoreProcess:
    """The start line and the health question of one store.

    `probe_verdict` gets all bytes of the answer so far: True it serves, False it does
    not (yet), None more bytes are needed. The question may be repeated on a connection.
    `probe_request` may hold a password.
    """

    argv: tuple[str, ...]
    env: Mapping[str, str]
    cwd: Path
    socket_path: Path
    probe_request: bytes
    probe_verdict: Verdict


def find_server(
    socket_path: Path, request: bytes, *, verdict: Verdict, timeout_seconds: float = 1.0
) -> int | None:
    """The pid of the server on this socket that says that it serves, or None.

    Whoever started a server compares: the answer may be somebody else's.
    """
    deadline = time.monotonic() + timeout_seconds
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        try:
            connection.settimeout(timeout_seconds)
            connection.connect(os.fspath(socket_path))
            connection.sendall(request)
            answer = b""
            while (serves := verdict(answer)) is None:
                connection.settimeout(max(deadline - time.monotonic(), 0.001))
                data = connection.recv(65_536)
                if not data:
                    return None
                answer += data
        except OSError:
            return None
        raw = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
    pid: int = _CREDENTIALS.unpack(raw)[0]
    return pid if serves else None


def death_with_parent() -> Callable[[], None]:
    """For a child that must not outlive the thread that starts it: to be run in it (prctl(2))."""
    import ctypes

    prctl = ctypes.CDLL(None).prctl  # looked up here: a forked child must not load libraries

    def set_death_signal() -> None:
        prctl(_PR_SET_PDEATHSIG, int(signal.SIGKILL), 0, 0, 0)

    return set_death_signal
