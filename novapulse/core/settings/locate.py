"""On which line of a TOML text a key stands; the standard parser does not tell.

Only for texts that the parser has accepted, so this scanner need not judge.
"""

import ast
import re

_LEXEME = re.compile(
    r'"""(?:\\.|[^\\])*?"{3,5}'
    r"|'''.*?'{3,5}"
    r'|"(?:\\.|[^"\\\n])*"'
    r"|'[^'\n]*'"
    r"|\#[^\n]*|\n|[\[\]{}=,.]|[^\s\"'\#\[\]{}=,.]+",
    re.DOTALL,
)
_OPENING, _CLOSING = "[{", "]}"


def locate_keys(text: str) -> dict[str, int]:
    """Dotted names of all tables and keys to their first line, counted from 1.

    A key inside an inline table stands where that table's own key stands.
    """
    return _Scanner().scan(text)


def line_of(lines: dict[str, int], name: str) -> int:
    """The line of `name`, or of the nearest table around it."""
    while name:
        if name in lines:
            return lines[name]
        name = name.rpartition(".")[0]
    return 1


class _Scanner:
    """Reads statement by statement: a header `[a.b]`, or `key = value` up to the line's end."""

    def __init__(self) -> None:
        self._lines: dict[str, int] = {}
        self._table: list[str] = []
        self._key: list[str] = []
        self._is_value = False
        self._depth = 0

    def scan(self, text: str) -> dict[str, int]:
        line = 1
        for match in _LEXEME.finditer(text):
            lexeme = match[0]
            if lexeme == "\n":
                self._end_line()
            elif not lexeme.startswith("#"):
                self._take(lexeme, line)
            line += lexeme.count("\n")
        return self._lines

    def _take(self, lexeme: str, line: int) -> None:
        if self._is_value:
            self._depth += (lexeme in _OPENING) - (lexeme in _CLOSING)
        elif lexeme == "]" and self._key:
            self._table = self._key
            self._note(self._table, line)
            self._key = []
        elif lexeme == "=":
            self._note(self._table + self._key, line)
            self._is_value = True
        elif lexeme not in ".[]":
            self._key.append(_plain(lexeme))

    def _end_line(self) -> None:
        if self._depth == 0:
            self._key = []
            self._is_value = False

    def _note(self, parts: list[str], line: int) -> None:
        if parts:
            self._lines.setdefault(".".join(parts), line)


def _plain(lexeme: str) -> str:
    """A bare or quoted key without its quotes."""
    if lexeme.startswith("'"):
        return lexeme[1:-1]
    if lexeme.startswith('"'):
        return str(ast.literal_eval(lexeme))
    return lexeme
