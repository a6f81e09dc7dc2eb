"""Which index a list of tasks is read by."""

from datetime import UTC, datetime
from itertools import combinations
from typing import Any

import pytest

from novapulse.core.errors import Invalid
from novapulse.core.paging import encode_cursor
from novapulse.work.model import Priority, Status, TaskQuery
from novapulse.work.reading import INDEXES, NEWEST, SOONEST, scan_of

AT = datetime(2026, 11, 23, tzinfo=UTC)
ME, PROJECT = "1" * 24, "2" * 24
FILTERS: dict[str, Any] = {
    "status": Status.TODO,
    "priority": Priority.HIGH,
    "project_id": PROJECT,
    "assignee_id": ME,
    "label": "red",
    "q": "water plants",
    "due_after": AT,
    "due_before": AT,
}
KEYS = {index["name"]: [field for field, _ in index["keys"]] for index in INDEXES}


@pytest.mark.parametrize(
    ("asked", "own", "index"),
    [
        ({}, None, "newest"),
        ({"status": Status.DONE}, None, "status"),
        ({"priority": Priority.LOW}, None, "status"),
        ({"label": "red", "status": Status.DONE}, None, "label"),
        ({"project_id": PROJECT, "label": "red"}, None, "project"),
        ({"assignee_id": ME, "project_id": PROJECT}, None, "assignee"),
        ({"q": "water", "assignee_id": ME}, None, "beginning"),
        ({"q": "water", "assignee_id": ME}, ME, "party"),
        ({}, ME, "party"),
        ({"due_before": AT}, None, "status_due"),
        ({"due_before": AT, "status": Status.TODO}, None, "status_due"),
        ({"due_after": AT, "project_id": PROJECT}, None, "project_due"),
        ({"due_after": AT, "assignee_id": ME, "project_id": PROJECT}, None, "party_due"),
        ({"due_after": AT}, ME, "party_due"),
    ],
)
def test_the_narrowest_index_is_chosen(asked: dict[str, Any], own: str | None, index: str) -> None:
    assert scan_of(TaskQuery(**asked), own=own).index == index


@pytest.mark.parametrize("own", [None, ME])
def test_whatever_is_asked_the_index_has_the_rows_in_the_lists_order(own: str | None) -> None:
    for number in range(len(FILTERS) + 1):
        for names in combinations(FILTERS, number):
            scan = scan_of(TaskQuery(**{name: FILTERS[name] for name in names}), own=own)
            fields = KEYS[scan.index]
            order = [field for field, _ in scan.order.sort]
            assert scan.order is (SOONEST if {"due_after", "due_before"} & set(names) else NEWEST)
            assert fields[-2:] == order
            assert all(field in scan.where for field in fields[1:-2]), names


def test_a_status_that_nobody_asked_for_is_any() -> None:
    where = scan_of(TaskQuery(project_id=PROJECT)).where
    assert where == {"projectId": PROJECT, "status": {"$in": [str(one) for one in Status]}}


def test_who_reaches_own_tasks_only_is_in_every_filter() -> None:
    for names in combinations(FILTERS, 2):
        where = scan_of(TaskQuery(**{name: FILTERS[name] for name in names}), own="me").where
        assert where["parties"] == "me"


def test_a_search_is_never_a_pattern() -> None:
    where = scan_of(TaskQuery(q="^.*(a+)+$ $where plantations")).where
    assert where["beginnings"] == "planta"
    assert "$regex" not in repr(where)


@pytest.mark.parametrize("q", ["!", "^$", "   ", "😀"])
def test_a_search_without_a_word_is_unacceptable(q: str) -> None:
    with pytest.raises(Invalid) as caught:
        scan_of(TaskQuery(q=q))
    assert caught.value.errors[0].path == "q"


def test_a_cursor_of_the_other_order_is_refused() -> None:
    newest = encode_cursor(AT, "0" * 24)
    soonest = encode_cursor(AT, "0" * 24, mark=SOONEST.mark)
    scan_of(TaskQuery(cursor=newest))
    scan_of(TaskQuery(cursor=soonest, due_after=AT))
    for wrong in (TaskQuery(cursor=soonest), TaskQuery(cursor=newest, due_after=AT)):
        with pytest.raises(Invalid) as caught:
            scan_of(wrong)
        assert caught.value.errors[0].path == "cursor"


@pytest.mark.parametrize("year", [1, 9999])
def test_a_due_cursor_keeps_the_ends_of_the_calendar_to_the_millisecond(year: int) -> None:
    moment = datetime(year, 12, 31, 23, 59, 59, 999_000, tzinfo=UTC)
    cursor = encode_cursor(moment, "0" * 24, mark=SOONEST.mark)
    assert SOONEST.beyond(cursor)[0] == {"dueAt": {"$gte": moment}}
