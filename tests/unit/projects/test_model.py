"""Projects: what may be said of them, and how they change."""

import json
from datetime import UTC, datetime
from typing import Any

import pytest

from novapulse.core import wire
from novapulse.core.documents import changed_fields
from novapulse.core.errors import Invalid
from novapulse.projects.model import ChangeProject, NewProject, Project, ProjectStatus

AT = datetime(2026, 11, 23, tzinfo=UTC)
PROJECT = Project(id="0" * 24, name="Garden", created_by="u1", created_at=AT, updated_at=AT)


def change(**fields: Any) -> ChangeProject:
    return wire.decode(json.dumps(fields).encode(), ChangeProject)


def new(**fields: Any) -> NewProject:
    return wire.decode(json.dumps({"name": "Garden", **fields}).encode(), NewProject)


def made(**fields: Any) -> Project:
    return new(**fields).project(project_id="0" * 24, by="u1", at=AT)


def test_what_is_left_out_stays_as_it_is() -> None:
    after = PROJECT.changed(change(status="on_hold"), at=AT)
    assert (after.name, after.status, after.version) == ("Garden", ProjectStatus.ON_HOLD, 2)
    assert changed_fields(PROJECT, after) == ("status",)
    assert changed_fields(PROJECT, PROJECT.changed(change(), at=AT)) == ()


def test_members_are_kept_once_in_their_order() -> None:
    ids = ["2" * 24, "1" * 24, "2" * 24]
    assert made(memberIds=ids).member_ids == ("2" * 24, "1" * 24)
    assert PROJECT.changed(change(memberIds=ids), at=AT).member_ids == ("2" * 24, "1" * 24)


def test_times_are_kept_in_utc() -> None:
    assert made(startsAt="2027-01-01T12:00:00+02:00").starts_at == datetime(
        2027, 1, 1, 10, tzinfo=UTC
    )


def test_nothing_ends_before_it_starts() -> None:
    begins = {"startsAt": "2027-01-02T00:00:00Z"}
    with pytest.raises(Invalid) as caught:
        made(**begins, endsAt="2027-01-01T00:00:00Z")
    assert caught.value.errors[0].path == "endsAt"
    started = made(**begins, endsAt="2027-01-02T00:00:00Z")
    for later in ({"endsAt": "2027-01-01T00:00:00Z"}, {"startsAt": "2027-01-03T00:00:00Z"}):
        with pytest.raises(Invalid):
            started.changed(change(**later), at=AT)
    assert started.changed(change(endsAt=None), at=AT).ends_at is None


@pytest.mark.parametrize(
    ("field", "values"),
    [
        ("name", ["", "x" * 121, None, 5, "a\nb"]),
        ("description", ["x" * 10_001, 5]),
        ("status", ["", "closed", None]),
        ("startsAt", ["", "2026-01-01", "2026-01-01T12:00:00"]),
        ("memberIds", [None, "x", ["x"], [None], ["0" * 24] * 501]),
        ("createdBy", ["x"]),
        ("version", [1]),
    ],
)
def test_unacceptable_values_are_named(field: str, values: list[Any]) -> None:
    for value in values:
        for read in (new, change):
            with pytest.raises(Invalid) as caught:
                read(**{field: value})
            assert caught.value.errors[0].path.startswith(field), value


def test_a_time_that_utc_can_not_hold_is_unacceptable() -> None:
    for path in ("startsAt", "endsAt"):
        with pytest.raises(Invalid) as caught:
            made(**{path: "0001-01-01T00:00:00+01:00"})
        assert caught.value.errors[0].path == path
