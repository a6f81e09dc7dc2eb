"""`/users`: looking at members, changing them, keeping them out."""

import asyncio

import pytest

from novapulse.core.access import Role
from novapulse.core.documents import new_object_id
from tests.support.api import PASSWORD, Api, Person


async def team(api: Api) -> tuple[Person, Person, Person]:
    """A company's administrator, manager and user; nobody leads the user yet."""
    admin = await api.found_company()
    company_id = str(admin.company_id)
    manager = await api.add_member(company_id, Role.MANAGER)
    return admin, manager, await api.add_member(company_id)


async def test_an_administrator_changes_a_name_and_an_event_tells_it(api: Api) -> None:
    admin, _, user = await team(api)
    answer = await admin.patch(f"/users/{user.id}", {"name": "Ann"})
    assert answer.json()["name"] == "Ann"
    assert answer.headers["etag"] == '"2"'
    (event,) = await api.rows("events", type="user.updated", resourceId=user.id)
    data = event["data"]
    assert (data["changed"], data["user"]["name"]) == (["name"], "Ann")
    assert "passwordHash" not in str(event)


async def test_changing_nothing_writes_nothing(api: Api) -> None:
    admin, _, user = await team(api)
    name = (await admin.get(f"/users/{user.id}")).json()["name"]
    answer = await admin.patch(f"/users/{user.id}", {"name": name})
    assert answer.json()["version"] == 1
    assert not await api.rows("events", type="user.updated", resourceId=user.id)


async def test_a_stale_version_is_not_overwritten(api: Api) -> None:
    admin, _, user = await team(api)
    await admin.patch(f"/users/{user.id}", {"name": "Ann"})
    answer = await admin.patch(f"/users/{user.id}", {"name": "Bob"}, headers={"if-match": '"1"'})
    assert (answer.status, answer.code) == (412, "version_conflict")


async def test_a_new_role_holds_at_the_next_request(api: Api) -> None:
    admin, _, user = await team(api)
    assert (await user.get("/webhooks")).status == 403
    answer = await admin.patch(f"/users/{user.id}", {"role": "manager"})
    assert answer.json()["role"] == "manager"
    assert (await user.get("/webhooks")).status == 200
    assert len(await api.rows("events", type="user.role_changed", resourceId=user.id)) == 1


@pytest.mark.parametrize("role", ["super_admin", "owner", "", None, 1])
async def test_no_other_role_can_be_given(api: Api, role: object) -> None:
    admin, _, user = await team(api)
    answer = await admin.patch(f"/users/{user.id}", {"role": role})
    assert (answer.status, answer.paths) == (422, ["role"])


async def test_only_an_administrator_changes_roles(api: Api) -> None:
    _, manager, user = await team(api)
    for person in (manager, user):
        answer = await person.patch(f"/users/{person.id}", {"role": "company_admin"})
        assert (answer.status, answer.code) == (403, "forbidden")


async def test_the_last_administrator_stays_one(api: Api) -> None:
    admin, _, _ = await team(api)
    for answer in (
        await admin.patch(f"/users/{admin.id}", {"role": "user"}),
        await admin.post(f"/users/{admin.id}/disable"),
    ):
        assert (answer.status, answer.code) == (409, "last_admin")
    assert (await admin.get("/company")).status == 200


async def test_a_disabled_administrator_does_not_count(api: Api) -> None:
    admin, _, _ = await team(api)
    other = await api.add_member(str(admin.company_id), Role.COMPANY_ADMIN)
    assert (await admin.post(f"/users/{other.id}/disable")).status == 200
    answer = await admin.patch(f"/users/{admin.id}", {"role": "user"})
    assert (answer.status, answer.code) == (409, "last_admin")


async def test_administrators_who_demote_each_other_at_once_leave_one(api: Api) -> None:
    for _ in range(5):
        first = await api.found_company()
        second = await api.add_member(str(first.company_id), Role.COMPANY_ADMIN)
        answers = await asyncio.gather(
            first.patch(f"/users/{second.id}", {"role": "user"}),
            second.patch(f"/users/{first.id}", {"role": "user"}),
        )
        assert 200 in [answer.status for answer in answers]
        rows = await api.rows("users", companyId=first.company_id, role="company_admin")
        assert len(rows) == 1


async def test_a_manager_changes_whom_they_lead_and_nobody_else(api: Api) -> None:
    admin, manager, user = await team(api)
    refused = await manager.patch(f"/users/{user.id}", {"name": "Ann"})
    assert (refused.status, refused.code) == (403, "forbidden")
    await admin.patch(f"/users/{user.id}", {"managerId": manager.id})
    assert (await manager.patch(f"/users/{user.id}", {"name": "Ann"})).status == 200
    assert (await manager.post(f"/users/{user.id}/disable")).json()["status"] == "disabled"
    assert (await manager.post(f"/users/{user.id}/enable")).json()["status"] == "active"


async def test_a_manager_has_no_say_over_another_manager_even_when_leading_them(api: Api) -> None:
    admin, manager, _ = await team(api)
    peer = await api.add_member(str(admin.company_id), Role.MANAGER)
    await admin.patch(f"/users/{peer.id}", {"managerId": manager.id})
    assert (await manager.post(f"/users/{peer.id}/disable")).status == 403


