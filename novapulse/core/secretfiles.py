"""Secrets in files: made once, readable by their owner alone.

What a secret means (a key ring, a password) is known to the module that asks.
"""

import os
import secrets
import stat
from collections.abc import Callable
from pathlib import Path

from novapulse.core.errors import ConfigurationInvalid

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


def _create(path: Path, content: bytes) -> None:
    """Write beside `path`, then link: unlike a rename it never replaces the winner's file."""
    partial = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
    try:
        with open(os.open(partial, flags, 0o600), "wb") as file:
            os.fchmod(file.fileno(), 0o600)  # the umask may have taken the owner's bits
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        try:
            os.link(partial, path)
        except FileExistsError:
            pass  # somebody else was first; theirs is the secret
    finally:
        partial.unlink(missing_ok=True)
    _sync_directory(path.parent)


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
