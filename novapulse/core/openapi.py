"""The OpenAPI 3.1 document, from the declared routes and their structs."""

from collections.abc import Sequence
from http import HTTPStatus
from typing import Any

import msgspec

from novapulse import __version__
from novapulse.core.idempotency import MAX_KEY_LENGTH
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

_PROBLEMS = {"application/problem+json": {"schema": {"$ref": _REF.format(name="Problem")}}}


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
        "parameters": [*_path_parameters(route), *_query_parameters(route), *_headers(route)],
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


def _headers(route: Route) -> list[dict[str, Any]]:
    """Those that a request may carry beside its credentials."""
    headers = []
    if route.takes_if_match:
        text = "The ETag that was read; 412 when the resource has changed since."
        headers.append(_header("If-Match", text, {"pattern": r'^(\*|"[0-9]{1,9}")$'}))
    if route.method == "POST" and route.scope is not None:
        text = "For 24 hours the same key and body get the first answer again."
        size = {"minLength": 1, "maxLength": MAX_KEY_LENGTH}
        headers.append(_header("Idempotency-Key", text, size))
    return headers


def _header(name: str, text: str, limits: dict[str, Any]) -> dict[str, Any]:
    schema = {"type": "string", **limits}
    return {"name": name, "in": "header", "required": False, "description": text, "schema": schema}


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
    answers = {str(status): success for status in (route.status, *route.also)}
    for status in sorted(_problems(route)):
        answers[str(status)] = {"description": HTTPStatus(status).phrase, "content": _PROBLEMS}
    return answers


def _problems(route: Route) -> set[int]:
    """The statuses of the problems that a route can meet, by what it takes and does."""
    # An unreadable request, a body that is too large or slow, odd parameters, a bug, no database.
    problems = {400, 408, 413, 422, 431, 500, 503}
    if route.limit is not None:
        problems.add(429)
    if route.scope is not None or route.method != "GET":
        # Who asks, who may not, whose company is not there; sign-ins are like that, too.
        problems |= {401, 403, 404}
    if route.placeholders:
        problems |= {404, 410}
    if route.body is not None:
        problems.add(415)
    if route.method != "GET":
        problems |= {409, 410, 507}
    if route.takes_if_match:
        problems.add(412)
    if 206 in route.also:
        problems |= {409, 416}  # of a file that is not there yet, or is shorter
    return problems
