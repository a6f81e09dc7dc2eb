"""The hash chain: what a line's hash and a head's signature cover."""

import hashlib
import json
from datetime import UTC, datetime
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from novapulse.audit.chain import COVERED, GENESIS, Head, Mark, Trimmed, canonical, link
from novapulse.core.crypto import KEY_BYTES, KeyRing, Unsealable
from novapulse.core.events import to_row
from novapulse.work.model import Task, TaskCreated

AT = datetime(2026, 11, 23, 12, 0, 0, 123_000, tzinfo=UTC)
KEYS = KeyRing("k1", {"k1": b"1" * KEY_BYTES})
HEAD = Head(company_id="c", count=7, hash="a" * 64, trimmed=Trimmed(2, "b" * 64, 1))


def row(**changes: Any) -> dict[str, Any]:
    return {
        "_id": "evt_1",
        "companyId": "6b0463ff2132ffe8cf120772",
        "type": "task.updated",
        "version": 1,
        "createdAt": AT,
        "requestId": "r",
        "actor": {"userId": "u", "role": "user", "via": "api", "address": "192.0.2.1"},
        "resourceId": "t",
        "data": {"task": {"title": "Ä", "labels": ["x"]}, "changed": ["title"]},
        **changes,
    }


def test_a_line_is_hashed_as_the_documentation_says() -> None:
    content = (
        '{"event":{"_id":"evt_1","actor":{"address":"192.0.2.1","role":"user","userId":"u",'
        '"via":"api"},"companyId":"6b0463ff2132ffe8cf120772",'
        '"createdAt":"2026-11-23T12:00:00.123Z","data":{"changed":["title"],'
        '"task":{"labels":["x"],"title":"\\u00c4"}},"requestId":"r","resourceId":"t",'
        '"type":"task.updated","version":1},"previous":"' + "0" * 64 + '","seq":1}'
    )
    made = link(row(), GENESIS)
    assert made.hash == hashlib.sha256(content.encode()).hexdigest()
    assert (made.seq, made.previous) == (1, GENESIS.hash)


def test_the_order_of_names_does_not_matter() -> None:
    backwards = dict(reversed(list(row().items())))
    assert link(backwards, GENESIS) == link(row(), GENESIS)


def test_what_is_stamped_later_is_not_covered() -> None:
    stamped = row(sequence=9, isPlanned=True, isSealed=False, body=b"{}", audit={"seq": 1})
    assert link(stamped, GENESIS) == link(row(), GENESIS)


@pytest.mark.parametrize("name", sorted(set(COVERED) - {"trace", "cause"}))
def test_every_covered_field_changes_the_hash(name: str) -> None:
    changed = row()
    changed[name] = "other"
    gone = row()
    del gone[name]
    hashes = {link(one, GENESIS).hash for one in (row(), changed, gone)}
    assert len(hashes) == 3


@pytest.mark.parametrize("name", ["trace", "cause"])
def test_what_only_some_events_have_is_covered_where_it_is(name: str) -> None:
    hashes = {link(row(**fields), GENESIS).hash for fields in ({}, {name: "a"}, {name: "b"})}
    assert len(hashes) == 3


def test_everything_that_an_event_row_begins_with_is_covered_or_stamped() -> None:
    task = Task(id="t", title="x", created_by="u", created_at=AT, updated_at=AT)
    made = to_row(
        TaskCreated(task=task), event_id="evt_1", at=AT, request_id="r", actor={"userId": "u"}
    )
    assert set(made) - set(COVERED) == {"isPlanned", "isSealed"}


def test_the_number_and_the_line_before_are_covered() -> None:
    marks = [GENESIS, Mark(1, GENESIS.hash), Mark(0, "f" * 64)]
    assert len({link(row(), mark).hash for mark in marks}) == 3


json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**53), 2**53)
    | st.floats(allow_nan=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)


@given(json_values)
def test_canonical_json_says_the_same_as_the_value(value: Any) -> None:
    text = canonical(value)
    assert json.loads(text) == value
    assert text.isascii()


@given(json_values, json_values)
def test_different_values_have_different_canonical_json(one: Any, other: Any) -> None:
    if json.dumps(one, sort_keys=True) != json.dumps(other, sort_keys=True):
        assert canonical(one) != canonical(other)


def test_a_signed_head_is_genuine() -> None:
    assert HEAD.signed(KEYS).is_genuine(KEYS)


@pytest.mark.parametrize(
    "change",
    [
        {"company_id": "d"},
        {"count": 6},
        {"hash": "c" * 64},
        {"trimmed": Trimmed()},
        {"trimmed": Trimmed(2, "b" * 64, 2)},
        {"mac": f"k1.{'0' * 64}"},
    ],
    ids=str,
)
def test_a_changed_head_is_not_genuine(change: dict[str, Any]) -> None:
    assert not msgspec.structs.replace(HEAD.signed(KEYS), **change).is_genuine(KEYS)


@pytest.mark.parametrize("mac", ["", "k2.00", "nonsense"])
def test_a_head_of_a_key_that_is_not_here_can_not_be_judged(mac: str) -> None:
    with pytest.raises(Unsealable):
        msgspec.structs.replace(HEAD, mac=mac).is_genuine(KEYS)


def test_a_head_is_not_signed_by_what_seals_something_else() -> None:
    forged = msgspec.structs.replace(HEAD, mac=KEYS.fingerprint(HEAD.message()))
    assert not forged.is_genuine(KEYS)
