"""Audit lines as text: one JSON object a line, or CSV that no spreadsheet takes for formulas."""

from collections.abc import Callable
from typing import Any

from novapulse.audit.model import AuditLine
from novapulse.core import rowtext, wire
from novapulse.core.mongo import Document
from novapulse.core.rowtext import Form
from novapulse.core.sources import Row

COLUMNS = (
    *("createdAt", "companyId", "actor", "role", "via", "address", "action"),
    *("resourceType", "resourceId", "changed", "data", "requestId", "id", "seq", "hash"),
)


def head(form: Form) -> str:
    """What stands before all lines."""
    return rowtext.head(form, COLUMNS).decode()


def writer(form: Form) -> Callable[[AuditLine], str]:
    """Makes the text of a line, its line break included."""
    return lambda line: rowtext.lines(form, [row(line)], cells).decode()


def row(line: AuditLine) -> Row:
    """The line as its JSON is."""
    found: Row = wire.to_wire(line)
    return found


def row_of(document: Document) -> Row:
    """The line of an event's row."""
    return row(AuditLine.of(document))


def cells(row: Row) -> tuple[Any, ...]:
    """A row's cells under `COLUMNS`."""
    actor, resource = row["actor"], row["resource"]
    link = row["chain"] or {"seq": None, "hash": None}
    return (
        *(row["createdAt"], row["companyId"]),
        *(actor["userId"], actor["role"], actor["via"], actor["address"], row["action"]),
        *(resource["type"], resource["id"], " ".join(row["changed"] or ())),
        *(wire.encode(row["data"]).decode(), row["requestId"], row["id"]),
        *(link["seq"], link["hash"]),
    )
