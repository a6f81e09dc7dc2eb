"""The data key ring: seals what the database must not be able to read.

AES-256-GCM with a random nonce. The associated data binds a sealed value to
its place (collection, id, field, company) and key, so that swapped ciphertexts
do not open. A ring from a file follows that file: a rotation needs no restart.
"""

import base64
import binascii
import hmac
import os
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import msgspec
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from novapulse.core.errors import ConfigurationInvalid
from novapulse.core.secretfiles import (
    WatchedSecret,
    ensure_secret_file,
    read_secret_file,
    replace_secret_file,
)

_NONCE_BYTES = 12
KEY_BYTES = 32
_LOST = "Put the old key file back, or restore it from a backup"


class Unsealable(ConfigurationInvalid):
    """A sealed value does not open: another key ring, or the row was tampered with."""

    code = "unsealable"


@dataclass(frozen=True, slots=True)
class Place:
    """Where a sealed value stands; it opens nowhere else."""

    collection: str
    id: str
    field: str
    company_id: str = ""

    def associated_data(self, key_id: str) -> bytes:
        parts = (self.collection, self.id, self.field, self.company_id, key_id)
        return "\0".join(parts).encode()


class KeyFile(msgspec.Struct, frozen=True, omit_defaults=True):
    """The file's content: the key that seals, and every key that still opens.

    `rotating_since` is there while values of former keys may be left.
    """

    current: str
    keys: dict[str, bytes]
    rotating_since: datetime | None = None


class KeyRing:
    """Seals by its current key and opens by every one that it ever had.

    What a process holds in its memory may be sealed by a key that has left the
    file meanwhile: a ring forgets no key before its process ends.
    """

    def __init__(
        self, current: str, keys: dict[str, bytes], *, watched: WatchedSecret[KeyFile] | None = None
    ) -> None:
        self._watched = watched
        self._file: KeyFile | None = None
        self._ciphers: dict[str, AESGCM] = {}
        self._keys: dict[str, bytes] = {}
        self._take(KeyFile(current, keys))

    @classmethod
    def following(cls, watched: WatchedSecret[KeyFile]) -> "KeyRing":
        file = watched.recent()
        return cls(file.current, file.keys, watched=watched)

    def _take(self, file: KeyFile) -> None:
        self._file = file
        self._keys = self._keys | file.keys
        self._ciphers = {key_id: AESGCM(key) for key_id, key in self._keys.items()}
        self._current = file.current

    def _follow(self, *, needed: str | None = None) -> None:
        """Take over what was rotated a moment ago; at once where a key is `needed`."""
        if self._watched is None:
            return
        is_missing = needed is not None and needed not in self._keys
        file = self._watched.newest() if is_missing else self._watched.recent()
        if file is not self._file:
            self._take(file)

    def refresh(self) -> str:
        """Take over what the file says at this moment; the key that seals now."""
        if self._watched is not None:
            self._watched.newest()
        self._follow()
        return self._current

    @property
    def ids(self) -> tuple[str, ...]:
        """Every key that opens, the newest last."""
        return tuple(self._keys)

    def seal(self, plaintext: bytes, place: Place) -> str:
        """`keyId.base64(nonce + ciphertext)`."""
        self._follow()
        nonce = os.urandom(_NONCE_BYTES)
        sealed = self._ciphers[self._current].encrypt(
            nonce, plaintext, place.associated_data(self._current)
        )
        return f"{self._current}.{base64.b64encode(nonce + sealed).decode()}"

    def fingerprint(self, data: bytes) -> str:
        """Tells whether data is the same again, without being of use to guess it: keyed."""
        self._follow()
        return f"{self._current}.{hmac.digest(self._keys[self._current], data, 'sha256').hex()}"

    def same(self, kept: str, given: str) -> bool:
        """Whether two fingerprints are of the same data; of different keys: taken for it."""
        by_other_key = kept.partition(".")[0] != given.partition(".")[0]
        return by_other_key or hmac.compare_digest(kept, given)

    def sign(self, message: bytes, *, purpose: str) -> str:
        """`keyId.hex`: nobody without the key can say the same of another message."""
        self._follow()
        return self._signature(self._current, message, purpose)

    def is_signed(self, signature: str, message: bytes, *, purpose: str) -> bool:
        """Whether one of our keys signed just this; raises Unsealable when that key is gone."""
        key_id = key_id_of(signature)
        self._follow(needed=key_id)
        if key_id not in self._keys:
            raise Unsealable(
                f"The key {key_id!r} that signed {purpose} is not in the ring", hint=_LOST
            )
        return hmac.compare_digest(signature, self._signature(key_id, message, purpose))

    def _signature(self, key_id: str, message: bytes, purpose: str) -> str:
        signed = purpose.encode() + b"\0" + message
        return f"{key_id}.{hmac.digest(self._keys[key_id], signed, 'sha256').hex()}"

    def open(self, sealed: str, place: Place) -> bytes:
        """The plaintext; raises Unsealable."""
        key_id, _, encoded = sealed.partition(".")
        self._follow(needed=key_id)
        cipher = self._ciphers.get(key_id)
        if cipher is None:
            raise Unsealable(
                f"The key {key_id!r} that sealed {place.collection} {place.id} is not in the ring",
                hint=_LOST,
            )
        try:
            raw = base64.b64decode(encoded, validate=True)
            return cipher.decrypt(
                raw[:_NONCE_BYTES], raw[_NONCE_BYTES:], place.associated_data(key_id)
            )
        except (InvalidTag, binascii.Error, ValueError) as error:
            raise Unsealable(f"{place.collection} {place.id} does not open with its key") from error


def key_id_of(sealed: str) -> str:
    """The key that sealed or signed it."""
    return sealed.partition(".")[0]


def load_key_ring(path: Path) -> KeyRing:
    """The ring in `path`, made with one fresh key when the file is not there; it follows the file.

    Raises ConfigurationInvalid for a file that is no usable one.
    """
    ensure_secret_file(path, lambda: msgspec.json.encode(_with_new_key({})))
    return KeyRing.following(WatchedSecret(path, read_key_file))


def read_key_file(path: Path) -> KeyFile:
    """Raises ConfigurationInvalid, or FileNotFoundError."""
    try:
        file = msgspec.json.decode(read_secret_file(path), type=KeyFile)
    except msgspec.DecodeError as error:
        raise ConfigurationInvalid(f"The key file is damaged: {error}", where=str(path)) from error
    if file.current not in file.keys or any(len(key) != KEY_BYTES for key in file.keys.values()):
        raise ConfigurationInvalid("The key file names no usable key", where=str(path))
    return file


def begin_rotation(path: Path, *, now: datetime) -> KeyFile:
    """Let a new key seal from now on, beside all former ones; an interrupted rotation goes on."""
    file = read_key_file(path)
    if file.rotating_since is None:
        file = msgspec.structs.replace(_with_new_key(file.keys), rotating_since=now)
        replace_secret_file(path, msgspec.json.encode(file))
    return file


def end_rotation(path: Path, *, keep_old: bool) -> KeyFile:
    """Nothing is sealed by a former key any more: they leave the file, unless `keep_old`."""
    file = read_key_file(path)
    keys = file.keys if keep_old else {file.current: file.keys[file.current]}
    file = KeyFile(file.current, keys)
    replace_secret_file(path, msgspec.json.encode(file))
    return file


def _with_new_key(former: dict[str, bytes]) -> KeyFile:
    key_id = f"k{os.urandom(4).hex()}"
    return KeyFile(key_id, {**former, key_id: os.urandom(KEY_BYTES)})
