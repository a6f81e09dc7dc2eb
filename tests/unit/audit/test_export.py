"""Exported lines: one JSON object each, or CSV without formulas."""

import csv
import io
import json
from datetime import UTC, datetime
from typing import Any

import pytest

from novapulse.audit import export
from novapulse.audit.model import Actor, AuditLine, Link, Resource


def line(**fields: Any) -> AuditLine:
    known: dict[str, Any] = {
        "id": "evt_1",
        "created_at": datetime(2026, 11, 23, 12, tzinfo=UTC),
        "company_id": "c",
        "actor": Actor(user_id="u", role="user", via="api", address="192.0.2.1"),
        "action": "task.updated",
        "resource": Resource(type="task", id="t"),
        "changed": ("title", "status"),
        "data": {"task": {"title": 'say "hi",\nthen go'}},
        "request_id": "r",
        "sealed": True,
        "chain": Link(seq=1, hash="a" * 64, previous="0" * 64),
        **fields,
    }
    return AuditLine(**known)


def parsed(lines: list[AuditLine]) -> list[dict[str, str]]:
    write = export.writer("csv")
    text = export.head("csv") + "".join(map(write, lines))
    return list(csv.DictReader(io.StringIO(text, newline="")))


def test_a_csv_line_says_everything_that_the_json_says() -> None:
    (cells,) = parsed([line()])
    assert cells == {
        "createdAt": "2026-11-23T12:00:00.000Z",
        "companyId": "c",
        "actor": "u",
        "role": "user",
        "via": "api",
        "address": "192.0.2.1",
        "action": "task.updated",
        "resourceType": "task",
        "resourceId": "t",
        "changed": "title status",
        "data": '{"task":{"title":"say \\"hi\\",\\nthen go"}}',
        "requestId": "r",
        "id": "evt_1",
        "seq": "1",
        "hash": "a" * 64,
    }


def test_a_line_that_is_not_sealed_has_empty_cells() -> None:
    (cells,) = parsed([line(chain=None, sealed=False, changed=None)])
    assert (cells["seq"], cells["hash"], cells["changed"]) == ("", "", "")


def test_a_json_line_is_one_line() -> None:
    text = export.writer("ndjson")(line())
    assert text.endswith("\n")
    assert text.count("\n") == 1
    assert json.loads(text)["chain"]["seq"] == 1
    assert export.head("ndjson") == ""


@pytest.mark.parametrize("sign", list("=+-@\t\r"))
def test_a_cell_never_starts_like_a_formula(sign: str) -> None:
    (cells,) = parsed([line(request_id=f"{sign}cmd|' /C calc'!A0")])
    assert cells["requestId"].startswith(f"'{sign}")
