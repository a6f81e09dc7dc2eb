"""Rows for people or for scripts."""

import json
from collections.abc import Sequence
from typing import Any

import click


def print_rows(name: str, rows: Sequence[Any], *, columns: Sequence[str], as_json: bool) -> None:
    """Structs as a table of some of their wire names, or whole as one JSON document."""
    from novapulse.core import wire

    plain = [wire.to_wire(row) for row in rows]
    if as_json:
        click.echo(json.dumps({"schema": 1, name: plain}, indent=2, ensure_ascii=False))
        return
    from rich.console import Console
    from rich.table import Table

    table = Table(*columns, box=None)
    for row in plain:
        table.add_row(*(_text(row[column]) for column in columns))
    Console(highlight=False, markup=False, emoji=False).print(table)


def _text(value: Any) -> str:
    return "" if value is None else str(value)
