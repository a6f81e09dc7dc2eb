"""Where sealed and signed values stand in the database: for checking and rotating keys.

A feature declares its own beside its store, as it does with indexes. Nothing
else finds them: an undeclared one would not open any more after a rotation.
"""

import re
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from novapulse.core.crypto import KeyRing, Place, Unsealable, key_id_of
from novapulse.core.mongo import Document

_SEALED = re.compile(r"[a-z0-9]{1,20}\.[A-Za-z0-9+/]+=*", re.ASCII)


@dataclass(frozen=True, slots=True)
class Spot(ABC):
    """One value in a row: `path` is where an update finds it (`secrets.0.sealed`)."""

    path: str
    value: str

    @property
    def key_id(self) -> str:
        return key_id_of(self.value)

    @abstractmethod
    def check(self, keys: KeyRing) -> None:
        """Raises Unsealable when it is not good."""

    @abstractmethod
    def renewed(self, keys: KeyRing) -> str:
        """The same by the present key; raises Unsealable."""


@dataclass(frozen=True, slots=True)
class SealedSpot(Spot):
    place: Place

    def check(self, keys: KeyRing) -> None:
        keys.open(self.value, self.place)

    def renewed(self, keys: KeyRing) -> str:
        return keys.seal(keys.open(self.value, self.place), self.place)


@dataclass(frozen=True, slots=True)
class SignedSpot(Spot):
    """A signature; `message` is what it signs."""

    message: bytes
    purpose: str

    def check(self, keys: KeyRing) -> None:
        if not keys.is_signed(self.value, self.message, purpose=self.purpose):
            raise Unsealable(f"A signature of {self.purpose} is not good")

    def renewed(self, keys: KeyRing) -> str:
        self.check(keys)
        return keys.sign(self.message, purpose=self.purpose)


@dataclass(frozen=True, slots=True)
class SealedField:
    """What `spots` finds in rows of `collection`, of which it reads `fields` and the id."""

    collection: str
    fields: tuple[str, ...]
    spots: Callable[[Document], Iterator[Spot]]


def looks_sealed(value: object) -> bool:
    """Whether it has the form of a sealed value."""
    return isinstance(value, str) and _SEALED.fullmatch(value) is not None
