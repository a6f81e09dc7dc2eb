"""Use cases on keys: check that everything sealed opens, and rotate what seals and signs.

A rotation of the data keys lets a new key seal, gives every process the time
to notice, seals everything anew, and takes the former keys out when nobody can
use them any more. Interrupted anywhere, everything opens, and the next one
goes on with it.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Literal

import msgspec

from novapulse.core import crypto, samekeys
from novapulse.core.context import Context
from novapulse.core.crypto import KeyRing, Unsealable
from novapulse.core.errors import ConfigurationInvalid, Forbidden
from novapulse.core.events import PLATFORM, Event, event
from novapulse.core.mongo import Document, Rows, UpdateOne
from novapulse.core.sealed import SealedField, Spot
from novapulse.core.secretfiles import REREAD_SECONDS, hold
from novapulse.identity.tokens import rotate_token_keys

_BATCH = 200
_MOST_NAMED = 20

Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Pace:
    """How long a rotation waits after its new key was made.

    `notice_seconds` until every process seals by it; `settle_seconds` until no
    transaction is open any more in which the former key was used: the server
    ends them after 60 s.
    """

    notice_seconds: float = 2 * REREAD_SECONDS
    settle_seconds: float = 60.0 + 3 * REREAD_SECONDS


class BadValue(msgspec.Struct, frozen=True, kw_only=True):
    id: str
    path: str
    problem: str


class SealedValues(msgspec.Struct, frozen=True, kw_only=True):
    """What is sealed or signed in one collection; `by_key` counts, `bad` names the first ones."""

    collection: str
    values: int
    by_key: dict[str, int] = msgspec.field(name="byKey")
    bad_values: int = msgspec.field(name="badValues")
    bad: list[BadValue]


class Rotation(msgspec.Struct, frozen=True, kw_only=True):
    """What a rotation did; `left` do not open, and keep the former keys."""

    current: str
    renewed: int
    retired: tuple[str, ...]
    left: list[BadValue]


class RotatedKey(msgspec.Struct, frozen=True, kw_only=True):
    """By its name: a key itself is in its file only."""

    id: str
    purpose: Literal["data", "jwt"]


@event("key.rotated", is_public=False)
class KeyRotated(Event, frozen=True, kw_only=True):
    key: RotatedKey


async def check(ctx: Context, fields: Sequence[SealedField]) -> list[SealedValues]:
    """Open everything that is sealed, and verify everything that is signed."""
    _require_operator(ctx)
    return [await _check_field(ctx, field) for field in fields]


async def _check_field(ctx: Context, field: SealedField) -> SealedValues:
    bad: list[BadValue] = []
    by_key: dict[str, int] = {}
    bad_values = 0
    async for row in _rows_of(ctx, field):
        for spot in field.spots(row):
            by_key[spot.key_id] = by_key.get(spot.key_id, 0) + 1
            try:
                spot.check(ctx.runtime.keys)
            except Unsealable as error:
                bad_values += 1
                if len(bad) < _MOST_NAMED:
                    bad.append(BadValue(id=row["_id"], path=spot.path, problem=error.detail))
    return SealedValues(
        collection=field.collection,
        values=sum(by_key.values()),
        by_key=by_key,
        bad_values=bad_values,
        bad=bad,
    )


async def rotate_data(
    ctx: Context,
    path: Path,
    *,
    fields: Sequence[SealedField],
    keep_old: bool = False,
    pace: Pace | None = None,
    say: Say = lambda _: None,
) -> Rotation:
    """Seal everything by a new key, while everybody works on.

    What does not open is left, and the former keys with it: repair or remove it, and repeat.

    Raises AlreadyRunning, or ConfigurationInvalid when the key file can not be replaced.
    """
    _require_operator(ctx)
    pace = pace or Pace()
    with hold(path.parent):
        file = crypto.begin_rotation(path, now=ctx.now())
        since = file.rotating_since or ctx.now()
        current = ctx.runtime.keys.refresh()
        await samekeys.note(ctx.runtime.db, {"data": samekeys.mark_of_ring(ctx.runtime.keys)})
        say(f"the key that seals is {current}")
        await _wait(ctx, since, pace.notice_seconds)
        renewed, left = await _seal_anew(ctx, fields, current)
        say(f"{renewed} values sealed anew")
        if not keep_old and not left:
            say("waiting until nobody can hold a former key any more")
            await _wait(ctx, since, pace.settle_seconds)
            late, left = await _seal_anew(ctx, fields, current)
            renewed += late
        kept = file.keys
        if keep_old or not left:
            await _record(ctx, current, "data")
            kept = crypto.end_rotation(path, keep_old=keep_old).keys
    retired = tuple(key_id for key_id in file.keys if key_id not in kept)
    return Rotation(current=current, renewed=renewed, retired=retired, left=left)


async def _seal_anew(
    ctx: Context, fields: Sequence[SealedField], current: str
) -> tuple[int, list[BadValue]]:
    """How many values of former keys are now of the current one, and the ones that do not open."""
    renewed, left = 0, list[BadValue]()
    for field in fields:
        rows = ctx.runtime.db.platform(field.collection)
        writes: list[UpdateOne] = []
        async for row in _rows_of(ctx, field):
            for spot in field.spots(row):
                if spot.key_id == current:
                    continue
                try:
                    writes.append(_write(row["_id"], spot, keys=ctx.runtime.keys))
                except Unsealable as error:
                    left.append(BadValue(id=row["_id"], path=spot.path, problem=error.detail))
            if len(writes) >= _BATCH:
                renewed += await _flush(rows, writes)
        renewed += await _flush(rows, writes)
    return renewed, left


def _write(row_id: str, spot: Spot, *, keys: KeyRing) -> UpdateOne:
    """Only over the very value that was read: what somebody changed meanwhile is theirs."""
    return UpdateOne(
        {"_id": row_id, spot.path: spot.value}, {"$set": {spot.path: spot.renewed(keys)}}
    )


async def _flush(rows: Rows, writes: list[UpdateOne]) -> int:
    if not writes:
        return 0
    renewed = await rows.bulk(writes)
    writes.clear()
    return renewed


async def rotate_jwt(ctx: Context, path: Path, *, is_given: bool = False) -> str:
    """Sign access tokens by a new key, whose id is returned; the former one verifies its own.

    Raises AlreadyRunning, or ConfigurationInvalid when the key file can not be
    replaced, or is not used because the environment gives the key.
    """
    _require_operator(ctx)
    if is_given:
        raise ConfigurationInvalid(
            "The key that signs access tokens is given from outside",
            where="JWT_ACCESS_SECRET",
            hint="change the variable and restart, or remove it to have keys that rotate",
        )
    await ctx.runtime.db.ping()
    lifetime = ctx.runtime.settings.auth.access_token_seconds
    with hold(path.parent):
        keys = rotate_token_keys(path, now=ctx.now(), lifetime_seconds=lifetime)
    mark = samekeys.mark(keys.current, keys.keys[keys.current])
    await samekeys.note(ctx.runtime.db, {"tokens": mark})
    await _record(ctx, keys.current, "jwt")
    return keys.current


async def adopt(ctx: Context, marks: Mapping[str, str]) -> None:
    """Let the keys of this appliance be the right ones; what others sealed does not open by them.

    `marks` are those of its keys.
    """
    _require_operator(ctx)
    await samekeys.note(ctx.runtime.db, marks, anew=True)
    await _record(ctx, ctx.runtime.keys.refresh(), "data")
    await _record(ctx, marks["tokens"].partition(".")[0], "jwt")


async def _rows_of(ctx: Context, field: SealedField) -> AsyncIterator[Document]:
    """Every row of the field's collection, in batches along the ids."""
    rows = ctx.runtime.db.platform(field.collection)
    projection = dict.fromkeys(field.fields, 1)
    last = ""
    while True:
        where = {"_id": {"$gt": last}}
        found = await rows.find(where, sort=(("_id", 1),), limit=_BATCH, projection=projection)
        for row in found:
            yield row
        if len(found) < _BATCH:
            return
        last = found[-1]["_id"]


async def _wait(ctx: Context, since: datetime, seconds: float) -> None:
    await asyncio.sleep(max(0.0, seconds - (ctx.now() - since).total_seconds()))


async def _record(ctx: Context, key_id: str, purpose: Literal["data", "jwt"]) -> None:
    async with ctx.transaction(company_id=PLATFORM) as tx:
        tx.record(KeyRotated(key=RotatedKey(id=key_id, purpose=purpose)))


def _require_operator(ctx: Context) -> None:
    if not ctx.principal.is_operator:
        raise Forbidden("Only the operator may do this")
