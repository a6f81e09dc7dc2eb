"""What a recovery passphrase closes: scrypt makes a key of it, AES-256-GCM seals and HMAC signs.

A whole archive is sealed in chunks whose nonces count and mark the last one (the STREAM
construction), so that chunks can not be left out, repeated, exchanged or cut off.
"""

import base64
import hashlib
import hmac
import io
import os
from dataclasses import dataclass
from typing import BinaryIO

import msgspec
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from novapulse.backup.model import BackupDamaged, WrongPassphrase
from novapulse.core.errors import Invalid

SHORTEST_PASSPHRASE = 12
MAGIC = b"novapulse-backup-1 "
_LONGEST_HEAD = 4_096
_CHUNK_BYTES = 1 << 20
_TAG_BYTES = 16
_NONCE_BYTES = 12
# 64 MiB and a third of a second for each guess.
_COST, _BLOCK, _PARALLEL = 1 << 16, 8, 1
# What a foreign file may ask of us at most: 512 MiB.
_MOST_COST, _MOST_BLOCK, _MOST_PARALLEL = 1 << 18, 16, 4


class Recipe(msgspec.Struct, frozen=True, kw_only=True):
    """How a passphrase becomes the key; `check` tells a wrong one from a damaged file."""

    n: int
    r: int
    p: int
    salt: bytes
    check: str


@dataclass(frozen=True, slots=True)
class Lock:
    """A passphrase at work: one for each backup, by a salt of its own."""

    recipe: Recipe
    _key: bytes

    @classmethod
    def new(cls, passphrase: bytes) -> "Lock":
        """Raises Invalid for one that is too short."""
        if len(passphrase) < SHORTEST_PASSPHRASE:
            raise Invalid(f"A recovery passphrase has at least {SHORTEST_PASSPHRASE} characters")
        salt = os.urandom(16)
        key = _derive(passphrase, n=_COST, r=_BLOCK, p=_PARALLEL, salt=salt)
        recipe = Recipe(n=_COST, r=_BLOCK, p=_PARALLEL, salt=salt, check=_checked(key))
        return cls(recipe, key)

    @classmethod
    def matching(cls, recipe: Recipe, passphrase: bytes) -> "Lock":
        """Raises WrongPassphrase."""
        if not (
            1 < recipe.n <= _MOST_COST
            and 1 <= recipe.r <= _MOST_BLOCK
            and 1 <= recipe.p <= _MOST_PARALLEL
            and recipe.n & (recipe.n - 1) == 0
        ):
            raise BackupDamaged("The backup asks for a key that nobody makes")
        key = _derive(passphrase, n=recipe.n, r=recipe.r, p=recipe.p, salt=recipe.salt)
        if not hmac.compare_digest(_checked(key), recipe.check):
            raise WrongPassphrase()
        return cls(recipe, key)

    def seal(self, plaintext: bytes, purpose: str) -> bytes:
        nonce = os.urandom(_NONCE_BYTES)
        return nonce + AESGCM(self._subkey(purpose)).encrypt(nonce, plaintext, purpose.encode())

    def open(self, sealed: bytes, purpose: str) -> bytes:
        """Raises BackupDamaged."""
        nonce, rest = sealed[:_NONCE_BYTES], sealed[_NONCE_BYTES:]
        try:
            return AESGCM(self._subkey(purpose)).decrypt(nonce, rest, purpose.encode())
        except (InvalidTag, ValueError) as error:
            raise BackupDamaged(f"{purpose} of the backup was changed") from error

    def sign(self, message: bytes, purpose: str) -> str:
        return hmac.digest(self._subkey(purpose), message, "sha256").hex()

    def chunks(self) -> AESGCM:
        return AESGCM(self._subkey("archive"))

    def _subkey(self, purpose: str) -> bytes:
        return hmac.digest(self._key, b"novapulse backup " + purpose.encode(), "sha256")


class SealingFile:
    """A file to write to, sealed on its way to `out`; `close` leaves `out` open."""

    def __init__(self, out: BinaryIO, lock: Lock) -> None:
        self._out = out
        self._cipher = lock.chunks()
        self._head = MAGIC + msgspec.json.encode(lock.recipe) + b"\n"
        self._kept = bytearray()
        self._number = 0
        out.write(self._head)

    def write(self, data: bytes) -> int:
        self._kept += data
        while len(self._kept) > _CHUNK_BYTES:  # the last one is kept, however full
            self._put(bytes(self._kept[:_CHUNK_BYTES]), is_last=False)
            del self._kept[:_CHUNK_BYTES]
        return len(data)

    def close(self) -> None:
        self._put(bytes(self._kept), is_last=True)

    def _put(self, chunk: bytes, *, is_last: bool) -> None:
        nonce = _nonce(self._number, is_last=is_last)
        self._out.write(self._cipher.encrypt(nonce, chunk, self._head))
        self._number += 1


class OpeningFile:
    """The plain content of a sealed file, read from its begin to its end."""

    def __init__(self, source: BinaryIO, passphrase: bytes | None) -> None:
        """Raises WrongPassphrase, also when there is none."""
        self._source = source
        self._head = source.readline(_LONGEST_HEAD)
        if passphrase is None:
            raise WrongPassphrase("The backup is encrypted; name its passphrase file")
        recipe = read_recipe(self._head.removeprefix(MAGIC))
        self._cipher = Lock.matching(recipe, passphrase).chunks()
        self._next = source.read(_CHUNK_BYTES + _TAG_BYTES)
        self._number = 0
        self._kept = io.BytesIO()

    def read(self, size: int) -> bytes:
        """At most `size` bytes; raises BackupDamaged."""
        pieces = bytearray()
        while len(pieces) < size:
            piece = self._kept.read(size - len(pieces))
            if not piece and not self._next:
                break
            if not piece:
                self._kept = io.BytesIO(self._take())
            pieces += piece
        return bytes(pieces)

    def _take(self) -> bytes:
        chunk, self._next = self._next, self._source.read(_CHUNK_BYTES + _TAG_BYTES)
        nonce = _nonce(self._number, is_last=not self._next)
        self._number += 1
        try:
            return self._cipher.decrypt(nonce, chunk, self._head)
        except (InvalidTag, ValueError) as error:
            raise BackupDamaged("The backup was changed or cut off") from error


def read_recipe(data: bytes) -> Recipe:
    """Raises BackupDamaged."""
    try:
        return msgspec.json.decode(data, type=Recipe)
    except msgspec.DecodeError as error:
        raise BackupDamaged(f"The backup does not say how it is sealed: {error}") from error


def _nonce(number: int, *, is_last: bool) -> bytes:
    return number.to_bytes(_NONCE_BYTES - 1, "big") + bytes([is_last])


def _derive(passphrase: bytes, *, n: int, r: int, p: int, salt: bytes) -> bytes:
    most = 128 * n * r + 128 * r * p + (1 << 20)
    return hashlib.scrypt(passphrase, salt=salt, n=n, r=r, p=p, maxmem=most, dklen=32)


def _checked(key: bytes) -> str:
    """Of a key of 256 bits, which tells nothing about it."""
    tag = hmac.digest(key, b"novapulse backup check", "sha256")
    return base64.b16encode(tag[:8]).decode().lower()
