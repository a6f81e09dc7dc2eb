"""Failed proofs and the delay they earn: per account, in the database, never for good."""

import hashlib
from datetime import UTC, datetime, timedelta

from novapulse.core.mongo import Document
from novapulse.identity.model import User, email_key
from novapulse.identity.store import ATTEMPTS, RowSource

FREE_FAILURES = 4
LONGEST_DELAY = timedelta(minutes=15)
_FORGET = timedelta(hours=24)
_NEVER = datetime(1970, 1, 1, tzinfo=UTC)


def password_key(email: str) -> str:
    """Counts for an address whether it has an account or not, so that both cost the same."""
    return "password:" + hashlib.sha256(email_key(email).encode()).hexdigest()


def code_key(user_id: str) -> str:
    return f"code:{user_id}"


class AttemptStore:
    """Failures in a row, and until when not even the right answer counts.

    The fifth failure in a row delays for 2 seconds, each further one twice as
    long, up to 15 minutes. Attempts during a delay change nothing.
    """

    def __init__(self, source: RowSource) -> None:
        self._rows = source.platform(ATTEMPTS)

    async def is_delayed(self, key: str, now: datetime) -> bool:
        return await self._rows.find_one({"_id": key, "delayedUntil": {"$gt": now}}) is not None

    async def settle(self, key: str, now: datetime, *, succeeded: bool) -> bool:
        """Whether the attempt counts as a success, and note it, in one atomic update.

        Deciding after the password was looked at means that of a burst of
        guesses no more get through than one after the other would.
        """
        waits: Document = {"$gt": [{"$ifNull": ["$delayedUntil", _NEVER]}, now]}
        count = 0 if succeeded else {"$add": [{"$ifNull": ["$failures", 0]}, 1]}
        after: list[Document] = [
            {
                "$set": {
                    "waited": waits,
                    "failures": {"$cond": [waits, "$failures", count]},
                    "at": now,
                    "expiresAt": now + _FORGET,
                }
            },
            {"$set": {"delayedUntil": {"$cond": ["$waited", "$delayedUntil", _delay(now)]}}},
        ]
        row = await self._rows.find_and_update({"_id": key}, after, upsert=not succeeded)
        return succeeded and not (row and row["waited"])

    async def clear(self, key: str) -> None:
        await self._rows.delete_one({"_id": key})


def _delay(now: datetime) -> Document:
    """Until when the failures that were counted delay, as an expression; nothing for few."""
    over = {"$subtract": ["$failures", FREE_FAILURES]}
    # The exponent is bounded before the power is taken: numbers end, failures do not.
    seconds = {"$pow": [2, {"$min": [over, 10]}]}
    delay = {"$min": [{"$multiply": [seconds, 1_000]}, LONGEST_DELAY / timedelta(milliseconds=1)]}
    return {"$cond": [{"$gt": [over, 0]}, {"$add": [now, {"$toLong": delay}]}, "$$REMOVE"]}


async def forget_failures(source: RowSource, user: User) -> None:
    """Let somebody try passwords and codes again at once: for the operator."""
    attempts = AttemptStore(source)
    for key in (password_key(user.email), code_key(user.id)):
        await attempts.clear(key)
