"""Where the embedded stores keep data, sockets and secrets."""

import base64
import os
import stat
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from novapulse.core.errors import ConfigurationInvalid
from novapulse.core.secretfiles import ensure_secret_file

_LONGEST_SOCKET_PATH = 107  # sun_path has 108 bytes, one of them for the final NUL
_PASSWORD_BYTES = 32
_KEY_BYTES = 384  # 512 characters; mongod takes 6 to 1,024


class MongoRole(StrEnum):
    """The database's users, by what they are for; ADMIN only makes the others."""

    ADMIN = "admin"
    API = "api"
    WORKER = "worker"
    MIGRATE = "migrate"
    BACKUP = "backup"
    RESTORE = "restore"

    @property
    def user(self) -> str:
        return f"novapulse-{self.value}"


@dataclass(frozen=True, slots=True)
class StoreLayout:
    """Paths follow from three values; `sockets` is short and ours alone."""

    state: Path
    sockets: Path
    database: str = "novapulse"

    @property
    def mongod_data(self) -> Path:
        return self.state / "mongod"

    @property
    def redis_data(self) -> Path:
        return self.state / "redis"

    @property
    def secrets(self) -> Path:
        return self.state / "secrets"

    @property
    def mongod_socket(self) -> Path:
        return self.sockets / "mongodb.sock"

    @property
    def redis_socket(self) -> Path:
        return self.sockets / "redis.sock"

    @property
    def redis_config(self) -> Path:
        return self.sockets / "redis.conf"

    @property
    def mongod_key(self) -> Path:
        """What the members of a replica set trust each other by; a set of one needs it too."""
        return self.secrets / "mongod.key"

    @property
    def redis_password_file(self) -> Path:
        return self.secrets / "redis.password"

    def mongo_password_file(self, role: MongoRole) -> Path:
        return self.secrets / f"mongo-{role.value}.password"


def prepare_layout(layout: StoreLayout) -> None:
    """Make directories and secrets that are missing; before every start, it changes nothing else.

    Raises:
        ConfigurationInvalid: a directory is somebody else's, a secret is readable by others,
            or a path does not do for a socket.
    """
    for socket in (layout.mongod_socket, layout.redis_socket):
        _check_socket_path(socket)
    for directory in (layout.sockets, layout.mongod_data, layout.redis_data, layout.secrets):
        _make_private(directory)
    ensure_secret_file(layout.mongod_key, lambda: _random_text(_KEY_BYTES))
    for path in (layout.redis_password_file, *map(layout.mongo_password_file, MongoRole)):
        ensure_secret_file(path, lambda: _random_text(_PASSWORD_BYTES))


def _random_text(size: int) -> bytes:
    """Base64 as mongod wants it in key files; `size` is a multiple of 3 or needs padding."""
    return base64.b64encode(os.urandom(size))


def _check_socket_path(path: Path) -> None:
    if len(os.fsencode(path)) > _LONGEST_SOCKET_PATH:
        raise ConfigurationInvalid(
            f"The socket path is longer than {_LONGEST_SOCKET_PATH} bytes: {path}",
            where="the directory of the sockets",
            hint="use a shorter directory",
        )
    # mongod splits its addresses at commas and takes a colon for the start of a port.
    if not path.is_absolute() or any(sign in str(path) for sign in ",:\n\r"):
        raise ConfigurationInvalid(
            f"The socket path must be absolute and without comma and colon: {path}",
            where="the directory of the sockets",
            hint="use another directory",
        )


def _make_private(directory: Path) -> None:
    try:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        facts = directory.stat()
        if facts.st_uid == os.geteuid() and stat.S_IMODE(facts.st_mode) & 0o077:
            directory.chmod(0o700)
    except OSError as error:
        raise ConfigurationInvalid(
            f"The directory {directory} can not be made: {error.strerror}", where=str(directory)
        ) from error
    if facts.st_uid != os.geteuid():
        raise ConfigurationInvalid(
            f"The directory {directory} belongs to another user (uid {facts.st_uid})",
            where=str(directory),
            hint="run as that user, or change the owner of the whole state directory",
        )
