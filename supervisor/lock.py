"""One supervisor for one state directory: a lock file that the kernel releases with its holder."""

import fcntl
import json
import os
import time
from pathlib import Path


class AlreadyRunning(Exception):
    """Another process holds the lock; `pid` and `since` are what it wrote down, if readable."""

    def __init__(self, path: Path, pid: int | None, since: str | None) -> None:
        self.path = path
        self.pid = pid
        self.since = since
        who = f"pid {pid}" if pid else "another process"
        super().__init__(f"{path} is held by {who}" + (f" since {since}" if since else ""))


class InstanceLock:
    """Held from `acquire` to `release` or the end of the process, however it ends.

    The file stays: removing it would let two newcomers lock two files of one name.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._fd: int | None = None

    @property
    def is_held(self) -> bool:
        return self._fd is not None

    def acquire(self) -> None:
        """Take the lock and write down who holds it; already held by us is fine.

        Raises:
            AlreadyRunning: somebody else holds it.
        """
        if self._fd is not None:
            return
        fd = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            since = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
            os.ftruncate(fd, 0)
            os.pwrite(fd, json.dumps({"pid": os.getpid(), "since": since}).encode() + b"\n", 0)
        except BlockingIOError:
            pid, since_text = _read_holder(fd)
            os.close(fd)
            raise AlreadyRunning(self.path, pid, since_text) from None
        except BaseException:
            os.close(fd)
            raise
        self._fd = fd

    def release(self) -> None:
        if self._fd is not None:
            os.ftruncate(self._fd, 0)
            os.close(self._fd)
            self._fd = None


def _read_holder(fd: int) -> tuple[int | None, str | None]:
    try:
        holder = json.loads(os.pread(fd, 4096, 0))
        return int(holder["pid"]), str(holder["since"])
    except (ValueError, KeyError, TypeError):
        return None, None
