"""What a webhook can ask for: every public event with its JSON Schema and an example."""

from functools import cache
from typing import Any, get_type_hints

import msgspec
from msgspec import inspect

from novapulse.core import wire
from novapulse.core.events import CATALOGUE, Event, matches

_REF = "#/$defs/{name}"
_TIME = "2026-11-23T16:29:53.501Z"
_EVENT_ID = "evt_01m84kw5ez7rbd5s1586dgsj6p"
_OBJECT_ID = "6b046a0155b9001a25bf6c1b"
# What a text of this name looks like.
_TEXTS = {
    "email": "ann@example.com",
    "url": "https://hooks.example.com/novapulse",
    "address": "192.0.2.1",
    "device": "Firefox on Linux",
}
_ENVELOPE: dict[str, Any] = {
    "id": {"type": "string", "pattern": "^evt_[0-9a-z]{26}$"},
    "version": {"type": "integer"},
    "createdAt": {"type": "string", "format": "date-time"},
    "companyId": {"type": "string"},
    "sequence": {"type": "integer"},
}


class EventType(msgspec.Struct, frozen=True, kw_only=True):
    """One type; `schema` describes the whole body that a receiver gets, `example` is one."""

    name: str
    schema: dict[str, Any]
    example: dict[str, Any]


@cache
def event_types() -> tuple[EventType, ...]:
    """All of them by name; to be asked once the features are imported."""
    return tuple(_described(name, kind) for name, kind in sorted(CATALOGUE.items()))


def is_known(pattern: str) -> bool:
    """Whether any event matches it."""
    return any(matches(pattern, name) for name in CATALOGUE)


def _described(name: str, kind: type[Event]) -> EventType:
    hints = get_type_hints(kind)
    names = [field for field in kind.__struct_fields__ if field != "changed"]
    kinds = [hints[field] for field in names]
    schemas, components = msgspec.json.schema_components(kinds, ref_template=_REF)
    data: dict[str, Any] = dict(zip(names, schemas, strict=True))
    sample: dict[str, Any] = {
        field: _sample(inspect.type_info(hints[field]), field) for field in names
    }
    required = list(data)
    data["changed"] = {"type": "array", "items": {"type": "string"}}
    if name.endswith(".updated"):
        required.append("changed")
        sample["changed"] = [next(key for key in sample[kind.resource] if key != "id")]
    envelope = {
        **_ENVELOPE,
        "event": {"const": name},
        "data": {"type": "object", "properties": data, "required": required},
    }
    return EventType(
        name=name,
        schema={
            "$schema": "https://json-schema.org/draft/2020-12/schema",
            "type": "object",
            "properties": envelope,
            "required": list(envelope),
            "$defs": components,
        },
        example={
            "id": _EVENT_ID,
            "event": name,
            "version": kind.version,
            "createdAt": _TIME,
            "companyId": _OBJECT_ID,
            "sequence": 421,
            "data": sample,
        },
    )


def _sample(kind: inspect.Type, name: str) -> Any:
    """A value of the type, as it would be sent."""
    match kind:
        case inspect.Metadata():
            return _sample(kind.type, name)
        case inspect.UnionType():
            options = [one for one in kind.types if not isinstance(one, inspect.NoneType)]
            return _sample(options[0], name)
        case inspect.StructType():
            return {
                field.encode_name: _sample(field.type, field.encode_name) for field in kind.fields
            }
        case inspect.ListType() | inspect.VarTupleType():
            return [_sample(kind.item_type, name)]
        case inspect.EnumType():
            return wire.to_wire(next(iter(kind.cls)).value)
        case inspect.LiteralType():
            return kind.values[0]
        case inspect.StrType():
            return _text(name)
    return {
        inspect.DateTimeType: _TIME,
        inspect.BoolType: True,
        inspect.IntType: 1,
        inspect.FloatType: 1.5,
    }.get(type(kind), {})


def _text(name: str) -> str:
    if name == "id" or name.endswith(("Id", "Ids", "By")):
        return _OBJECT_ID
    return _TEXTS.get(name, f"some {name}")
