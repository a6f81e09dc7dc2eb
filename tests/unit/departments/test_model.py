"""Departments: names, and who is in one."""

from datetime import UTC, datetime

import pytest

from novapulse.departments.model import ChangeDepartment, NewDepartment, name_key

AT = datetime(2026, 11, 23, tzinfo=UTC)


@pytest.mark.parametrize("other", ["support", "SUPPORT", " Support ", "Ｓupport"])
def test_names_that_read_alike_are_one_name(other: str) -> None:
    assert name_key(other) == name_key("Support")


def test_other_names_are_other_names() -> None:
    assert len({name_key(name) for name in ("Support", "Supports", "Sup port", "Süpport")}) == 4


def test_everybody_in_it_is_named_by_where() -> None:
    ids = ("1" * 24, "2" * 24, "1" * 24)
    made = NewDepartment(name="Support", manager_id="3" * 24, member_ids=ids).department(
        department_id="0" * 24, by="u1", at=AT
    )
    assert made.people == {
        "managerId": "3" * 24,
        "memberIds[0]": "1" * 24,
        "memberIds[1]": "2" * 24,
    }
    alone = made.changed(ChangeDepartment(manager_id=None, member_ids=()), at=AT)
    assert (alone.people, alone.version) == ({}, 2)
