"""Handing resolved settings from the supervisor to its children, who never read TOML."""

import os
import stat
from pathlib import Path

import msgspec

from novapulse.core.errors import ConfigurationInvalid
from novapulse.core.settings.loaded import Loaded
from novapulse.core.settings.sections import Settings

_OTHERS = 0o077


def dump(settings: Settings) -> bytes:
    """The tree as JSON, secrets included."""
    return msgspec.json.encode(settings)


def restore(data: bytes) -> Settings:
    """What `dump` wrote; the values were checked when they were loaded."""
    return msgspec.json.decode(data, type=Settings)


def write_handoff(loaded: Loaded, path: Path) -> None:
    """Write `loaded` for children of the same user; they see the old file or the new one."""
    unfinished = path.with_name(f".{path.name}.{os.getpid()}")
    unfinished.unlink(missing_ok=True)
    descriptor = os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(msgspec.json.encode(loaded, enc_hook=_path_to_text))
    unfinished.replace(path)


def read_handoff(path: Path) -> Loaded:
    """What `write_handoff` wrote.

    Raises:
        ConfigurationInvalid: the file is missing, damaged, or not this user's alone.
    """
    try:
        with path.open("rb") as file:
            facts = os.fstat(file.fileno())
            if facts.st_uid != os.geteuid() or stat.S_IMODE(facts.st_mode) & _OTHERS:
                raise _unusable(path, "belongs to or is open to somebody else")
            data = file.read()
    except OSError as error:
        raise _unusable(path, f"can not be read: {error.strerror}") from error
    try:
        return msgspec.json.decode(data, type=Loaded, dec_hook=_text_to_path)
    except msgspec.MsgspecError as error:
        raise _unusable(path, "is damaged") from error


def _unusable(path: Path, why: str) -> ConfigurationInvalid:
    return ConfigurationInvalid(
        f"the resolved settings {why}", where=str(path), hint="novapulse run writes this file"
    )


def _path_to_text(value: object) -> str:
    if isinstance(value, Path):
        return str(value)
    raise NotImplementedError(f"{type(value).__name__} in settings")


def _text_to_path(kind: type, value: object) -> object:
    if kind is Path and isinstance(value, str):
        return Path(value)
    raise NotImplementedError(f"{kind.__name__} in settings")
