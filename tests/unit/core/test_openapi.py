"""The generated description of the API."""

import json
from typing import Any

import pytest

from novapulse.core import openapi, wire
from novapulse.core.routing import Guard, Route
from novapulse.processes.features import ROUTES

DOCUMENT: dict[str, Any] = json.loads(wire.encode(openapi.document(ROUTES)))
OPERATIONS = [
    (path, method, operation)
    for path, methods in DOCUMENT["paths"].items()
    for method, operation in methods.items()
]


def operation_of(route: Route) -> dict[str, Any]:
    found: dict[str, Any] = DOCUMENT["paths"][route.path][route.method.lower()]
    return found


def references(value: Any) -> set[str]:
    if isinstance(value, dict):
        inner = {found for item in value.values() for found in references(item)}
        return inner | ({value["$ref"]} if "$ref" in value else set())
    if isinstance(value, list):
        return {found for item in value for found in references(item)}
    return set()


def test_it_is_openapi_3_1_with_a_title_and_a_version() -> None:
    assert DOCUMENT["openapi"].startswith("3.1.")
    assert DOCUMENT["info"]["title"] == "NovaPulse"
    assert DOCUMENT["info"]["version"]
    assert DOCUMENT["servers"] == [{"url": "/api/v1"}]


def test_every_reference_leads_somewhere() -> None:
    for reference in references(DOCUMENT):
        found: Any = DOCUMENT
        for step in reference.removeprefix("#/").split("/"):
            found = found[step]
        assert found


def test_operations_have_names_of_their_own() -> None:
    names = [operation["operationId"] for _, _, operation in OPERATIONS]
    assert sorted(names) == sorted(set(names))


def test_no_route_is_left_out_or_made_up() -> None:
    assert {(path, method) for path, method, _ in OPERATIONS} == {
        (route.path, route.method.lower()) for route in ROUTES
    }


@pytest.mark.parametrize("route", ROUTES, ids=lambda route: f"{route.method} {route.path}")
def test_a_route_is_documented_with_what_it_needs_and_answers(route: Route) -> None:
    operation = operation_of(route)
    assert operation["summary"].endswith(".")
    assert operation["tags"] == [route.tag]
    in_path = [item["name"] for item in operation["parameters"] if item["in"] == "path"]
    assert in_path == list(route.placeholders)
    assert all(item["required"] for item in operation["parameters"] if item["in"] == "path")
    assert ("requestBody" in operation) == (route.body is not None)
    assert str(route.status) in operation["responses"]
    expected = {"422", "500", "503"} | ({"404"} if route.placeholders or route.scope else set())
    assert expected <= set(operation["responses"])


@pytest.mark.parametrize("route", ROUTES, ids=lambda route: f"{route.method} {route.path}")
def test_a_route_is_documented_with_its_scope(route: Route) -> None:
    operation = operation_of(route)
    if route.scope is None:
        assert "security" not in operation
    else:
        assert str(route.scope) in operation["description"]
        assert {"bearer": []} in operation["security"]
    assert ({} in operation.get("security", [])) == (route.guard is Guard.OPTIONAL)


@pytest.mark.parametrize("route", ROUTES, ids=lambda route: f"{route.method} {route.path}")
def test_query_parameters_are_documented_one_by_one(route: Route) -> None:
    named = {item["name"] for item in operation_of(route)["parameters"] if item["in"] == "query"}
    expected = set(route.query.__struct_encode_fields__) if route.query else set()
    assert named == expected
    for item in operation_of(route)["parameters"]:
        assert item["schema"]


def test_problems_are_documented_with_their_media_type() -> None:
    for _, _, operation in OPERATIONS:
        assert "application/problem+json" in operation["responses"]["500"]["content"]
