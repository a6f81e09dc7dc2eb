"""Every route, as every role, on the own, a colleague's, another company's and no thing.

What must come out is computed from the one table of roles and scopes. The
routes come from the program, so that a new one is tried, or fails until
tests/support/routes.py describes it.
"""

import hashlib
import re
from dataclasses import replace
from typing import Any

import bson
import pytest

from novapulse.core.access import Grant, Role, Scope, cell, scopes_of
from novapulse.core.context import Context
from novapulse.core.documents import new_object_id
from novapulse.core.routing import Guard, Route
from novapulse.people import api_tokens
from novapulse.people.model import NewApiToken
from novapulse.processes.features import ROUTES
from tests.support.api import ABSENT, Answer, Person
from tests.support.routes import DESCRIBED, PUBLIC, World, acting_on, named, principal_of, step_up

SCOPED = [route for route in ROUTES if route.scope is not None and named(route) in DESCRIBED]
NAMING = [route for route in SCOPED if route.placeholders and DESCRIBED[named(route)].is_tenants]
_IDS = re.compile(r"{\w+}")
_PER_ANSWER = ("x-request-id", "ratelimit", "ratelimit-policy")


def test_every_route_is_described_and_nothing_else_is() -> None:
    assert sorted(DESCRIBED) == sorted(named(route) for route in ROUTES)


def test_what_is_described_as_public_is_what_asks_for_no_scope() -> None:
    public = {named(r) for r in ROUTES if r.scope is None or r.guard is Guard.OPTIONAL}
    assert {name for name, described in DESCRIBED.items() if described is PUBLIC} == public


@pytest.mark.parametrize("route", SCOPED, ids=named)
async def test_nobody_gets_in_without_credentials(world: World, route: Route) -> None:
    if route.guard is Guard.OPTIONAL:
        return
    answer = await ask(world, world.api.client(), route=route, thing=new_object_id())
    assert (answer.status, answer.code) == (401, "unauthenticated")


@pytest.mark.parametrize("role", list(Role))
@pytest.mark.parametrize("route", SCOPED, ids=named)
async def test_a_role_may_what_the_table_says(world: World, route: Route, role: Role) -> None:
    described = DESCRIBED[named(route)]
    person = await somebody(world, route, role)
    if cell(scope_of(route), role) is None or needs_header(route, role):
        thing = new_object_id()
        if described.thing is not None:
            thing = await described.thing(world, world.admin)
        for named_thing in (thing, new_object_id()):
            answer = await ask(world, person, route=route, thing=named_thing)
            assert answer.status == (200 if route.guard is Guard.OPTIONAL else 403)
        return
    own = await described.thing(world, person) if described.thing is not None else ""
    answer = await ask(world, person, route=route, thing=own)
    assert answer.status in succeeds(route), answer.body
    if role is not Role.SUPER_ADMIN:
        assert_no_hint(world, answer)


@pytest.mark.parametrize("route", SCOPED, ids=named)
async def test_the_operator_may_with_the_header_what_an_administrator_may(
    world: World, route: Route
) -> None:
    described = DESCRIBED[named(route)]
    if cell(scope_of(route), Role.SUPER_ADMIN) is not Grant.HEADER:
        return
    operator = await somebody(world, route, Role.SUPER_ADMIN)
    operator = acting_on(operator, str(world.admin.company_id))
    own = await described.thing(world, operator) if described.thing is not None else ""
    answer = await ask(world, operator, route=route, thing=own)
    assert answer.status in succeeds(route), answer.body
    assert_no_hint(world, answer)


@pytest.mark.parametrize("role", list(Role))
@pytest.mark.parametrize("route", NAMING, ids=named)
async def test_anothers_company_is_byte_for_byte_like_nothing(
    world: World, route: Route, role: Role
) -> None:
    described = DESCRIBED[named(route)]
    if cell(scope_of(route), role) is Grant.ALL and role is Role.SUPER_ADMIN:
        return  # what reaches all companies has no foreign one
    person = await somebody(world, route, role)
    if needs_header(route, role):
        person = acting_on(person, str(world.admin.company_id))
    assert described.thing is not None
    foreign = await described.thing(world, world.stranger)
    before = await everything_of(world, str(world.stranger.company_id))
    answers = [
        await ask(world, person, route=route, thing=thing)
        for thing in (foreign, new_object_id(), "no-id-at-all")
    ]
    assert await everything_of(world, str(world.stranger.company_id)) == before
    allowed = cell(scope_of(route), role) is not None
    assert [answer.status for answer in answers] == [404 if allowed else 403] * 3
    assert comparable(answers[0]) == comparable(answers[1])