async def test_everybody_changes_their_own_name_and_no_user_sees_another(api: Api) -> None:
    _, manager, user = await team(api)
    assert (await user.patch(f"/users/{user.id}", {"name": "Me"})).json()["name"] == "Me"
    assert (await manager.patch(f"/users/{manager.id}", {"name": "Me"})).status == 200
    assert (await user.get(f"/users/{manager.id}")).status == 404
    assert (await user.patch(f"/users/{manager.id}", {"name": "You"})).status == 404
    assert [row["id"] for row in (await user.get("/users")).json()["data"]] == [user.id]


async def test_nobody_but_an_administrator_disables_themselves(api: Api) -> None:
    admin, manager, user = await team(api)
    assert (await user.post(f"/users/{user.id}/disable")).status == 403
    assert (await manager.post(f"/users/{manager.id}/disable")).status == 403
    await api.add_member(str(admin.company_id), Role.COMPANY_ADMIN)
    assert (await admin.post(f"/users/{admin.id}/disable")).status == 200


async def test_only_somebody_who_may_lead_becomes_a_leader(api: Api) -> None:
    admin, manager, user = await team(api)
    other = await api.found_company()
    peer = await api.add_member(str(admin.company_id))
    for who in (peer.id, user.id, other.id, new_object_id()):
        answer = await admin.patch(f"/users/{user.id}", {"managerId": who})
        assert (answer.status, answer.paths) == (422, ["managerId"])
    assert (await admin.patch(f"/users/{user.id}", {"managerId": manager.id})).status == 200
    assert (await admin.patch(f"/users/{user.id}", {"managerId": None})).status == 200


async def test_a_disabled_user_is_out_at_once_and_comes_back_with_the_password(api: Api) -> None:
    admin, _, user = await team(api)
    answer = await admin.post(f"/users/{user.id}/disable")
    assert (answer.status, answer.json()["status"]) == (200, "disabled")
    assert (await user.get("/auth/me")).status == 401
    login = {"email": user.email, "password": PASSWORD}
    assert (await api.client().post("/auth/login", login)).status == 401
    assert not await api.rows("sessions", userId=user.id)
    await admin.post(f"/users/{user.id}/enable")
    assert (await api.client().post("/auth/login", login)).status == 200
    kinds = [row["type"] for row in await api.rows("events", resourceId=user.id)]
    switched = [kind for kind in kinds if kind in ("user.disabled", "user.enabled")]
    assert switched == ["user.disabled", "user.enabled"]


async def test_disabling_twice_is_one_event(api: Api) -> None:
    admin, _, user = await team(api)
    for _ in range(2):
        assert (await admin.post(f"/users/{user.id}/disable")).status == 200
    assert len(await api.rows("events", type="user.disabled", resourceId=user.id)) == 1


async def test_lists_are_filtered_by_role_status_and_beginning(api: Api) -> None:
    admin, manager, user = await team(api)
    await admin.patch(f"/users/{user.id}", {"name": "Zoë Müller"})
    await admin.post(f"/users/{user.id}/disable")
    for query, expected in {
        "role=manager": [manager.id],
        "status=disabled": [user.id],
        "role=manager&status=disabled": [],
        "q=zo%C3%AB": [user.id],
        "q=Zo%C3%AB%20M": [user.id],
        f"q={user.email[:8]}": [user.id],
        "q=M%C3%BCller": [],
    }.items():
        rows = (await admin.get(f"/users?{query}")).json()["data"]
        assert [row["id"] for row in rows if row["id"] != admin.id] == expected, query


@pytest.mark.parametrize("q", [".*", "^", "(", "[a-z]", "\\", "$", "a|b", "(?i)", "{$ne:1}"])
async def test_what_is_searched_for_is_text_and_no_pattern(api: Api, q: str) -> None:
    from urllib.parse import quote

    admin, _, user = await team(api)
    assert (await admin.get(f"/users?q={quote(q, safe='')}")).json()["data"] == []
    await admin.patch(f"/users/{user.id}", {"name": f"{q}name"})
    (row,) = (await admin.get(f"/users?q={quote(q, safe='')}")).json()["data"]
    assert row["id"] == user.id


@pytest.mark.parametrize(
    "query", ["q=", f"q={'a' * 65}", "q=a%00", "role=super_admin", "status=x", "limit=0", "x=1"]
)
async def test_an_unusable_filter_is_said_so(api: Api, query: str) -> None:
    admin, _, _ = await team(api)
    assert (await admin.get(f"/users?{query}")).status == 422


async def test_pages_follow_each_other_without_gaps(api: Api) -> None:
    admin, manager, user = await team(api)
    seen, cursor = [], ""
    while True:
        listing = (await admin.get(f"/users?limit=1{cursor}")).json()
        seen += [row["id"] for row in listing["data"]]
        if listing["page"]["nextCursor"] is None:
            break
        cursor = f"&cursor={listing['page']['nextCursor']}"
    assert seen == [user.id, manager.id, admin.id]


async def test_nothing_secret_is_in_what_is_shown(api: Api) -> None:
    admin, _, user = await team(api)
    shown = (await admin.get(f"/users/{user.id}")).json()
    assert set(shown) == {
        *("id", "email", "name", "role", "status", "managerId"),
        *("createdAt", "updatedAt", "version"),
    }
