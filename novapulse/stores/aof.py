"""What to do about an append-only file that Redis can not read: keep it, but elsewhere.

The judge is redis-server itself, in a start that serves nobody: it alone knows every
format of its releases, and what it can mend by itself (a cut-off end).
"""

import os
import select
import subprocess
import tempfile
import time
from pathlib import Path
from typing import IO

from novapulse.core.clock import system_clock
from novapulse.stores.find import clean_environment
from novapulse.stores.layout import StoreLayout
from novapulse.stores.process import death_with_parent

_NAMES = ("appendonly.aof", "appendonlydir")  # up to Redis 6, from Redis 7 on
_TRIAL_SOCKET = "redis-trial.sock"
_TRIAL_SECONDS = 30.0
_LOADED = b"eady to accept connections"


def move_damaged_aof(layout: StoreLayout, program: Path) -> tuple[Path, ...]:
    """Where the unreadable append-only file is now (`*.corrupt-<time>`), or nothing.

    The configuration must be written already. A file that takes longer than
    30 s to load is taken for sound.
    """
    present = [path for name in _NAMES if (path := layout.redis_data / name).exists()]
    if not present or _starts(layout, program, layout.redis_data):
        return ()
    with tempfile.TemporaryDirectory(prefix="trial-", dir=layout.redis_data) as empty:
        if not _starts(layout, program, Path(empty)):
            return ()  # not the file's fault; the start itself will tell the reason
    stamp = f"{system_clock():%Y%m%dT%H%M%S.%fZ}"
    return tuple(path.rename(f"{path}.corrupt-{stamp}") for path in present)


def _starts(layout: StoreLayout, program: Path, data: Path) -> bool:
    """Whether redis-server gets as far as serving with what is in `data`."""
    listening = layout.sockets / _TRIAL_SOCKET
    argv = [str(program), str(layout.redis_config)]
    argv += ["--dir", str(data), "--unixsocket", str(listening)]
    try:
        with subprocess.Popen(
            argv,
            env=clean_environment(),
            cwd=layout.redis_data,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            preexec_fn=death_with_parent(),  # noqa: PLW1509 - only a system call
        ) as trial:
            try:
                return trial.stdout is not None and _gets_loaded(trial.stdout)
            finally:
                trial.kill()  # it wrote nothing; an ordered stop would take longer
    except OSError:
        return False
    finally:
        listening.unlink(missing_ok=True)


def _gets_loaded(output: IO[bytes]) -> bool:
    deadline = time.monotonic() + _TRIAL_SECONDS
    said = b""
    while (rest := deadline - time.monotonic()) > 0:
        if not select.select([output], [], [], rest)[0]:
            break
        data = os.read(output.fileno(), 65_536)
        if not data:
            return False
        said = said[-len(_LOADED) :] + data
        if _LOADED in said:
            return True
    return True