@pytest.mark.parametrize("role", [Role.COMPANY_ADMIN, Role.MANAGER, Role.USER])
@pytest.mark.parametrize("route", [r for r in NAMING if DESCRIBED[named(r)].owned], ids=named)
async def test_a_colleagues_thing_is_as_far_as_the_grant_reaches(
    world: World, route: Route, role: Role
) -> None:
    described, granted = DESCRIBED[named(route)], cell(scope_of(route), role)
    if granted is None:
        return
    person = await somebody(world, route, role)
    colleague = await world.newcomer(Role.MANAGER)
    assert described.thing is not None
    thing = await described.thing(world, colleague)
    answer = await ask(world, person, route=route, thing=thing)
    expected = succeeds(route) if granted is Grant.ALL else (described.beyond[granted],)
    assert answer.status in expected, answer.body


@pytest.mark.parametrize("role", list(Role))
@pytest.mark.parametrize("route", SCOPED, ids=named)
async def test_an_api_token_needs_the_scope_itself(world: World, route: Route, role: Role) -> None:
    if route.guard is Guard.OPTIONAL:
        return
    scope, described = scope_of(route), DESCRIBED[named(route)]
    person = world.people[role]
    others = tuple(scopes_of(role) - {scope})
    without = await with_token(world, person, others)
    if needs_header(route, role):
        without = acting_on(without, str(world.admin.company_id))
    answer = await ask(world, without, route=route, thing=new_object_id())
    assert answer.status == 403
    if scope not in scopes_of(role):
        return
    only = await with_token(world, person, (scope, *described.also_needs))
    if needs_header(route, role):
        only = acting_on(only, str(world.admin.company_id))
    thing = await described.thing(world, world.admin) if described.thing is not None else ""
    answer = await ask(world, only, route=route, thing=thing)
    # What is not within reach is missing; what needs a session says so.
    assert answer.status in (*succeeds(route), 403, 404), answer.body
    if answer.status == 403:
        assert "does not have the scope" not in answer.json()["detail"]
    if described.step_up and described.also_needs:
        assert answer.status in succeeds(route), answer.body
    elif described.step_up:
        assert (answer.status, answer.code) == (403, "step_up_required")


def scope_of(route: Route) -> Scope:
    assert route.scope is not None
    return route.scope


def needs_header(route: Route, role: Role) -> bool:
    return cell(scope_of(route), role) is Grant.HEADER


def succeeds(route: Route) -> tuple[int, ...]:
    return DESCRIBED[named(route)].statuses or (route.status,)


async def somebody(world: World, route: Route, role: Role) -> Person:
    """In that role, able to do what the route does to whoever calls it."""
    described = DESCRIBED[named(route)]
    person = await world.newcomer(role) if described.needs_newcomer else world.people[role]
    if described.step_up:
        await step_up(world.api, person)
    return person


async def with_token(world: World, person: Person, scopes: tuple[Scope, ...]) -> Person:
    ctx = Context(world.api.runtime, principal_of(person), request_id="test", via="cli")
    await world.api.runtime.db.platform("api_tokens").delete_many({"userId": person.id})
    made = await api_tokens.create_api_token(ctx, NewApiToken(name="only", scopes=scopes))
    return replace(person, headers={"authorization": f"Bearer {made.token}"})


async def ask(world: World, person: Any, *, route: Route, thing: str) -> Answer:
    described = DESCRIBED[named(route)]
    body = ABSENT
    if described.body is not None:
        body = await described.body(world, person)
    path = _IDS.sub(thing, route.path) + described.query
    answer: Answer = await person.request(route.method, path, data=body)
    return answer


def comparable(answer: Answer) -> tuple[int, dict[str, str], bytes]:
    headers = {name: text for name, text in answer.headers.items() if name not in _PER_ANSWER}
    return answer.status, headers, answer.anonymous_body()


def assert_no_hint(world: World, answer: Answer) -> None:
    """Nothing of the other company is in an answer to somebody of this one."""
    for hint in (world.stranger.id, str(world.stranger.company_id), world.stranger.email):
        assert hint.encode() not in answer.body


async def everything_of(world: World, company_id: str) -> dict[str, str]:
    """A digest of the company's rows in every collection."""
    found = {}
    for collection in await world.api.collections():
        rows = await world.api.rows(collection, companyId=company_id)
        digest = hashlib.sha256(b"".join(bson.encode(row) for row in rows))
        found[collection] = digest.hexdigest()
    return found
