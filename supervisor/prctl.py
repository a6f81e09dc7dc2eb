"""The few Linux process attributes that Python does not offer."""

import ctypes
import os
import signal
from collections.abc import Iterable
from pathlib import Path

_PR_SET_PDEATHSIG = 1
_PR_SET_NAME = 15
_PR_SET_CHILD_SUBREAPER = 36

# Looked up once and before any fork: a forked child must not load libraries.
_prctl = ctypes.CDLL(None, use_errno=True).prctl
_prctl.argtypes = [ctypes.c_int] + [ctypes.c_ulong] * 4
_prctl.restype = ctypes.c_int


def _set(option: int, value: int) -> None:
    if _prctl(option, value, 0, 0, 0) != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"prctl({option}): {os.strerror(number)}")


def set_parent_death_signal(number: int = signal.SIGKILL) -> None:
    """Have the kernel send us `number` when the thread that started us ends (prctl(2)).

    Does not cover a parent that is already gone: compare getppid() afterwards.
    """
    _set(_PR_SET_PDEATHSIG, number)


def become_subreaper() -> None:
    """Adopt descendants whose parent ends, instead of leaving them to init."""
    _set(_PR_SET_CHILD_SUBREAPER, 1)


def set_process_name(name: str) -> None:
    """What `ps` and `top` show; cut by the kernel to 15 bytes."""
    buffer = ctypes.create_string_buffer(name.encode())
    _set(_PR_SET_NAME, ctypes.addressof(buffer))


def set_command_line(argv: Iterable[str]) -> None:
    """What `ps` shows as our start line; cut to the room that the real one took."""
    # arg_start and arg_end of proc(5); the name before them may hold spaces and brackets.
    fields = Path("/proc/self/stat").read_bytes().rpartition(b")")[2].split()
    start, end = int(fields[45]), int(fields[46])
    if start == 0 or end <= start:
        return
    # The last byte stays 0: otherwise the kernel takes the environment behind it for more.
    text = b"\0".join(map(os.fsencode, argv))[: end - start - 1]
    ctypes.memset(start, 0, end - start)
    ctypes.memmove(start, text, len(text))
