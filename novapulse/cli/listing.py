"""How reading verbs print: a table for people, one JSON document for scripts."""

import json
from collections.abc import Callable, Mapping, Sequence
from itertools import zip_longest
from typing import Any

import click

from novapulse.cli.colour import painted

as_json_option: Callable[[Callable[..., Any]], Callable[..., Any]] = click.option(
    "--json", "as_json", is_flag=True, help="One JSON document, for scripts."
)


def print_document(fields: Mapping[str, Any]) -> None:
    """`{"schema": 1, …}` on one line; values as the API has them."""
    from novapulse.core import wire

    click.echo(json.dumps({"schema": 1, **wire.to_wire(dict(fields))}, ensure_ascii=False))


def print_rows(name: str, rows: Sequence[Any], *, columns: Sequence[str], as_json: bool) -> None:
    """Structs as a table of some of their wire names, or whole as one JSON document."""
    from novapulse.core import wire

    if as_json:
        print_document({name: list(rows)})
        return
    plain = [wire.to_wire(row) for row in rows]
    print_table(columns, [[row[column] for column in columns] for row in plain])


def print_table(
    columns: Sequence[str],
    rows: Sequence[Sequence[object]],
    *,
    colours: Sequence[str | None] = (),
) -> None:
    """Columns as wide as their content; nothing but the head when there are no rows.

    `colours` are those of the rows, on a terminal.
    """
    table = [[str(name) for name in columns], *([_cell(value) for value in row] for row in rows)]
    widths = [max(len(row[index]) for row in table) for index in range(len(columns))]
    for row, colour in zip_longest(table, (None, *colours)):
        line = "  ".join(value.ljust(width) for value, width in zip(row, widths, strict=True))
        click.echo(painted(line.rstrip(), colour))


def _cell(value: object) -> str:
    return "" if value is None else str(value)
