"""Secrets in files: made once, readable by their owner alone.

What a secret means (a key ring, a password) is known to the module that asks.
A secret that can be rotated is watched: whoever replaces its file is noticed.
"""

import fcntl
import os
import secrets
import stat
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Generic, TypeVar

from novapulse.core.errors import AlreadyRunning, ConfigurationInvalid
from novapulse.core.rights import acting_user

T = TypeVar("T")
# How long a running process may go on with what was replaced.
REREAD_SECONDS = 2.0
_LARGEST_BYTES = 1 << 20
_BEYOND_OWNER = 0o177  # everything that 0600 does not have
_BEYOND_SERVICE = 0o027  # writable by the group, or anything for others


def read_secret_file(path: Path) -> bytes:
    """The file's bytes as they are, a final newline included.

    Raises:
        FileNotFoundError: there is no such file.
        ConfigurationInvalid: others may read it, it is empty, or it can not be read.
    """
    try:
        # Without O_NONBLOCK a named pipe would keep us waiting here for its writer.
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        with open(descriptor, "rb") as file:
            _check_privacy(path, os.fstat(descriptor))
            content = file.read(_LARGEST_BYTES)
    except FileNotFoundError:
        raise
    except PermissionError as error:
        user = acting_user()
        hint = f"{user} reads it: chown {user} {path}, in a directory that this user may enter"
        raise _unusable(path, f"can not be read: {error.strerror}", hint) from error
    except OSError as error:
        raise _unusable(path, f"can not be read: {error.strerror}") from error
    if not content:
        raise _unusable(path, "is empty", hint="restore it from a backup")
    return content


def ensure_secret_file(path: Path, make: Callable[[], bytes]) -> bytes:
    """The secret in `path`; when there is none yet, what `make` returns becomes it.

    Of several processes that come first at once one wins and all get its
    secret. A crash leaves the whole secret or none.

    Raises:
        ConfigurationInvalid: as `read_secret_file`, or the file can not be written.
    """
    try:
        return read_secret_file(path)
    except FileNotFoundError:
        pass
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        _create(path, make())
    except OSError as error:
        raise _unusable(path, f"can not be written: {error.strerror}") from error
    return read_secret_file(path)


def replace_secret_file(path: Path, content: bytes) -> None:
    """Put other content into an existing file: a crash leaves the old one or the new one, whole.

    It stays its owner's, also when root replaces it. Raises ConfigurationInvalid
    when it can not be written.
    """
    try:
        owner = path.stat()
        with _written_beside(path, content) as partial:
            if (owner.st_uid, owner.st_gid) != (os.geteuid(), os.getegid()):
                os.chown(partial, owner.st_uid, owner.st_gid)
            partial.replace(path)
        _sync_directory(path.parent)
    except OSError as error:
        raise _unusable(path, f"can not be replaced: {error.strerror}") from error


@contextmanager
def hold(directory: Path) -> Iterator[None]:
    """Be the only one who replaces secrets in there; the kernel lets go when we end.

    Raises:
        AlreadyRunning: somebody else is at it.
        ConfigurationInvalid: there is no such directory.
    """
    try:
        descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError as error:
        raise _unusable(directory, f"can not be opened: {error.strerror}") from error
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise AlreadyRunning("Somebody else is rotating keys here") from error
        yield
    finally:
        os.close(descriptor)


class WatchedSecret(Generic[T]):
    """What a secret file says by now; one that turns bad is logged, and the former word counts."""

    def __init__(
        self,
        path: Path,
        read: Callable[[Path], T],
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Reads the file; raises what `read` raises."""
        self._path = path
        self._read = read
        self._clock = clock
        self._looked = clock()
        self._content = read(path)
        # Of no moment: the first look reads once more, in case it was just replaced.
        self._stamp: object = None

    def recent(self) -> T:
        """As it was at most `REREAD_SECONDS` ago."""
        if self._clock() - self._looked >= REREAD_SECONDS:
            return self.newest()
        return self._content

    def newest(self) -> T:
        """As it is now; looking costs microseconds while nothing changed."""
        self._looked = self._clock()
        stamp = _stamp(self._path)
        if stamp != self._stamp:
            self._stamp = stamp
            try:
                self._content = self._read(self._path)
            except (OSError, ConfigurationInvalid) as error:
                # Not at the top: the supervisor imports this module and stays small.
                import structlog

                log = structlog.get_logger("secrets")
                log.error("secrets.unreadable", file=self._path.name, error=str(error))
        return self._content


def _stamp(path: Path) -> object:
    """What differs when a file was replaced or made readable again."""
    try:
        facts = path.stat()
    except OSError as error:
        return error.errno
    return facts.st_ino, facts.st_size, facts.st_mtime_ns, facts.st_ctime_ns


def _create(path: Path, content: bytes) -> None:
    """Write beside `path`, then link: unlike a rename it never replaces the winner's file."""
    with _written_beside(path, content) as partial:
        try:
            os.link(partial, path)
        except FileExistsError:
            pass  # somebody else was first; theirs is the secret
    _sync_directory(path.parent)


@contextmanager
def _written_beside(path: Path, content: bytes) -> Iterator[Path]:
    """A private file with the content, on the disk; it is gone afterwards unless it was moved."""
    partial = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
    try:
        with open(os.open(partial, flags, 0o600), "wb") as file:
            os.fchmod(file.fileno(), 0o600)  # the umask may have taken the owner's bits
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        yield partial
    finally:
        partial.unlink(missing_ok=True)


def _sync_directory(directory: Path) -> None:
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _check_privacy(path: Path, facts: os.stat_result) -> None:
    if not stat.S_ISREG(facts.st_mode):
        raise _unusable(path, "is not a regular file")
    credentials = os.environ.get("CREDENTIALS_DIRECTORY")
    if credentials and _is_inside(path, credentials):
        _check_credentials(path, Path(credentials))
    elif facts.st_mode & _BEYOND_OWNER:
        mode = stat.S_IMODE(facts.st_mode)
        raise _unusable(path, f"has mode {mode:04o}, wider than 0600", hint=f"chmod 600 {path}")


def _is_inside(path: Path, directory: str) -> bool:
    return Path(os.path.realpath(directory)) in Path(os.path.realpath(path)).parents


def _check_credentials(path: Path, directory: Path) -> None:
    """systemd lets the service in by an ACL, which makes its files look like 0440."""
    facts = directory.stat()
    if facts.st_mode & _BEYOND_SERVICE or facts.st_uid not in (0, os.geteuid()):
        mode = stat.S_IMODE(facts.st_mode)
        raise _unusable(path, f"is in {directory}, which others can reach into (mode {mode:04o})")


def _unusable(path: Path, what: str, hint: str = "") -> ConfigurationInvalid:
    return ConfigurationInvalid(f"The secret file {path} {what}", where=str(path), hint=hint)
