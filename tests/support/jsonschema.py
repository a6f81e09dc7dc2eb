"""Whether a value fits a JSON Schema: the part of 2020-12 that our schemas are written in."""

import re
from datetime import datetime
from typing import Any

_TYPES: dict[str, tuple[type, ...]] = {
    "object": (dict,),
    "array": (list,),
    "string": (str,),
    "integer": (int,),
    "number": (int, float),
    "boolean": (bool,),
    "null": (type(None),),
}
_KNOWN = {
    *("$schema", "$ref", "$defs", "type", "properties", "required", "additionalProperties"),
    *("items", "prefixItems", "minItems", "maxItems", "enum", "const", "anyOf", "pattern"),
    *("minLength", "maxLength", "minimum", "maximum", "format", "title", "description", "default"),
}


def violations(value: Any, schema: dict[str, Any], root: Any = None, at: str = "$") -> list[str]:
    """What does not fit, a line each; fails for a word that is not known here."""
    root = root or schema
    assert schema.keys() <= _KNOWN, schema.keys() - _KNOWN
    if "$ref" in schema:
        schema = root["$defs"][schema["$ref"].removeprefix("#/$defs/")]
    if "anyOf" in schema:
        tried = [violations(value, one, root, at) for one in schema["anyOf"]]
        return [] if any(not found for found in tried) else [f"{at}: fits none of the choices"]
    found = []
    if "const" in schema and value != schema["const"]:
        found.append(f"{at}: is not {schema['const']}")
    if "enum" in schema and value not in schema["enum"]:
        found.append(f"{at}: is none of {schema['enum']}")
    kind = schema.get("type")
    if kind is not None:
        is_bool = isinstance(value, bool)
        if not isinstance(value, _TYPES[kind]) or (is_bool and kind != "boolean"):
            return [*found, f"{at}: is no {kind}"]
    if isinstance(value, str):
        found += _text(value, schema, at)
    elif isinstance(value, list):
        for number, item in enumerate(value):
            found += violations(item, schema.get("items", {}), root, f"{at}[{number}]")
    elif isinstance(value, dict):
        found += _members(value, schema, root, at)
    return found


def _members(value: dict[str, Any], schema: dict[str, Any], root: Any, at: str) -> list[str]:
    properties = schema.get("properties", {})
    found = [f"{at}.{name}: is missing" for name in schema.get("required", ()) if name not in value]
    rest = schema.get("additionalProperties", {})
    for name, item in value.items():
        if name in properties:
            found += violations(item, properties[name], root, f"{at}.{name}")
        elif rest is False or (properties and "additionalProperties" not in schema):
            found.append(f"{at}.{name}: is not described")
        elif isinstance(rest, dict):
            found += violations(item, rest, root, f"{at}.{name}")
    return found


def _text(value: str, schema: dict[str, Any], at: str) -> list[str]:
    found = []
    if "pattern" in schema and not re.search(schema["pattern"], value):
        found.append(f"{at}: does not match {schema['pattern']}")
    if schema.get("format") == "date-time":
        try:
            datetime.fromisoformat(value)
        except ValueError:
            found.append(f"{at}: is no time")
    return found
