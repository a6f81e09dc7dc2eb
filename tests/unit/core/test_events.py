"""Events: what is declared, how a row looks, and the bytes that receivers get."""

import json
import re
from datetime import UTC, datetime
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import inspect

from novapulse.core import wire
from novapulse.core.events import CATALOGUE, Event, EventRow, event, matches, to_row
from novapulse.core.ids import new_id
from novapulse.processes import features

AT = datetime(2026, 11, 23, 15, 18, 0, 123_000, tzinfo=UTC)
ACTOR = {"userId": "u1", "role": "manager", "via": "api"}
TEXT = st.text(max_size=40)


class Thing(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    id: str
    long_name: str
    tags: tuple[str, ...] = ()
    seen_at: datetime | None = None


class ThingUpdated(Event, frozen=True, kw_only=True):
    thing: Thing


# Declared by hand: the catalogue is the product's own.
ThingUpdated.type, ThingUpdated.resource = "thing.updated", "thing"


def stored(happened: Event, *, sequence: int = 7) -> EventRow:
    """The row as the pump reads it back."""
    row = to_row(happened, event_id=new_id("evt"), at=AT, request_id="r1", actor=ACTOR)
    return wire.convert({**row, "companyId": "c1", "sequence": sequence}, EventRow)


def as_javascript_would(value: object) -> bytes:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode()


@given(TEXT, st.lists(TEXT, max_size=3))
def test_a_receiver_that_re_serialises_the_body_verifies_the_same_bytes(
    name: str, tags: list[str]
) -> None:
    thing = Thing(id="t1", long_name=name, tags=tuple(tags), seen_at=AT)
    raw = stored(ThingUpdated(thing=thing, changed=("longName",))).body()
    assert as_javascript_would(json.loads(raw)) == raw


def test_the_body_tells_what_happened_to_what_in_which_order() -> None:
    row = stored(ThingUpdated(thing=Thing(id="t1", long_name="Ünï"), changed=("longName",)))
    body = json.loads(row.body())
    assert list(body)[:7] == [
        *("id", "event", "version", "createdAt", "companyId", "sequence", "data")
    ]
    assert body["event"] == "thing.updated"
    assert body["createdAt"] == "2026-11-23T15:18:00.123Z"
    assert body["sequence"] == 7
    assert body["data"]["thing"] == {"id": "t1", "longName": "Ünï", "tags": [], "seenAt": None}
    assert "changed" in row.body().decode()


def test_the_same_row_gives_the_same_bytes_after_a_trip_through_the_database() -> None:
    row = stored(ThingUpdated(thing=Thing(id="t1", long_name="x", seen_at=AT), changed=("seenAt",)))
    again = msgspec.convert(msgspec.to_builtins(row, builtin_types=(datetime,)), EventRow)
    assert again.body() == row.body()


def test_an_event_that_changed_nothing_in_particular_says_nothing_of_changes() -> None:
    row = stored(ThingUpdated(thing=Thing(id="t1", long_name="x")))
    assert b"changed" not in row.body()


def test_a_row_carries_who_did_it_and_the_request_it_came_from() -> None:
    row = to_row(
        ThingUpdated(thing=Thing(id="t1", long_name="x"), changed=("longName",)),
        event_id="evt_1",
        at=AT,
        request_id="r1",
        actor=ACTOR,
    )
    assert (row["actor"], row["requestId"], row["resourceId"]) == (ACTOR, "r1", "t1")
    assert row["data"]["changed"] == ["longName"]
    assert row["isPlanned"] is False
    assert "sequence" not in row


def test_a_type_is_declared_once() -> None:
    taken = next(iter(CATALOGUE))
    with pytest.raises(ValueError, match="twice"):
        event(taken)(ThingUpdated)


@pytest.mark.parametrize(
    ("pattern", "covered"),
    [
        ("*", True),
        ("task.*", True),
        ("task.created", True),
        ("task.updated", False),
        ("tas.*", False),
        ("user.*", False),
        ("task.create", False),
    ],
)
def test_a_pattern_covers_its_events_only(pattern: str, covered: bool) -> None:
    assert matches(pattern, "task.created") is covered


def sample(kind: inspect.Type) -> Any:
    """A value of any type that our structs are made of."""
    match kind:
        case inspect.StructType():
            fields = {field.name: sample(field.type) for field in kind.fields}
            return kind.cls(**fields)
        case inspect.UnionType():
            return sample(next(one for one in kind.types if not _says_nothing(one)))
        case inspect.EnumType():
            return next(iter(kind.cls))
        case inspect.LiteralType():
            return kind.values[0]
        case inspect.VarTupleType() | inspect.ListType() | inspect.TupleType():
            return ()
        case inspect.DictType() | inspect.AnyType():
            return {}
        case inspect.DateTimeType():
            return AT
        case inspect.BoolType():
            return True
        case inspect.IntType() | inspect.FloatType():
            return 1
    return 'é\u2028"text"'


def _says_nothing(kind: inspect.Type) -> bool:
    return isinstance(kind, inspect.NoneType) or type(kind).__name__ == "UnsetType"


def test_features_declare_events() -> None:
    assert features.ROUTES
    assert {"user.created", "task.created", "task.updated"} <= set(CATALOGUE)


@pytest.mark.parametrize("name", sorted(CATALOGUE))
def test_every_event_of_the_catalogue_can_be_sent(name: str) -> None:
    kind = CATALOGUE[name]
    assert kind.type == name
    assert (kind.__doc__ or "").strip() or name.count(".") == 1
    happened = sample(inspect.type_info(kind))
    raw = stored(happened).body()
    body = json.loads(raw)
    assert as_javascript_would(body) == raw
    assert kind.resource == name.partition(".")[0]
    assert body["data"][kind.resource]["id"]
    assert not any(isinstance(value, float) for value in _values(body)), "1.0 is not re-serialised"


@pytest.mark.parametrize("name", sorted(CATALOGUE))
def test_no_event_carries_a_secret(name: str) -> None:
    body = json.loads(stored(sample(inspect.type_info(CATALOGUE[name]))).body())
    for key in _keys(body["data"]):
        assert not re.search("password|secret|hash|sealed", key, re.IGNORECASE), key


def _keys(value: Any) -> list[str]:
    if isinstance(value, dict):
        return [*value, *(key for item in value.values() for key in _keys(item))]
    if isinstance(value, list):
        return [key for item in value for key in _keys(item)]
    return []


def _values(value: Any) -> list[Any]:
    if isinstance(value, dict):
        return [leaf for item in value.values() for leaf in _values(item)]
    if isinstance(value, list):
        return [leaf for item in value for leaf in _values(item)]
    return [value]
