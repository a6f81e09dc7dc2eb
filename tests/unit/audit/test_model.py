"""What an audit line shows, and what it must not."""

import pkgutil
from collections.abc import Iterator
from datetime import UTC, datetime
from importlib import import_module
from typing import Any

import msgspec
import pytest
from msgspec import inspect

import novapulse
from novapulse.audit.model import AuditLine, AuditQuery, is_secret_name, redacted
from novapulse.core.errors import Invalid
from novapulse.core.events import CATALOGUE, INTERNAL, Event

AT = datetime(2026, 11, 23, 12, tzinfo=UTC)


def test_a_line_says_who_did_what_on_what() -> None:
    row = {
        "_id": "evt_1",
        "companyId": "c",
        "type": "task.updated",
        "createdAt": AT,
        "requestId": "r",
        "actor": {"userId": "u", "role": "user", "via": "api"},
        "resourceId": "t",
        "data": {"task": {"title": "x"}, "changed": ["title"]},
    }
    line = AuditLine.of(row)
    assert (line.action, line.resource.type, line.resource.id) == ("task.updated", "task", "t")
    assert (line.changed, line.data) == (("title",), {"task": {"title": "x"}})
    assert (line.sealed, line.chain, line.actor.address) == (False, None, None)
    assert row["data"] == {"task": {"title": "x"}, "changed": ["title"]}


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        ({"password": "x"}, {"password": "[redacted]"}),
        ({"headers": {"Authorization": "x"}}, {"headers": {"Authorization": "[redacted]"}}),
        ({"headers": [{"X-Api-Key": "x"}]}, {"headers": [{"X-Api-Key": "[redacted]"}]}),
        ({"token": {"id": "1", "hint": "nvp_abcd"}}, {"token": {"id": "1", "hint": "nvp_abcd"}}),
        ({"title": f"use nvp_{'a' * 43}"}, {"title": "use [redacted]"}),
        ({"title": f"whsec_{'a' * 44}"}, {"title": "[redacted]"}),
        ({"x": "eyJhbGciOiJIUzI1.eyJzdWIiOiIx.c2ln"}, {"x": "[redacted]"}),
        ({"title": "a secret", "n": 1, "none": None}, {"title": "a secret", "n": 1, "none": None}),
    ],
    ids=str,
)
def test_what_looks_like_a_secret_is_not_shown(value: Any, shown: Any) -> None:
    assert redacted(value) == shown


def fields_of(kind: inspect.Type, path: str, seen: set[type]) -> Iterator[str]:
    """Paths of every text that an event can hold."""
    if isinstance(kind, inspect.StructType):
        if kind.cls in seen:
            return
        for field in kind.fields:
            yield from fields_of(field.type, f"{path}.{field.encode_name}", seen | {kind.cls})
    elif isinstance(kind, inspect.UnionType):
        for one in kind.types:
            yield from fields_of(one, path, seen)
    elif isinstance(kind, inspect.ListType | inspect.VarTupleType):
        yield from fields_of(kind.item_type, path, seen)
    elif isinstance(kind, inspect.StrType):
        yield path


def test_no_event_has_a_field_that_is_named_like_a_secret() -> None:
    for module in pkgutil.walk_packages(novapulse.__path__, "novapulse."):
        if not module.name.endswith("__main__"):
            import_module(module.name)
    kinds: list[type[Event]] = [*CATALOGUE.values(), *INTERNAL.values()]
    paths = [
        path for kind in kinds for path in fields_of(inspect.type_info(kind), kind.type, set())
    ]
    assert len(paths) > 100
    assert [path for path in paths if is_secret_name(path.rpartition(".")[2])] == []


@pytest.mark.parametrize("name", ["from", "to"])
def test_a_moment_beyond_all_calendars_is_refused(name: str) -> None:
    given = {name: "0001-01-01T00:00:00+14:00"}
    query = msgspec.convert(given, AuditQuery, strict=False)
    with pytest.raises(Invalid, match=name):
        query.moment({"from": "since", "to": "until"}[name])
