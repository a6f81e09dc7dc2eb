"""`Idempotency-Key`: the first answer again, for 24 hours.

The answer is kept in the transaction of the change it tells of, so there is
never a change without its answer or an answer without its change. It is
sealed: some answers show a secret that the database must not know.
"""

import hashlib
from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Any

import msgspec

from novapulse.core import errors
from novapulse.core.context import Context, Transaction
from novapulse.core.crypto import Place
from novapulse.core.mongo import Document
from novapulse.core.problem import Headers
from novapulse.core.sealed import SealedField, SealedSpot

COLLECTION = "idempotency"
KEEP = timedelta(hours=24)
MAX_KEY_LENGTH = 255

INDEXES: tuple[dict[str, Any], ...] = (
    {"name": "expiry", "keys": [("expiresAt", 1)], "expireAfterSeconds": 0},
)


class IdempotencyKeyReused(errors.Conflict):
    code = "idempotency_key_reused"
    title = "This Idempotency-Key was used for another request"


class OnceRequest(msgspec.Struct, frozen=True):
    """A request that may be executed only once: `id` names it, `digest` is its body's."""

    id: str
    digest: str


class KeptAnswer(msgspec.Struct, frozen=True):
    status: int
    headers: Headers
    body: bytes


def request(ctx: Context, target: str, *, key: bytes, body: bytes) -> OnceRequest:
    """Keys of different users, companies and targets (a route and its path's ids) never meet."""
    if not 0 < len(key) <= MAX_KEY_LENGTH:
        raise errors.Invalid.field("Idempotency-Key", f"has 1 to {MAX_KEY_LENGTH} characters")
    owner = f"{ctx.principal.company_id}\0{ctx.principal.user_id}\0{target}\0"
    name = hashlib.sha256(owner.encode() + key).hexdigest()
    return OnceRequest(id=name, digest=ctx.runtime.keys.fingerprint(body))


async def find_answer(ctx: Context, once: OnceRequest) -> KeptAnswer | None:
    """The answer that this request got before; raises IdempotencyKeyReused."""
    rows = ctx.runtime.db.tenant(ctx.ledger_id).rows(COLLECTION)
    row = await rows.find_one({"_id": once.id})
    if row is None:
        return None
    if not ctx.runtime.keys.same(row["digest"], once.digest):
        raise IdempotencyKeyReused()
    headers = [(name.encode(), value.encode()) for name, value in row["headers"]]
    return KeptAnswer(row["status"], headers, ctx.runtime.keys.open(row["body"], _place(ctx, once)))


async def reserve(tx: Transaction, once: OnceRequest, now: datetime) -> None:
    """First write of the transaction: a parallel twin conflicts here and finds our answer."""
    row = {"_id": once.id, "digest": once.digest, "expiresAt": now + KEEP}
    try:
        await tx.rows(COLLECTION).insert(row)
    except errors.Conflict as error:
        raise errors.TransientConflict() from error


async def keep(ctx: Context, tx: Transaction, *, once: OnceRequest, answer: KeptAnswer) -> None:
    """Last write of the transaction, over the reserved row."""
    readable = [[name.decode(), value.decode()] for name, value in answer.headers]
    body = ctx.runtime.keys.seal(answer.body, _place(ctx, once))
    change = {"$set": {"status": answer.status, "headers": readable, "body": body}}
    await tx.rows(COLLECTION).update_one({"_id": once.id}, change)


def _place(ctx: Context, once: OnceRequest) -> Place:
    return Place(COLLECTION, once.id, "body", ctx.ledger_id)


def _spots(row: Document) -> Iterator[SealedSpot]:
    if "body" in row:
        place = Place(COLLECTION, row["_id"], "body", row["companyId"])
        yield SealedSpot("body", row["body"], place)


SEALED = (SealedField(COLLECTION, ("companyId", "body"), _spots),)
