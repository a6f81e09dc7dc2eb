"""The data key ring: seals what the database must not be able to read.

AES-256-GCM with a random nonce. The associated data binds a sealed value to
its place (collection, id, field, company) and key, so that swapped ciphertexts
do not open.
"""

import base64
import binascii
import os
from dataclasses import dataclass
from pathlib import Path

import msgspec
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from novapulse.core.errors import ConfigurationInvalid
from novapulse.core.secretfiles import ensure_secret_file

_NONCE_BYTES = 12
KEY_BYTES = 32


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


class KeyFile(msgspec.Struct, frozen=True):
    """The file's content: the key that seals, and every key that still opens."""

    current: str
    keys: dict[str, bytes]


class KeyRing:
    def __init__(self, current: str, keys: dict[str, bytes]) -> None:
        self._current = current
        self._ciphers = {key_id: AESGCM(key) for key_id, key in keys.items()}

    def seal(self, plaintext: bytes, place: Place) -> str:
        """`keyId.base64(nonce + ciphertext)`."""
        nonce = os.urandom(_NONCE_BYTES)
        sealed = self._ciphers[self._current].encrypt(
            nonce, plaintext, place.associated_data(self._current)
        )
        return f"{self._current}.{base64.b64encode(nonce + sealed).decode()}"

    def open(self, sealed: str, place: Place) -> bytes:
        """The plaintext; raises Unsealable."""
        key_id, _, encoded = sealed.partition(".")
        cipher = self._ciphers.get(key_id)
        if cipher is None:
            raise Unsealable(
                f"The key {key_id!r} that sealed {place.collection} {place.id} is not in the ring",
                hint="Put the old key file back, or restore it from a backup",
            )
        try:
            raw = base64.b64decode(encoded, validate=True)
            return cipher.decrypt(
                raw[:_NONCE_BYTES], raw[_NONCE_BYTES:], place.associated_data(key_id)
            )
        except (InvalidTag, binascii.Error, ValueError) as error:
            raise Unsealable(f"{place.collection} {place.id} does not open with its key") from error


def load_key_ring(path: Path) -> KeyRing:
    """The ring in `path`, made with one fresh key when the file is not there."""
    content = ensure_secret_file(path, _first_ring)
    try:
        file = msgspec.json.decode(content, type=KeyFile)
    except msgspec.DecodeError as error:
        raise ConfigurationInvalid(f"The key file is damaged: {error}", where=str(path)) from error
    if file.current not in file.keys or any(len(key) != KEY_BYTES for key in file.keys.values()):
        raise ConfigurationInvalid("The key file names no usable key", where=str(path))
    return KeyRing(file.current, file.keys)


def _first_ring() -> bytes:
    key_id = f"k{os.urandom(4).hex()}"
    return msgspec.json.encode(KeyFile(current=key_id, keys={key_id: os.urandom(KEY_BYTES)}))
