"""Reading a backup through before anything else is done with it: is it whole, and whose is it?"""

import base64
import binascii
import hashlib
from dataclasses import dataclass
from pathlib import Path

import msgspec

from novapulse.backup.archive import read_members
from novapulse.backup.model import (
    FORMAT,
    MANIFEST,
    SEAL,
    SECRETS,
    BackupDamaged,
    Manifest,
    WrongPassphrase,
)
from novapulse.backup.rows import Tally, unpack
from novapulse.backup.sealing import Lock, Recipe

_CLOSING = (MANIFEST, SEAL)


class _Seal(msgspec.Struct, frozen=True):
    recipe: Recipe
    mac: str


class _Bundle(msgspec.Struct, frozen=True):
    keys: dict[str, str]
    config: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Examined:
    """A backup that is whole; `keys` are None where they were left out or stay closed."""

    path: Path
    passphrase: bytes | None
    manifest: Manifest
    config: str
    keys: dict[str, bytes] | None


def examine(path: Path, passphrase: bytes | None) -> Examined:
    """Read it through: every member, its rows, and, with a passphrase, its seal and secrets.

    Raises:
        BackupDamaged: not one byte is as it was written.
        WrongPassphrase: it is another one's, or there is none for an encrypted backup.
    """
    found = _Reading(path, passphrase)
    manifest = found.manifest()
    if found.digests != manifest.members:
        differing = sorted(found.digests.items() ^ manifest.members.items())
        raise BackupDamaged(f"{path.name} is damaged at {differing[0][0]}")
    for rows in manifest.collections:
        tally = found.tallies.get(rows.name, Tally())
        if not tally.matches(rows):
            raise BackupDamaged(f"{path.name}: the rows of {rows.name} are not those counted")
    bundle = found.bundle(manifest)
    return Examined(
        path=path,
        passphrase=passphrase,
        manifest=manifest,
        config=bundle.config if bundle else found.small["config.toml"].decode(),
        keys=_keys(bundle) if bundle else None,
    )


class _Reading:
    """One walk through all members."""

    def __init__(self, path: Path, passphrase: bytes | None) -> None:
        self._path = path
        self._passphrase = passphrase
        self.digests: dict[str, str] = {}
        self.tallies: dict[str, Tally] = {}
        self.small: dict[str, bytes] = {}
        for name, data in read_members(path, passphrase):
            if name in self.digests or name in self.small:
                raise BackupDamaged(f"{path.name} has {name} twice")
            if name not in _CLOSING:
                self.digests[name] = hashlib.sha256(data).hexdigest()
            if name.startswith("data/"):
                self._count(name, data)
            else:
                self.small[name] = data

    def _count(self, name: str, data: bytes) -> None:
        tally = self.tallies.setdefault(name.split("/")[1], Tally())
        tally.take(unpack(data, most=_LARGEST_PART))

    def manifest(self) -> Manifest:
        text = self.small.get(MANIFEST)
        if text is None:
            raise BackupDamaged(f"{self._path.name} has no end: it was cut off, or is no backup")
        try:
            plain = msgspec.json.decode(text)
            if not isinstance(plain, dict) or plain.get("format") != FORMAT:
                raise BackupDamaged(
                    f"{self._path.name} is of a kind that this program can not read"
                )
            return msgspec.convert(plain, Manifest)
        except (msgspec.DecodeError, msgspec.ValidationError) as error:
            raise BackupDamaged(f"The manifest of {self._path.name} is damaged") from error

    def bundle(self, manifest: Manifest) -> _Bundle | None:
        """The secrets, if there are some and we have the passphrase."""
        if (SEAL in self.small) != (manifest.secrets == "sealed"):
            raise BackupDamaged(f"The seal of {self._path.name} is missing")
        if self._passphrase is None:
            return None
        if manifest.secrets != "sealed":
            raise WrongPassphrase(f"{self._path.name} was not sealed by any passphrase")
        try:
            seal = msgspec.json.decode(self.small[SEAL], type=_Seal)
            lock = Lock.matching(seal.recipe, self._passphrase)
            if lock.sign(self.small[MANIFEST], MANIFEST) != seal.mac:
                raise BackupDamaged(f"The manifest of {self._path.name} was changed")
            return msgspec.json.decode(lock.open(self.small[SECRETS], SECRETS), type=_Bundle)
        except (msgspec.DecodeError, KeyError) as error:
            raise BackupDamaged(f"The seal of {self._path.name} is damaged") from error


def _keys(bundle: _Bundle) -> dict[str, bytes]:
    try:
        return {name: base64.b64decode(text) for name, text in bundle.keys.items()}
    except binascii.Error as error:
        raise BackupDamaged("The secrets of the backup are damaged") from error


# 4 MiB of rows, and one more that may be of 16 MiB; unpacking stops there.
_LARGEST_PART = 24 << 20
