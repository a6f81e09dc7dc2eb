"""Declaring routes: what the decorator reads from a handler, and what it refuses."""

from typing import Any

import msgspec
import pytest

from novapulse.core.access import Scope
from novapulse.core.routing import Guard, Handler, Reply, Route, Routes


class Thing(msgspec.Struct):
    id: str


class Query(msgspec.Struct):
    limit: int = 50


def declared(method: str, path: str, handler: Handler, **options: Any) -> Route:
    routes = Routes("things")
    routes.add(method, path, **{"scope": Scope.TASKS_READ, **options})(handler)
    (route,) = routes.declared
    return route


def test_a_handlers_parameters_say_what_it_takes() -> None:
    async def change(ctx: Any, thing_id: str, body: Thing, query: Query, if_match: int) -> Thing:
        raise NotImplementedError

    route = declared("PATCH", "/things/{id}", change)
    assert (route.body, route.query, route.returns) == (Thing, Query, Thing)
    assert route.takes_if_match
    assert (route.placeholders, route.arguments) == (("id",), ("thing_id",))
    assert route.template == "/api/v1/things/{id}"
    assert (route.guard, route.status, route.tag) == (Guard.REQUIRED, 200, "things")


def test_a_route_without_a_scope_is_public() -> None:
    async def look(ctx: Any) -> Thing:
        raise NotImplementedError

    assert declared("GET", "/things", look, scope=None).guard is Guard.PUBLIC


def test_a_handler_that_returns_nothing_answers_204() -> None:
    async def remove(ctx: Any) -> None: ...

    route = declared("DELETE", "/things", remove)
    assert (route.status, route.returns) == (204, None)


def test_a_handler_that_answers_by_itself_has_no_schema() -> None:
    async def page(ctx: Any) -> Reply:
        raise NotImplementedError

    assert declared("GET", "/page", page).returns is None


async def _takes_none(ctx: Any) -> Thing:
    raise NotImplementedError


async def _takes_one(ctx: Any, thing_id: str) -> Thing:
    raise NotImplementedError


async def _takes_two(ctx: Any, thing_id: str, other_id: str) -> Thing:
    raise NotImplementedError


@pytest.mark.parametrize(
    ("path", "handler"),
    [
        ("/things/{id}", _takes_none),
        ("/things", _takes_one),
        ("/things/{id}", _takes_two),
        ("/things/{id}/others/{other}", _takes_one),
    ],
)
def test_a_handler_that_does_not_fit_its_path_is_refused(path: str, handler: Handler) -> None:
    with pytest.raises(TypeError, match="do not fit"):
        declared("GET", path, handler)


def test_a_misspelt_option_is_refused() -> None:
    with pytest.raises(TypeError):
        declared("GET", "/things", _takes_none, guards=Guard.PUBLIC)
