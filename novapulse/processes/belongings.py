"""What a backup holds besides the data: key files and the configuration, and their way back."""

import os
import re
from collections.abc import Mapping
from pathlib import Path

import msgspec

from novapulse.backup.dump import Companions
from novapulse.backup.model import BackupDamaged
from novapulse.core.clock import system_clock
from novapulse.core.crypto import KeyFile, read_key_file
from novapulse.core.errors import ConfigurationInvalid, Unavailable
from novapulse.core.secretfiles import ensure_secret_file, read_secret_file
from novapulse.core.settings import Loaded
from novapulse.core.settings.locate import locate_keys
from novapulse.core.settings.redact import shown
from novapulse.core.settings.tree import DECLARATIONS, values_of
from novapulse.processes import places
from novapulse.stores.layout import MongoRole

_KEY_NAME = re.compile(r"[a-z][a-z0-9-]{0,59}(\.[a-z]{1,10})?")


class KeysGone(ConfigurationInvalid):
    """What is sealed in a backup would stay closed."""


class Belongings:
    """Of one installation. Keys are looked at twice: before and after the moment is fixed.

    A key that was made in between sealed rows of the moment, and one that left the file
    in between may have, too.
    """

    def __init__(self, loaded: Loaded) -> None:
        """Raises ConfigurationInvalid when a key file is not usable."""
        self._loaded = loaded
        self._former = _data_keys(loaded)

    def companions(self) -> Companions:
        keys = {path.name: read_secret_file(path) for path in _key_files(self._loaded)}
        ring = _data_keys(self._loaded)
        if ring is not None and self._former is not None:
            ring = msgspec.structs.replace(ring, keys={**self._former.keys, **ring.keys})
            keys[places.data_key_file(self._loaded).name] = msgspec.json.encode(ring)
        config = _config_text(self._loaded.paths.config_file)
        return Companions(
            keys=keys,
            key_ids=tuple(ring.keys) if ring is not None else (),
            config=config,
            shown_config=_without_passwords(config, self._loaded),
        )


def require_keys(loaded: Loaded, key_ids: list[str], *, where: str) -> None:
    """Raises KeysGone unless the installation's own keys open what these sealed."""
    ring = _data_keys(loaded)
    missing = set(key_ids) - set(ring.keys if ring is not None else ())
    if missing:
        raise KeysGone(
            f"The keys {', '.join(sorted(missing))} are not here, and not in the backup",
            where=where,
            hint="put state/secrets of the old installation in place first, or name the passphrase "
            "file; with --without-keys second factors and webhook secrets are lost",
        )


def install_keys(loaded: Loaded, keys: Mapping[str, bytes]) -> None:
    """Put key files in place; others of the same names are kept beside them."""
    directory = places.secrets_directory(loaded)
    for name, data in keys.items():
        if not _KEY_NAME.fullmatch(name) or name in _own_names(loaded):
            raise BackupDamaged(f"{name!r} is no key file of ours")
        path = directory / name
        if path.exists() and path.read_bytes() != data:
            stamp = system_clock().strftime("%Y%m%dT%H%M%S")
            path.rename(path.with_name(f"{name}.before-{stamp}"))
        ensure_secret_file(path, lambda data=data: data)  # type: ignore[misc]  # bound at once


def install_config(path: Path, text: str) -> bool:
    """Write the configuration where there is none; whether it was written."""
    if path.exists() or not text:
        return False
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
        partial = path.with_name(f".{path.name}.{os.getpid()}")
        with open(os.open(partial, flags, 0o600), "w", encoding="utf-8") as file:
            file.write(text)
        partial.rename(path)
    except OSError as error:
        raise Unavailable(f"{path} can not be written: {error.strerror}") from error
    return True


def _data_keys(loaded: Loaded) -> KeyFile | None:
    try:
        return read_key_file(places.data_key_file(loaded))
    except FileNotFoundError:
        return None


def _key_files(loaded: Loaded) -> list[Path]:
    """Secrets that open or sign what is in the database, not those of this machine's stores."""
    directory = places.secrets_directory(loaded)
    own = _own_names(loaded)
    return [
        path
        for path in sorted(directory.iterdir() if directory.is_dir() else ())
        if path.is_file() and _KEY_NAME.fullmatch(path.name) and path.name not in own
    ]


def _own_names(loaded: Loaded) -> set[str]:
    layout = places.layout(loaded)
    files = (layout.mongod_key, layout.redis_password_file, places.setup_token_file(loaded))
    passwords = (layout.mongo_password_file(role) for role in MongoRole)
    return {path.name for path in (*files, *passwords)}


def _config_text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except FileNotFoundError:
        return ""


def _without_passwords(text: str, loaded: Loaded) -> str:
    """The configuration without the lines of values that are not for everybody."""
    values = values_of(loaded.settings)
    hidden = {
        name
        for name, declaration in DECLARATIONS.items()
        if shown(declaration, values[name]) != values[name]
    }
    lines = text.splitlines(keepends=True)
    for name, line in locate_keys(text).items():
        if name in hidden:
            lines[line - 1] = f"# {name.rpartition('.')[2]} was left out: it holds a password\n"
    return "".join(lines)
