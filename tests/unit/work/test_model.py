"""Tasks: what may be said of them, and how they change."""

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from novapulse.core import wire
from novapulse.core.documents import changed_fields
from novapulse.core.errors import Invalid, Malformed
from novapulse.work.model import ChangeTask, NewTask, Status, Task

AT = datetime(2026, 11, 23, tzinfo=UTC)
LATER = AT + timedelta(hours=1)
TASK = Task(id="0" * 24, title="Paint", created_by="u1", created_at=AT, updated_at=AT)


def change(**fields: Any) -> ChangeTask:
    return wire.decode(json.dumps(fields).encode(), ChangeTask)


def new(**fields: Any) -> NewTask:
    return wire.decode(json.dumps({"title": "Paint", **fields}).encode(), NewTask)


def test_what_is_left_out_stays_as_it_is() -> None:
    after = TASK.changed(change(title="Paint again"), at=LATER)
    assert (after.title, after.status, after.version) == ("Paint again", Status.TODO, 2)
    assert (after.created_at, after.updated_at) == (AT, LATER)
    assert changed_fields(TASK, after) == ("title",)


def test_saying_what_is_so_already_changes_nothing() -> None:
    assert changed_fields(TASK, TASK.changed(change(), at=LATER)) == ()
    assert changed_fields(TASK, TASK.changed(change(title="Paint", labels=[]), at=LATER)) == ()


def test_null_empties_a_field() -> None:
    assigned = TASK.changed(change(assigneeId="1" * 24, description="x"), at=AT)
    after = assigned.changed(change(assigneeId=None, description=None), at=LATER)
    assert (after.assignee_id, after.description) == (None, None)


def test_a_task_that_is_done_from_the_start_is_dated() -> None:
    for status in Status:
        made = new(status=status).task(task_id="0" * 24, by="u1", at=AT)
        assert made.completed_at == (AT if status is Status.DONE else None)


def test_done_is_dated_once_and_undone_is_not_dated() -> None:
    done = TASK.changed(change(status="done"), at=AT)
    assert done.completed_at == AT
    assert done.changed(change(title="x"), at=LATER).completed_at == AT
    assert done.changed(change(status="review"), at=LATER).completed_at is None


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        ("2026-01-01T12:00:00+02:00", datetime(2026, 1, 1, 10, tzinfo=UTC)),
        ("2026-01-01T12:00:00.1239Z", datetime(2026, 1, 1, 12, 0, 0, 123_000, tzinfo=UTC)),
    ],
)
def test_a_due_date_is_kept_in_utc_to_the_millisecond(given: str, kept: datetime) -> None:
    assert TASK.changed(change(dueAt=given), at=LATER).due_at == kept


@pytest.mark.parametrize(
    ("field", "values"),
    [
        ("title", ["", "x" * 201, None, 5, "a\nb", "a\tb", "a\x7f"]),
        ("description", ["x" * 10_001, 5]),
        ("status", ["", "DONE", "finished", None, 1]),
        ("priority", ["", "highest", None]),
        ("labels", [None, "red", ["x"] * 51, [""], ["x" * 51], [5], ["a\nb"]]),
        ("assigneeId", ["", "x", "0" * 23, "0" * 25, "G" * 24, "A" * 24, {"$ne": None}]),
        ("projectId", ["", "x", "0" * 23, "0" * 25, {"$ne": None}]),
        ("dueAt", ["", "tomorrow", "2026-01-01", "2026-01-01T12:00:00", "2026-02-30T00:00:00Z", 5]),
    ]
    + [
        (field, ["x"])
        for field in ("id", "companyId", "createdBy", "version", "completedAt", "_id")
    ],
)
def test_unacceptable_values_are_named(field: str, values: list[Any]) -> None:
    for value in values:
        for read in (new, change):
            with pytest.raises(Invalid) as caught:
                read(**{field: value})
            assert caught.value.errors[0].path.startswith(field), value


@pytest.mark.parametrize("field", ["title", "description"])
def test_nothing_has_nul_in_it(field: str) -> None:
    for read in (new, change):
        with pytest.raises((Invalid, Malformed)):
            read(**{field: "a\0b"})


@pytest.mark.parametrize(
    ("field", "value"),
    [("title", "Paint\n"), ("labels", ["red\n"]), ("assigneeId", "0" * 24 + "\n")],
)
def test_a_line_break_at_the_end_is_refused_too(field: str, value: Any) -> None:
    for read in (new, change):
        with pytest.raises(Invalid):
            read(**{field: value})


@pytest.mark.parametrize("moment", ["0001-01-01T00:00:00+01:00", "9999-12-31T23:59:59-01:00"])
def test_a_date_that_utc_can_not_hold_is_unacceptable(moment: str) -> None:
    with pytest.raises(Invalid):
        TASK.changed(change(dueAt=moment), at=LATER)
    with pytest.raises(Invalid):
        new(dueAt=moment).task(task_id="0" * 24, by="u1", at=AT)
