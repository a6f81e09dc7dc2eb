"""API tokens: shown once, as far as both their scopes and their owner's role reach."""

import hashlib
from datetime import timedelta
from typing import Any

import pytest

from novapulse.core.access import Role
from novapulse.core.clock import rfc3339
from novapulse.core.documents import new_object_id
from tests.support.api import PASSWORD, Api, Client, Person
from tests.support.routes import step_up


async def confirmed(person: Person) -> Person:
    answer = await person.post("/auth/step-up", {"password": PASSWORD})
    assert answer.status == 204, answer.body
    return person


async def made(person: Person, *scopes: str, **fields: Any) -> dict[str, Any]:
    body = {"name": "a script", "scopes": list(scopes), **fields}
    answer = await (await confirmed(person)).post("/api-tokens", body)
    assert answer.status == 201, answer.body
    return dict(answer.json())


def bearer(api: Api, token: dict[str, Any]) -> Client:
    return api.client(authorization=f"Bearer {token['token']}")


async def test_a_token_acts_for_its_owner_within_its_scopes(api: Api) -> None:
    admin = await api.found_company()
    script = bearer(api, await made(admin, "tasks:read", "tasks:write"))
    task = await script.post("/tasks", {"title": "from a script"})
    assert (task.status, task.json()["createdBy"]) == (201, admin.id)
    refused = await script.get("/webhooks")
    assert (refused.status, refused.code) == (403, "forbidden")


async def test_the_token_is_shown_once_and_its_hash_is_kept(api: Api) -> None:
    admin = await api.found_company()
    token = await made(admin, "profile")
    secret = token["token"]
    assert secret.startswith("nvp_")
    assert token["hint"] == secret[:8]
    (row,) = await api.rows("api_tokens", _id=token["id"])
    assert row["tokenHash"] == hashlib.sha256(secret.encode()).hexdigest()
    assert secret.encode() not in (await admin.get("/api-tokens")).body
    for collection in await api.collections():
        assert secret not in str(await api.rows(collection)), collection


async def test_making_one_needs_a_fresh_confirmation(api: Api) -> None:
    admin = await api.found_company()
    body = {"name": "a script", "scopes": ["profile", "api_tokens"]}
    refused = await admin.post("/api-tokens", body)
    assert (refused.status, refused.code) == (403, "step_up_required")
    script = bearer(api, await made(admin, "profile", "api_tokens"))
    refused = await script.post("/api-tokens", body)
    assert (refused.status, refused.code) == (403, "step_up_required")


@pytest.mark.parametrize(
    ("role", "scope"),
    [
        (Role.USER, "webhooks:read"),
        (Role.MANAGER, "company:write"),
        (Role.COMPANY_ADMIN, "companies:read"),
        (Role.COMPANY_ADMIN, "system:read"),
    ],
)
async def test_no_scope_beyond_the_owners_role(api: Api, role: Role, scope: str) -> None:
    admin = await api.found_company()
    person = await api.add_member(str(admin.company_id), role)
    body = {"name": "too much", "scopes": ["profile", scope]}
    answer = await (await confirmed(person)).post("/api-tokens", body)
    assert (answer.status, answer.paths) == (422, ["scopes[1]"])


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("scopes", []),
        ("scopes", ["everything"]),
        ("scopes", ["*"]),
        ("name", ""),
        ("expiresAt", "2020-01-01T00:00:00Z"),
        ("expiresAt", "tomorrow"),
        ("userId", "x"),
    ],
)
async def test_a_bad_token_is_refused(api: Api, field: str, value: object) -> None:
    admin = await confirmed(await api.found_company())
    body = {"name": "x", "scopes": ["profile"], field: value}
    assert (await admin.post("/api-tokens", body)).status == 422


async def test_a_token_shrinks_with_its_owners_role(api: Api) -> None:
    admin = await api.found_company()
    other = await api.add_member(str(admin.company_id), Role.COMPANY_ADMIN)
    script = bearer(api, await made(other, "company:write", "tasks:read"))
    assert (await script.patch("/company", {"name": "By a script"})).status == 200
    await admin.patch(f"/users/{other.id}", {"role": "user"})
    assert (await script.patch("/company", {"name": "Again"})).status == 403
    assert (await script.get("/tasks")).status == 200


