"""Where people sign in from: a device and a network that were not seen before are told of."""

import hashlib
from datetime import datetime, timedelta

from novapulse.core.clients import bucket
from novapulse.core.clock import rfc3339
from novapulse.core.context import Transaction
from novapulse.core.errors import TransientConflict
from novapulse.core.mongo import Duplicate
from novapulse.identity.model import Session, User
from novapulse.identity.store import DEVICES

KEEP = timedelta(days=180)
# Seen again within this time is not written down again.
_FRESH = timedelta(days=1)


async def note_sign_in(tx: Transaction, user: User, session: Session) -> None:
    """Remember it, and mail the user when it is another device or address than the known ones.

    The first of all is not told of: there is nothing to compare it with.
    """
    rows = tx.platform(DEVICES)
    row_id = _fingerprint(session)
    known = await rows.find_one({"_id": row_id})
    if known is not None and known["seenAt"] > session.created_at - _FRESH:
        return
    is_first = known is None and await rows.find_one({"userId": user.id}) is None
    seen = {"userId": user.id, **_seen(session.created_at)}
    try:
        await rows.find_and_update({"_id": row_id}, {"$set": seen}, upsert=True)
    except Duplicate as error:  # the same device signs in twice at once
        raise TransientConflict() from error
    if known is None and not is_first:
        data = {
            "name": user.name,
            "device": session.device,
            "address": session.address,
            "at": rfc3339(session.created_at),
        }
        await tx.enqueue("mail.send", {"to": user.email, "template": "new_sign_in", "data": data})


def _fingerprint(session: Session) -> str:
    """A hash: which devices somebody had is nobody's business."""
    parts = (session.user_id, session.device, bucket(session.address))
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()


def _seen(at: datetime) -> dict[str, datetime]:
    return {"seenAt": at, "expiresAt": at + KEEP}
