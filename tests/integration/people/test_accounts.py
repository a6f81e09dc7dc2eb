"""What the command line does to accounts: what counts is how they are by then."""

import pytest

from novapulse.core.access import SYSTEM
from novapulse.core.errors import NotFound
from novapulse.identity.store import USERS
from novapulse.people import accounts
from novapulse.people.model import LastOperator
from tests.support.api import Api, Person


async def rename(person: Person, name: str) -> None:
    assert (await person.patch("/auth/me", {"name": name})).status == 200


async def test_an_operator_who_renames_themself_meanwhile_is_disabled_and_enabled(api: Api) -> None:
    await api.add_operator()
    root = await api.add_operator()
    ctx = api.context(SYSTEM)
    known = await accounts.get_account(ctx, root.email)
    await rename(root, "Renamed")
    await accounts.disable_account(ctx, known)
    disabled = await accounts.get_account(ctx, root.email)
    assert (disabled.user.status, disabled.user.name) == ("disabled", "Renamed")
    (event,) = await api.rows("events", type="user.disabled", resourceId=root.id)
    assert event["data"]["user"]["version"] == disabled.user.version

    await api.runtime.db.platform(USERS).update_one({"_id": root.id}, {"$inc": {"version": 1}})
    await accounts.enable_account(ctx, disabled)
    assert (await accounts.get_account(ctx, root.email)).user.status == "active"
    assert len(await api.rows("events", type="user.enabled", resourceId=root.id)) == 1


async def test_who_was_disabled_meanwhile_is_not_disabled_again(api: Api) -> None:
    await api.add_operator()
    root = await api.add_operator()
    ctx = api.context(SYSTEM)
    known = await accounts.get_account(ctx, root.email)
    await accounts.disable_account(ctx, known)
    await accounts.disable_account(ctx, known)
    assert len(await api.rows("events", type="user.disabled", resourceId=root.id)) == 1


async def test_the_last_operator_stays_and_a_lost_account_is_not_found(api: Api) -> None:
    ctx = api.context(SYSTEM)
    root = await api.add_operator()
    known = await accounts.get_account(ctx, root.email)
    users = api.runtime.db.platform(USERS)
    await users.delete_many({"role": "super_admin", "_id": {"$ne": root.id}})
    with pytest.raises(LastOperator):
        await accounts.disable_account(ctx, known)
    await users.delete_one({"_id": root.id})
    with pytest.raises(NotFound):
        await accounts.disable_account(ctx, known)