async def test_a_token_is_dead_while_its_owner_is_disabled(api: Api) -> None:
    admin = await api.found_company()
    user = await api.add_member(str(admin.company_id))
    script = bearer(api, await made(user, "tasks:read"))
    await admin.post(f"/users/{user.id}/disable")
    assert (await script.get("/tasks")).status == 401
    await admin.post(f"/users/{user.id}/enable")
    assert (await script.get("/tasks")).status == 200


async def test_a_token_is_dead_after_its_time_and_when_it_is_revoked(api: Api) -> None:
    admin = await api.found_company()
    ends = api.runtime.clock() + timedelta(days=1)
    token = await made(admin, "tasks:read", expiresAt=rfc3339(ends))
    script = bearer(api, token)
    assert (await script.get("/tasks")).status == 200
    past = {"$set": {"expiresAt": api.runtime.clock() - timedelta(seconds=1)}}
    await api.runtime.db.platform("api_tokens").update_one({"_id": token["id"]}, past)
    assert (await script.get("/tasks")).status == 401
    revoked = await made(admin, "tasks:read")
    assert (await admin.delete(f"/api-tokens/{revoked['id']}")).status == 204
    answer = await bearer(api, revoked).get("/tasks")
    assert (answer.status, answer.code) == (401, "unauthenticated")
    assert "www-authenticate" in answer.headers


@pytest.mark.parametrize("token", ["nvp_", "nvp_x", f"nvp_{'a' * 43}", "nvp_" + "a" * 5_000])
async def test_a_made_up_token_is_nobodys(api: Api, token: str) -> None:
    answer = await api.client(authorization=f"Bearer {token}").get("/tasks")
    assert (answer.status, answer.code) == (401, "unauthenticated")


async def test_a_use_is_noted_at_most_once_a_minute(api: Api) -> None:
    admin = await api.found_company()
    token = await made(admin, "tasks:read")
    script = bearer(api, token)

    async def last_used() -> Any:
        return (await api.rows("api_tokens", _id=token["id"]))[0].get("lastUsedAt")

    assert await last_used() is None
    await script.get("/tasks")
    first = await last_used()
    assert first is not None
    await script.get("/tasks")
    assert await last_used() == first
    earlier = first - timedelta(seconds=61)
    change = {"$set": {"lastUsedAt": earlier}}
    await api.runtime.db.platform("api_tokens").update_one({"_id": token["id"]}, change)
    await script.get("/tasks")
    assert await last_used() > earlier


async def test_everybody_has_their_own_tokens(api: Api) -> None:
    admin = await api.found_company()
    user = await api.add_member(str(admin.company_id))
    token = await made(user, "tasks:read")
    assert (await admin.get("/api-tokens")).json()["data"] == []
    assert (await admin.delete(f"/api-tokens/{token['id']}")).status == 404
    assert [row["id"] for row in (await user.get("/api-tokens")).json()["data"]] == [token["id"]]


async def test_fifty_are_enough(api: Api) -> None:
    admin = await api.found_company()
    first = await made(admin, "profile")
    (row,) = await api.rows("api_tokens", _id=first["id"])
    copies = [
        {**row, "_id": new_object_id(), "tokenHash": f"hash {first['id']} {n}"} for n in range(49)
    ]
    await api.runtime.db.platform("api_tokens").insert_many(copies)
    answer = await admin.post("/api-tokens", {"name": "x", "scopes": ["profile"]})
    assert (answer.status, answer.code) == (409, "too_many_api_tokens")


async def test_events_tell_of_tokens_without_telling_them(api: Api) -> None:
    admin = await api.found_company()
    token = await made(admin, "tasks:read")
    await admin.delete(f"/api-tokens/{token['id']}")
    events = await api.rows("events", companyId=admin.company_id, resourceId=token["id"])
    assert [event["type"] for event in events] == ["token.created", "token.revoked"]
    assert token["token"] not in str(events)


async def test_an_operators_token_needs_the_header_for_a_companys_things(api: Api) -> None:
    operator, admin = await api.add_operator(), await api.found_company()
    body = {"name": "watch", "scopes": ["system:read", "tasks:read"]}
    await step_up(api, operator)
    token = (await operator.post("/api-tokens", body)).json()
    script = bearer(api, token)
    assert "checks" in (await script.get("/health")).json()
    assert (await script.get("/tasks")).status == 403
    header = {"x-novapulse-company": str(admin.company_id)}
    assert (await script.get("/tasks", headers=header)).status == 200
    assert (await script.get("/company", headers=header)).status == 403
