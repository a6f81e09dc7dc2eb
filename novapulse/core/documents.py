"""Structs and MongoDB documents: the same camelCase fields, `id` stored as `_id`."""

from datetime import datetime
from typing import Any, TypeVar

import msgspec

from novapulse.core import wire
from novapulse.core.mongo import Document, ObjectId

T = TypeVar("T", bound=msgspec.Struct)


def new_object_id() -> str:
    """A fresh 24-hex id, ordered by its second."""
    return str(ObjectId())


def to_document(struct: msgspec.Struct) -> Document:
    document: Document = msgspec.to_builtins(struct, builtin_types=(datetime, bytes))
    document["_id"] = document.pop("id")
    return document


def from_document(document: Document, kind: type[T]) -> T:
    """The struct in `document`; fields that the struct does not know are left out."""
    return wire.convert({**document, "id": document["_id"]}, kind)


def find_as(document: Document | None, kind: type[T]) -> T | None:
    return None if document is None else from_document(document, kind)


def changed_fields(before: msgspec.Struct, after: msgspec.Struct) -> tuple[str, ...]:
    """Wire names of the fields that differ, but for the bookkeeping ones."""
    names = zip(before.__struct_fields__, before.__struct_encode_fields__, strict=True)
    return tuple(
        wire_name
        for name, wire_name in names
        if wire_name not in ("version", "updatedAt")
        and getattr(before, name) != getattr(after, name)
    )


def given_fields(patch: msgspec.Struct) -> dict[str, Any]:
    """The fields that a merge patch names, by their attributes."""
    values = ((name, getattr(patch, name)) for name in patch.__struct_fields__)
    return {name: value for name, value in values if value is not msgspec.UNSET}
