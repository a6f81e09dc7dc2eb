"""Audit lines as text: one JSON object a line, or CSV that no spreadsheet takes for formulas."""

import csv
import io
from collections.abc import Callable
from typing import Literal

from novapulse.audit.model import AuditLine
from novapulse.core import wire
from novapulse.core.clock import rfc3339

Format = Literal["ndjson", "csv"]
_COLUMNS = (
    *("createdAt", "companyId", "actor", "role", "via", "address", "action"),
    *("resourceType", "resourceId", "changed", "data", "requestId", "id", "seq", "hash"),
)
# A cell that starts like this may be run by whoever opens the file.
_FORMULA = ("=", "+", "-", "@", "\t", "\r")


def head(form: Format) -> str:
    """What stands before all lines."""
    return _csv_row(_COLUMNS) if form == "csv" else ""


def writer(form: Format) -> Callable[[AuditLine], str]:
    """Makes the text of a line, its line break included."""
    return _csv_line if form == "csv" else _ndjson_line


def _ndjson_line(line: AuditLine) -> str:
    return wire.encode(line).decode() + "\n"


def _csv_line(line: AuditLine) -> str:
    actor, link = line.actor, line.chain
    return _csv_row(
        (
            *(rfc3339(line.created_at), line.company_id),
            *(actor.user_id, actor.role, actor.via, actor.address or "", line.action),
            *(line.resource.type, line.resource.id, " ".join(line.changed or ())),
            *(wire.encode(line.data).decode(), line.request_id, line.id),
            *((str(link.seq), link.hash) if link else ("", "")),
        )
    )


def _csv_row(cells: tuple[str, ...]) -> str:
    text = io.StringIO()
    csv.writer(text).writerow([safe_cell(cell) for cell in cells])
    return text.getvalue()


def safe_cell(cell: str) -> str:
    """The cell, behind an apostrophe when it would be a formula."""
    return f"'{cell}" if cell.startswith(_FORMULA) else cell
