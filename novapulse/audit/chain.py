"""The hash chain, without a database: what a hash covers, and what a head says.

A line's hash covers everything of its event that never changes, its number and
the hash before it. The head says how far the chain goes and is signed by a key
that the database does not have.
"""

import hashlib
import json
from datetime import datetime
from typing import Any

import msgspec

from novapulse.audit.model import Link
from novapulse.core.clock import rfc3339
from novapulse.core.crypto import KeyRing
from novapulse.core.mongo import Document

# What the pump stamps later (sequence, isPlanned, body) is not among them.
COVERED = (
    *("_id", "companyId", "type", "version", "createdAt", "requestId"),
    *("actor", "resourceId", "data", "trace", "cause"),
)
SIGNED_AS = "an audit head"


class Mark(msgspec.Struct, frozen=True):
    """A point of a chain: the number and the hash of the line before the next one."""

    seq: int
    hash: str


GENESIS = Mark(0, "0" * 64)


class Trimmed(msgspec.Struct, frozen=True):
    """The last line that is not kept any more; `sequence` is the highest of the events' numbers."""

    seq: int = GENESIS.seq
    hash: str = GENESIS.hash
    sequence: int = 0


class Head(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """How far a company's chain is sealed. Only the leading scheduler writes it."""

    company_id: str
    count: int
    hash: str
    trimmed: Trimmed = Trimmed()
    mac: str = ""

    @property
    def mark(self) -> Mark:
        return Mark(self.count, self.hash)

    def message(self) -> bytes:
        """What the signature covers."""
        return canonical(
            {
                "companyId": self.company_id,
                "count": self.count,
                "hash": self.hash,
                "trimmed": msgspec.to_builtins(self.trimmed),
            }
        )

    def signed(self, keys: KeyRing) -> "Head":
        mac = keys.sign(self.message(), purpose=SIGNED_AS)
        return msgspec.structs.replace(self, mac=mac)

    def is_genuine(self, keys: KeyRing) -> bool:
        """Raises Unsealable when its key is not in the ring."""
        return keys.is_signed(self.mac, self.message(), purpose=SIGNED_AS)


def canonical(value: Any) -> bytes:
    """JSON of which there is one only: sorted names, no spaces, ASCII, times as RFC 3339."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), default=_plain).encode("ascii")


def _plain(value: Any) -> str:
    if isinstance(value, datetime):
        return rfc3339(value)
    return repr(value)  # nothing else belongs into an event; but verifying must not stop there


def link(row: Document, after: Mark) -> Link:
    """The place of an event's row in the chain that goes as far as `after`."""
    covered = {name: row[name] for name in COVERED if name in row}
    seq = after.seq + 1
    content = canonical({"event": covered, "previous": after.hash, "seq": seq})
    return Link(seq=seq, hash=hashlib.sha256(content).hexdigest(), previous=after.hash)
