"""Rows as text: CSV, or one JSON object a line."""

from typing import Literal

from novapulse.core import csvtext, wire
from novapulse.core.sources import Cells, Row

Form = Literal["csv", "ndjson"]
MEDIA_TYPES: dict[str, str] = {
    "csv": "text/csv; charset=utf-8; header=present",
    "ndjson": "application/x-ndjson; charset=utf-8",
    "html": "text/html; charset=utf-8",
}


def head(form: Form, columns: tuple[str, ...]) -> bytes:
    """What stands before all rows."""
    return csvtext.row(columns).encode() if form == "csv" else b""


def lines(form: Form, rows: list[Row], cells: Cells) -> bytes:
    """The rows' lines, the last one's end included."""
    if form == "csv":
        return "".join([csvtext.row(cells(row)) for row in rows]).encode()
    return b"".join([wire.encode(row) + b"\n" for row in rows])
