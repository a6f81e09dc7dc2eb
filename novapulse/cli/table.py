"""Rows for people or for scripts."""

import json
import sys
from collections.abc import Sequence
from typing import Any

import click

# Into a file or a pipe: one row a line, however long.
_WIDE = 10_000


def print_rows(name: str, rows: Sequence[Any], *, columns: Sequence[str], as_json: bool) -> None:
    """Structs as a table of some of their wire names, or whole as one JSON document."""
    from novapulse.core import wire

    plain = [wire.to_wire(row) for row in rows]
    if as_json:
        click.echo(json.dumps({"schema": 1, name: plain}, indent=2, ensure_ascii=False))
        return
    from rich.console import Console
    from rich.table import Table

    table = Table(box=None)
    for column in columns:
        table.add_column(column, overflow="fold")  # an id that is cut off names nothing
    for row in plain:
        table.add_row(*(_text(row[column]) for column in columns))
    width = None if sys.stdout.isatty() else _WIDE
    Console(highlight=False, markup=False, emoji=False, width=width).print(table)


def _text(value: Any) -> str:
    return "" if value is None else str(value)
