"""CSV as RFC 4180 has it, with cells that no spreadsheet takes for formulas."""

import re
from collections.abc import Iterable
from datetime import datetime
from typing import Any

from novapulse.core import wire
from novapulse.core.clock import rfc3339

# A cell that starts like this may be run by whoever opens the file. Blanks before
# the sign are skipped by some programs, and the wide forms are signs to some keyboards.
_FORMULA = re.compile(r"[\t\r\n]|[\s\x00-\x1f]*[=+\-@\uff1d\uff0b\uff0d\uff20]")
# The semicolon, because a spreadsheet may be set to part cells there.
_QUOTED = re.compile(r'[",;\r\n\t\']|^\s|\s$')
LINE_END = "\r\n"


def row(cells: Iterable[Any]) -> str:
    """One line of the file, its end included."""
    return ",".join(map(_cell, cells)) + LINE_END


def safe_cell(text: str) -> str:
    """The text, behind an apostrophe when it would be a formula."""
    return f"'{text}" if _FORMULA.match(text) else text


def _cell(value: Any) -> str:
    kind = type(value)
    if value is None:
        return ""
    if kind is int or kind is float:
        return str(value)
    if kind is bool:
        return "true" if value else "false"
    if kind is datetime:
        return rfc3339(value)
    text = safe_cell(_text(value))
    return '"' + text.replace('"', '""') + '"' if _QUOTED.search(text) else text


def _text(value: Any) -> str:
    if isinstance(value, str):
        return str(value)
    if isinstance(value, list | tuple):
        return ", ".join(_text(item) for item in value)
    return wire.encode(value).decode()
