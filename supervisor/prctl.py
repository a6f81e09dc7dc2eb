"""The few Linux process attributes that Python does not offer."""

import ctypes
import os
import signal

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
