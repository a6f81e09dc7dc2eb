"""JSON as it is sent and received: camelCase names, RFC 3339 times with milliseconds.

The bytes of `encode` equal what `JSON.stringify(JSON.parse(bytes))` gives, as
long as no floats and no integer-like keys are encoded: webhook receivers may
re-serialise before they verify a signature.
"""

import re
from collections.abc import Callable, Hashable
from datetime import datetime
from functools import cache
from typing import Any, TypeVar

import msgspec

from novapulse.core import strictjson
from novapulse.core.clock import rfc3339
from novapulse.core.errors import Invalid

T = TypeVar("T")
_PLAIN = frozenset((str, int, bool, type(None)))
_encoder = msgspec.json.Encoder()
_LOCATION = re.compile(r" - at `(?:key in )?\$\.?([^`]*)`$")
_UNKNOWN = re.compile(r"^Object contains unknown field `([^`]*)`")
_MISSING = re.compile(r"^Object missing required field `([^`]*)`")


def encode(value: Any) -> bytes:
    return _encoder.encode(to_wire(value))


def to_wire(value: Any) -> Any:
    """Plain JSON types; structs become objects with their wire names, unset fields vanish."""
    kind = type(value)
    if kind in _PLAIN:
        return value
    if kind is datetime:
        return rfc3339(value)
    if isinstance(value, msgspec.Struct):
        return _renderer(kind)(value)  # type: ignore[arg-type]  # a class is hashable
    if kind is list or kind is tuple:
        return [to_wire(item) for item in value]
    if kind is dict:
        return {name: to_wire(item) for name, item in value.items()}
    return value


@cache
def _renderer(kind: Hashable) -> Callable[[Any], dict[str, Any]]:
    struct: Any = kind
    fields = tuple(zip(struct.__struct_fields__, struct.__struct_encode_fields__, strict=True))
    config = struct.__struct_config__
    tag = {} if config.tag is None else {config.tag_field: config.tag}

    def render(value: Any) -> dict[str, Any]:
        out: dict[str, Any] = dict(tag)
        for field, name in fields:
            item = getattr(value, field)
            if type(item) in _PLAIN:  # most are, and a call for each would cost more than the rest
                out[name] = item
            elif item is not msgspec.UNSET:
                out[name] = to_wire(item)
        return out

    return render


@cache
def _decoder(kind: Hashable) -> msgspec.json.Decoder[Any]:
    return msgspec.json.Decoder(kind, strict=True)


def decode(body: bytes, kind: type[T]) -> T:
    """`body` as `kind`.

    Raises:
        Malformed: not JSON in UTF-8, or JSON that readers would not agree about.
        Invalid: JSON, but an unknown field, a wrong type or a value out of range.
    """
    strictjson.check(body)
    try:
        value: T = _decoder(kind).decode(body)  # type: ignore[arg-type]  # a class is hashable
    except msgspec.ValidationError as error:
        raise invalid(error) from error
    return value


def convert(value: Any, kind: type[T], *, strict: bool = True) -> T:
    """Builtin types (a document, query parameters) as `kind`; raises Invalid."""
    try:
        return msgspec.convert(value, kind, strict=strict)
    except msgspec.ValidationError as error:
        raise invalid(error) from error


def invalid(error: msgspec.ValidationError) -> Invalid:
    """Our error for msgspec's, with the path taken out of its message."""
    text = str(error)
    found = _LOCATION.search(text)
    path = found.group(1) if found else ""
    message = text[: found.start()] if found else text
    for pattern in (_UNKNOWN, _MISSING):
        if named := pattern.match(message):
            path = f"{path}.{named.group(1)}" if path else named.group(1)
    return Invalid.field(path, message)
