"""The OpenAPI 3.1 document, from the declared routes and their structs."""

from collections.abc import Sequence
from typing import Any

import msgspec

from novapulse import __version__
from novapulse.core.problem import STATUS
from novapulse.core.routing import PREFIX, Guard, Route

_REF = "#/components/schemas/{name}"
_PROBLEM: dict[str, Any] = {
    "type": "object",
    "required": ["type", "title", "status", "detail", "code", "requestId"],
    "properties": {
        "type": {"type": "string"},
        "title": {"type": "string"},
        "status": {"type": "integer"},
        "detail": {"type": "string"},
        "code": {"type": "string"},
        "requestId": {"type": "string"},
        "retryAfter": {"type": "integer"},
        "challengeToken": {"type": "string"},
        "errors": {
            "type": "array",
            "items": {
                "type": "object",
                "properties": {"path": {"type": "string"}, "message": {"type": "string"}},
            },
        },
    },
}


def document(routes: Sequence[Route]) -> dict[str, Any]:
    """All paths with their parameters, bodies, answers and problems."""
    types = [kind for route in routes for kind in (route.body, route.returns) if kind is not None]
    unique = list({repr(kind): kind for kind in types}.values())
    schemas, components = msgspec.json.schema_components(unique, ref_template=_REF)
    named = dict(zip((repr(kind) for kind in unique), schemas, strict=True))
    paths: dict[str, Any] = {}
    for route in routes:
        operation = _operation(route, named)
        paths.setdefault(route.path, {})[route.method.lower()] = operation
    return {
        "openapi": "3.1.0",
        "info": {"title": "NovaPulse", "version": __version__},
        "servers": [{"url": PREFIX}],
        "paths": paths,
        "components": {
            "schemas": {**components, "Problem": _PROBLEM},
            "securitySchemes": {"bearer": {"type": "http", "scheme": "bearer"}},
        },
    }


def _operation(route: Route, named: dict[str, Any]) -> dict[str, Any]:
    operation: dict[str, Any] = {
        "operationId": route.handler.__name__,
        "summary": (route.handler.__doc__ or "").strip().partition("\n")[0],
        "tags": [route.tag],
        "parameters": [*_path_parameters(route), *_query_parameters(route)],
        "responses": _responses(route, named),
    }
    if route.scope is not None:
        operation["security"] = [{"bearer": []}]
        operation["description"] = f"Needs the scope `{route.scope}`."
    if route.guard is Guard.OPTIONAL:
        operation["security"] = [{}, {"bearer": []}]
    if route.body is not None:
        content = {"application/json": {"schema": named[repr(route.body)]}}
        operation["requestBody"] = {"required": True, "content": content}
    return operation


def _path_parameters(route: Route) -> list[dict[str, Any]]:
    return [
        {"name": name, "in": "path", "required": True, "schema": {"type": "string"}}
        for name in route.placeholders
    ]


def _query_parameters(route: Route) -> list[dict[str, Any]]:
    if route.query is None:
        return []
    (_, components) = msgspec.json.schema_components([route.query], ref_template=_REF)
    properties = components[route.query.__name__]["properties"]
    return [
        {"name": name, "in": "query", "required": False, "schema": _inline(schema, components)}
        for name, schema in properties.items()
    ]


def _inline(schema: Any, components: dict[str, Any]) -> Any:
    """Query schemas are small: what they refer to is put in their place."""
    if isinstance(schema, dict):
        if "$ref" in schema:
            return components[schema["$ref"].rpartition("/")[2]]
        return {name: _inline(value, components) for name, value in schema.items()}
    if isinstance(schema, list):
        return [_inline(item, components) for item in schema]
    return schema


def _responses(route: Route, named: dict[str, Any]) -> dict[str, Any]:
    success: dict[str, Any] = {"description": "Success"}
    if route.returns is not None:
        success["content"] = {route.media_type: {"schema": named[repr(route.returns)]}}
    problem = {"application/problem+json": {"schema": {"$ref": _REF.format(name="Problem")}}}
    answers = {str(route.status): success}
    for status in sorted(set(STATUS.values()) | {500}):
        answers[str(status)] = {"description": "Problem", "content": problem}
    return answers
