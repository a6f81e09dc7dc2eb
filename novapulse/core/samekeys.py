"""Whether all who share a database seal and sign by the same keys.

One row says by which: marks that tell a key again, and nothing of use to guess it.
"""

import hashlib
import hmac
from collections.abc import Mapping

from novapulse.core.crypto import KeyRing, Unsealable
from novapulse.core.errors import ConfigurationInvalid
from novapulse.core.mongo import Database

INSTALLATION = "installation"
_ROW = "keys"
_PURPOSE = "installation"


class OtherKeys(ConfigurationInvalid):
    """What this one sealed the others could not read."""


def mark(key_id: str, key: bytes) -> str:
    return f"{key_id}.{hmac.digest(key, _PURPOSE.encode(), hashlib.sha256).hex()}"


def mark_of_ring(ring: KeyRing) -> str:
    """Of the key that seals now."""
    return ring.sign(b"", purpose=_PURPOSE)


def opens(ring: KeyRing, data_mark: str) -> bool:
    """Whether the marked key is one of the ring, though it may not be the one that seals."""
    try:
        return ring.is_signed(data_mark, b"", purpose=_PURPOSE)
    except Unsealable:
        return False


async def noted(db: Database, marks: Mapping[str, str]) -> dict[str, str]:
    """The marks of the installation; who comes first says which these are."""
    rows = db.platform(INSTALLATION)
    row = await rows.find_and_update({"_id": _ROW}, {"$setOnInsert": dict(marks)}, upsert=True)
    return {name: str(value) for name, value in (row or {}).items() if name != "_id"}


async def note(db: Database, marks: Mapping[str, str], *, anew: bool = False) -> None:
    """From now on these are right; where nobody shares the database nothing is noted."""
    change = {"$set": dict(marks)}
    await db.platform(INSTALLATION).find_and_update({"_id": _ROW}, change, upsert=anew)
