"""A report as a page to print: a heading, a chart, a table; no script, nothing from elsewhere."""

from datetime import datetime
from html import escape
from typing import Any

from novapulse.core import wire
from novapulse.core.clock import rfc3339
from novapulse.core.sources import Cells, Row

# The chart is known when the last row has passed: it stands at the end and is shown first.
_STYLE = """\
body{font:14px/1.4 system-ui,sans-serif;margin:2rem;display:flex;flex-direction:column;color:#222}
header{order:1}figure{order:2;margin:1rem 0}main{order:3}
h1{font-size:1.4rem;margin:0}dl{display:grid;grid-template-columns:max-content 1fr;gap:0 1rem}
dd{margin:0}figcaption{font-weight:600}svg{max-width:100%;height:auto;font-size:12px}
rect{fill:#3b6ea8}table{border-collapse:collapse;width:100%}thead{display:table-header-group}
th,td{border:1px solid #bbb;padding:.2rem .4rem;text-align:left;vertical-align:top;
overflow-wrap:anywhere}tr{break-inside:avoid}td.n{text-align:right}
@media print{body{margin:0;font-size:10px}rect{print-color-adjust:exact}}"""
_POLICY = "default-src 'none'; style-src 'unsafe-inline'"


def head(title: str, facts: dict[str, str], columns: tuple[str, ...]) -> str:
    """All that stands before the rows."""
    told = "".join(
        f"<dt>{escape(name)}</dt><dd>{escape(text)}</dd>" for name, text in facts.items()
    )
    names = "".join(f"<th>{escape(column)}</th>" for column in columns)
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">'
        f"<title>{escape(title)}</title><style>{_STYLE}</style></head><body>"
        f"<header><h1>{escape(title)}</h1><dl>{told}</dl></header>"
        f"<main><table><thead><tr>{names}</tr></thead><tbody>\n"
    )


def rows_of(rows: list[Row], cells: Cells) -> str:
    """A line of the table for each row."""
    return "".join(
        [f"<tr>{''.join([_cell(value) for value in cells(row)])}</tr>\n" for row in rows]
    )


def foot(count: int, chart: str) -> str:
    """All that stands after the rows; `chart` is markup."""
    return f"</tbody></table><p>{count} rows</p></main><figure>{chart}</figure></body></html>\n"


def _cell(value: Any) -> str:
    if value is None:
        return "<td></td>"
    if isinstance(value, int) and not isinstance(value, bool):
        return f'<td class="n">{value}</td>'
    return f"<td>{escape(_text(value))}</td>"


def _text(value: Any) -> str:
    if isinstance(value, str):
        return value
    if isinstance(value, datetime):
        return rfc3339(value)
    if isinstance(value, list | tuple):
        return ", ".join(map(_text, value))
    return wire.encode(value).decode()
