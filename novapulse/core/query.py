"""A query string as a struct: every name known, once, and in one spelling only.

msgspec's lax conversion would also take `+5`, `5_0`, full-width digits and
seconds since 1970; here a parameter is what its type says and nothing else.
"""

import re
from collections.abc import Mapping
from functools import cache
from typing import Any
from urllib.parse import unquote_to_bytes

import msgspec
from msgspec import inspect

from novapulse.core import wire
from novapulse.core.errors import Invalid

_INTEGER = re.compile(r"[0-9]{1,9}")
_BOOLEANS = {"true": True, "false": False}
_BAD_ESCAPE = re.compile(rb"%(?![0-9A-Fa-f]{2})")


class QueryReader:
    """Reads the parameters that `kind` declares; None declares that there are none."""

    def __init__(self, kind: type[msgspec.Struct] | None) -> None:
        self._kind = kind
        self._types = scalars(kind) if kind is not None else {}

    def read(self, query: bytes) -> Any:
        """The struct; raises Invalid."""
        given: dict[str, Any] = {}
        for name, text in pairs(query):
            if name in given:
                raise Invalid.field(name, "is given twice")
            given[name] = self._value(name, text)
        if self._kind is None:
            raise Invalid.field(next(iter(given), ""), "there is no such parameter")
        return wire.convert(given, self._kind)

    def _value(self, name: str, text: str) -> Any:
        kind = self._types.get(name)
        if kind is inspect.IntType:
            if not _INTEGER.fullmatch(text):
                raise Invalid.field(name, "Expected 1 to 9 digits")
            return int(text)
        if kind is inspect.BoolType:
            if text not in _BOOLEANS:
                raise Invalid.field(name, "Expected true or false")
            return _BOOLEANS[text]
        return text


def pairs(query: bytes) -> list[tuple[str, str]]:
    """Names and values in their order; raises Invalid for what is no text."""
    found = []
    for part in query.split(b"&") if query else ():
        raw_name, _, raw_value = part.partition(b"=")
        name = _text(raw_name, "")
        found.append((name, _text(raw_value, name)))
    return found


def _text(raw: bytes, path: str) -> str:
    if _BAD_ESCAPE.search(raw):
        raise Invalid.field(path, "% stands before two hexadecimal digits")
    try:
        text = unquote_to_bytes(raw.replace(b"+", b" ")).decode()
    except UnicodeDecodeError as error:
        raise Invalid.field(path, "is not UTF-8") from error
    if "\0" in text:
        raise Invalid.field(path, "has NUL in it")
    return text


@cache
def scalars(kind: type[msgspec.Struct]) -> Mapping[str, type[inspect.Type]]:
    """The types of the parameters that are not written as they are."""
    described = inspect.type_info(kind)
    assert isinstance(described, inspect.StructType)  # noqa: S101  # by the annotation
    found: dict[str, type[inspect.Type]] = {}
    for field in described.fields:
        options = field.type.types if isinstance(field.type, inspect.UnionType) else (field.type,)
        for option in options:
            if isinstance(option, inspect.IntType | inspect.BoolType):
                found[field.encode_name] = type(option)
    return found
