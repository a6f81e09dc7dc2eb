"""The OpenAPI document, taken at its word: what schemathesis makes of it is sent as every role.

No answer may be a bug, have a status that the document does not name for the
route, or a body that does not fit what is promised.
"""

import json
import os
from collections.abc import Mapping
from contextlib import suppress
from typing import Any
from urllib.parse import quote, urlencode

import jsonschema_rs
import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis.errors import Unsatisfiable
from schemathesis import GenerationMode

from novapulse.core import openapi
from novapulse.core.access import Role
from novapulse.core.routing import Route
from novapulse.processes.features import ROUTES
from tests.support.api import Answer, Client
from tests.support.routes import DESCRIBED, World, acting_on, make_world, named

EXAMPLES = int(os.environ.get("CONTRACT_EXAMPLES", "3"))
DOCUMENT = openapi.document(ROUTES)
Case = schemathesis.Case[Any]
SCHEMA = schemathesis.openapi.from_dict(DOCUMENT)


@pytest.mark.parametrize("route", ROUTES, ids=named)
async def test_every_answer_is_one_that_is_documented(world: World, route: Route) -> None:
    if route.path == "/company":  # a drawn policy ("second factors only") shuts everybody out
        world = await make_world(world.api)
    thing = await existing(world, route)
    for mode in (GenerationMode.POSITIVE, GenerationMode.NEGATIVE):
        for number, case in enumerate(cases(route, mode)):
            path = target(route, case, thing=thing if number % 2 == 0 else None)
            for client in await everybody(world, route):
                judge(route, await client.request(route.method, path, **content(case)))


async def existing(world: World, route: Route) -> str | None:
    """What the path could name, where a change of it harms no other test."""
    described = DESCRIBED[named(route)]
    if described.thing is None or not described.is_tenants:
        return None
    return await described.thing(world, world.admin)


def cases(route: Route, mode: GenerationMode) -> list[Case]:
    """Requests that fit the description, or in one respect do not; the same ones every time."""
    operation = SCHEMA[route.path][route.method]
    drawn: list[Case] = []

    @settings(
        max_examples=EXAMPLES,
        database=None,
        derandomize=True,
        deadline=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(case=operation.as_strategy(generation_mode=mode))
    def draw(case: Case) -> None:
        drawn.append(case)

    with suppress(Unsatisfiable):  # nothing can be wrong with a request that takes nothing
        draw()
    return drawn[:EXAMPLES]


async def everybody(world: World, route: Route) -> list[Client]:
    """Nobody, and one of each role; somebody new where a success or a guess signs them out."""
    people: list[Client] = [world.api.client()]
    is_about_them = route.path.startswith("/auth/") and route.method != "GET"
    for role, person in world.people.items():
        one = await world.newcomer(role) if is_about_them else person
        people.append(one)
        if role is Role.SUPER_ADMIN:
            people.append(acting_on(one, str(world.admin.company_id)))
    return people


def target(route: Route, case: Case, *, thing: str | None) -> str:
    """The path with the drawn parameters, or with the id of something that is there."""
    values = {name: str(text) for name, text in case.path_parameters.items()}
    if thing is not None:
        values[route.placeholders[-1]] = thing
    path = route.path
    for name, text in values.items():
        path = path.replace(f"{{{name}}}", quote(text, safe=""))
    query = urlencode(dict(case.query or {}), doseq=True)
    return f"{path}?{query}" if query else path


def content(case: Case) -> dict[str, Any]:
    """The body and the headers, as far as a client could send them at all."""
    headers = {
        name: text
        for name, text in dict(case.headers or {}).items()
        if name.lower() not in ("authorization", "content-type") and sendable(text)
    }
    if isinstance(case.body, schemathesis.core.NotSet):
        return {"headers": headers}
    body = case.body if isinstance(case.body, bytes) else json.dumps(case.body).encode()
    media_type = case.media_type or "application/json"
    return {"headers": {"content-type": media_type, **headers}, "body": body}


def sendable(text: Any) -> bool:
    return isinstance(text, str) and text.isascii() and text.isprintable()


def judge(route: Route, answer: Answer) -> None:
    described: Mapping[str, Any] = DOCUMENT["paths"][route.path][route.method.lower()]["responses"]
    assert answer.status < 500, answer.body
    assert str(answer.status) in described, f"{answer.status} is not documented: {answer.body!r}"
    promised = described[str(answer.status)].get("content", {})
    media_type = answer.headers.get("content-type", "").partition(";")[0]
    if media_type in ("application/json", "application/problem+json") and media_type in promised:
        schema = {**promised[media_type]["schema"], "components": DOCUMENT["components"]}
        jsonschema_rs.validator_for(schema).validate(answer.json())
