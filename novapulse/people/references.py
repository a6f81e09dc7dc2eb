"""What other features ask about people: whether an id or an address is one of the company's."""

from collections.abc import Mapping, Sequence

from novapulse.core.errors import FieldError, Invalid
from novapulse.core.mongo import TenantSession
from novapulse.identity.model import email_key
from novapulse.identity.store import USERS


async def require_members(session: TenantSession, named: Mapping[str, str]) -> None:
    """Raises Invalid that names every path of `named` whose id is no user of the company."""
    ids = sorted(set(named.values()))
    if not ids:
        return
    where = {"_id": {"$in": ids}}
    found = await session.rows(USERS).find(where, limit=len(ids), projection={"_id": 1})
    known = {row["_id"] for row in found}
    wrong = tuple(
        FieldError(path, "there is no such user")
        for path, user_id in named.items()
        if user_id not in known
    )
    if wrong:
        raise Invalid(f"{wrong[0].path}: {wrong[0].message}", wrong)


async def find_members(session: TenantSession, names: Sequence[str]) -> dict[str, str]:
    """Ids of the company's users by those of `names` that are their id or address."""
    if not names:
        return {}
    keys = {name: email_key(name) for name in names}
    where = {"$or": [{"_id": {"$in": list(names)}}, {"emailKey": {"$in": list(keys.values())}}]}
    fields = {"_id": 1, "emailKey": 1}
    found = await session.rows(USERS).find(where, limit=2 * len(keys), projection=fields)
    by_key = {row["emailKey"]: row["_id"] for row in found}
    ids = {row["_id"] for row in found}
    named = {name: name if name in ids else by_key.get(key) for name, key in keys.items()}
    return {name: user_id for name, user_id in named.items() if user_id is not None}
