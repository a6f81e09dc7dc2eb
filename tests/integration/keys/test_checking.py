"""`keys check`: everything that is sealed is found, and what does not open is named."""

import ast
from pathlib import Path
from typing import Any

import pytest

from novapulse.core.access import Principal, Role
from novapulse.core.crypto import read_key_file
from novapulse.core.errors import Forbidden
from novapulse.ops import keys
from novapulse.ops.keys import SealedValues
from novapulse.processes.features import SEALED
from tests.support.api import Api
from tests.support.keys import Secrets, check, key_file

ROOT = Path(__file__).resolve().parents[3] / "novapulse"


async def by_collection(api: Api) -> dict[str, SealedValues]:
    return {one.collection: one for one in await check(api)}


async def test_everything_sealed_is_found_and_opens(api: Api, secrets: Secrets) -> None:
    found = await by_collection(api)
    assert set(found) == {"jobs", "idempotency", "factors", "webhooks", "audit_heads"}
    for one in found.values():
        assert one.values > 0, one.collection
        assert (one.bad_values, one.bad) == (0, [])
        assert one.by_key == {read_key_file(key_file(api)).current: one.values}
    assert found["factors"].values == 2


def test_whoever_seals_has_declared_where() -> None:
    # A new place: declare it in the table of processes/features.py, then name it here.
    sealing = {
        str(path.relative_to(ROOT))
        for path in ROOT.rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Attribute)
        and node.func.attr in ("seal", "sign")
        and "keys" in ast.unparse(node.func.value)
    }
    assert sealing == {
        "audit/chain.py",
        "core/idempotency.py",
        "core/jobs/rows.py",
        "core/sealed.py",
        "signin/mfa.py",
        "subscriptions/headers.py",
        "subscriptions/secrets.py",
    }


async def spoil(api: Api, collection: str, update: Any) -> str:
    """Change one row as somebody who can write to the database; its id."""
    row = (await api.rows(collection))[0]
    await api.runtime.db.raw[collection].update_one({"_id": row["_id"]}, update(row))
    return str(row["_id"])


def flipped(sealed: str) -> str:
    middle = len(sealed) // 2
    return sealed[:middle] + ("A" if sealed[middle] != "A" else "B") + sealed[middle + 1 :]


SPOILT: dict[str, tuple[str, Any]] = {
    "factors": ("secret", lambda row: {"$set": {"secret": flipped(row["secret"])}}),
    "webhooks": (
        "secrets.0.sealed",
        lambda row: {"$set": {"secrets.0.sealed": flipped(row["secrets"][0]["sealed"])}},
    ),
    "idempotency": ("body", lambda row: {"$set": {"body": flipped(row["body"])}}),
    "jobs": (
        "payload.data",
        lambda row: {"$set": {"payload.data": flipped(row["payload"]["data"])}},
    ),
    "audit_heads": ("mac", lambda row: {"$inc": {"count": 1}}),
}


@pytest.mark.parametrize("collection", SPOILT)
async def test_what_does_not_open_is_named(api: Api, secrets: Secrets, collection: str) -> None:
    path, update = SPOILT[collection]
    row_id = await spoil(api, collection, update)
    found = await by_collection(api)
    assert [(bad.id, bad.path) for bad in found.pop(collection).bad] == [(row_id, path)]
    assert all(one.bad_values == 0 for one in found.values())


async def test_a_secret_in_anothers_place_does_not_open(api: Api, secrets: Secrets) -> None:
    await spoil(api, "factors", lambda row: {"$set": {"pending.secret": row["secret"]}})
    (bad,) = (await by_collection(api))["factors"].bad
    assert bad.path == "pending.secret"


async def test_only_the_operator_checks(api: Api) -> None:
    admin = Principal(user_id="1" * 24, role=Role.COMPANY_ADMIN, company_id="2" * 24)
    with pytest.raises(Forbidden):
        await keys.check(api.context(admin), SEALED)
