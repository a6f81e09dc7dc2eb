"""Templates: `Follow up on {{ event.data.title | truncate:40 }}`.

An expression is a path or a literal, then filters. There is nothing to call,
no loop and no attribute; what is made, on the way to what comes out too, is
bounded while it grows, so the worst that a hostile template can do is fail.
"""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import lru_cache
from typing import Any

import msgspec

from novapulse.core.errors import Invalid
from novapulse.rules.paths import MISSING, PATH, is_path, resolve

MAX_TEMPLATE_CHARACTERS = 10_000
MAX_RENDERED_CHARACTERS = 65_536
MAX_FILTERS = 10
_LOOK_UP_CHARACTERS = 10  # what an expression counts for that makes nothing
_OPEN, _CLOSE = "{{", "}}"
_TOKEN = re.compile(
    rf"""\s*(?:(?P<path>{PATH})|(?P<text>"[^"]*"|'[^']*')|(?P<number>-?[0-9]{{1,15}})"""
    r"""|(?P<sign>[|:,]))\s*""",
    re.ASCII,
)
Literal = str | int
Filter = Callable[..., Any]


class Expression(msgspec.Struct, frozen=True):
    """`path`, or `literal` where there is none; then filters with their arguments."""

    source: str
    path: str = ""
    literal: Literal = ""
    filters: tuple[tuple[str, tuple[Literal, ...]], ...] = ()


Part = str | Expression


class Budget:
    """The characters that are left for all that one rendering makes, and reads to make it."""

    def __init__(self, characters: int = MAX_RENDERED_CHARACTERS) -> None:
        self._left = characters

    def spend(self, characters: int) -> None:
        """Raises Invalid when they are used up."""
        self._left -= characters
        if self._left < 0:
            raise Invalid(f"What the templates make is over {MAX_RENDERED_CHARACTERS} characters")


def render(
    value: Any,
    scope: Mapping[str, Any],
    *,
    keep: Sequence[str] = (),
    budget: Budget | None = None,
) -> Any:
    """A JSON value with every template in it filled in from `scope`.

    A text that is one expression and nothing else becomes what the expression
    gives, a list for instance; what leads nowhere is null there, and empty
    within a longer text. Paths that start with a name in `keep` stay as they
    are written. Values that are rendered for one purpose may share a `budget`.

    Raises:
        Invalid: a template that can not be read, or more than 65,536 characters are made.
    """
    return _filled(value, scope, keep=frozenset(keep), budget=budget or Budget())


def check(value: Any, path: str = "") -> None:
    """Refuse a JSON value with a template that can not be read; raises Invalid with its path."""
    for where, text in texts(value, path):
        try:
            parse(text)
        except Invalid as error:
            raise Invalid.field(where, error.detail) from error


def expressions(value: Any) -> Iterator[Expression]:
    """Every expression in a JSON value whose templates can be read."""
    for _, text in texts(value, ""):
        yield from (part for part in parse(text) if isinstance(part, Expression))


def texts(value: Any, path: str) -> Iterator[tuple[str, str]]:
    """Every text in a JSON value, with where it is."""
    if isinstance(value, str):
        yield path, value
    elif isinstance(value, Mapping):
        for name, item in value.items():
            yield from texts(item, f"{path}.{name}" if path else name)
    elif isinstance(value, list | tuple):
        for position, item in enumerate(value):
            yield from texts(item, f"{path}[{position}]")


@lru_cache(maxsize=1_024)
def parse(text: str) -> tuple[Part, ...]:
    """The plain parts and the expressions of a template; raises Invalid."""
    if _OPEN not in text:
        return (text,)
    if len(text) > MAX_TEMPLATE_CHARACTERS:
        raise Invalid(f"a template has at most {MAX_TEMPLATE_CHARACTERS} characters")
    parts: list[Part] = []
    position = 0
    while (start := text.find(_OPEN, position)) >= 0:
        end = text.find(_CLOSE, start)
        if end < 0:
            raise Invalid("'{{' without '}}'")
        if start > position:
            parts.append(text[position:start])
        parts.append(_expression(text[start + len(_OPEN) : end]))
        position = end + len(_CLOSE)
    if position < len(text):
        parts.append(text[position:])
    return tuple(parts)


def _expression(source: str) -> Expression:
    tokens = _tokens(source)
    kind, first = next(tokens, ("", ""))
    if kind not in ("path", "text", "number"):
        raise Invalid(f"{source.strip()!r} does not start with a path such as event.data.title")
    if kind == "path" and not is_path(first):
        raise Invalid(f"{first[:40]!r}… has too many parts")
    filters = _filters(tokens, source)
    if kind == "path":
        return Expression(source, path=first, filters=filters)
    return Expression(source, literal=_literal(kind, first), filters=filters)


def _tokens(source: str) -> Iterator[tuple[str, str]]:
    position = 0
    while position < len(source):
        found = _TOKEN.match(source, position)
        if found is None:
            raise Invalid(f"{source[position:].strip()[:40]!r} is no part of a template")
        position = found.end()
        kind = str(found.lastgroup)
        yield kind, found[kind]


def _filters(
    tokens: Iterator[tuple[str, str]], source: str
) -> tuple[tuple[str, tuple[Literal, ...]], ...]:
    """`| name:literal,literal` as often as it comes."""
    found: list[tuple[str, list[Literal]]] = []
    expected = "|"
    for kind, text in tokens:
        if kind == "sign" and text in expected:
            expected = {"|": "name", ":": "literal", ",": "literal"}[text]
        elif expected == "name" and kind == "path" and text in FILTERS:
            found.append((text, []))
            expected = "|:"
        elif expected == "literal" and kind in ("text", "number"):
            found[-1][1].append(_literal(kind, text))
            expected = "|,"
        elif expected == "name":
            raise Invalid(f"there is no filter {text!r}; there are {', '.join(FILTERS)}")
        else:
            raise Invalid(f"{text!r} is not expected in {source.strip()[:40]!r}")
    if expected in ("name", "literal"):
        raise Invalid(f"{source.strip()[:40]!r} breaks off")
    if len(found) > MAX_FILTERS:
        raise Invalid(f"an expression has at most {MAX_FILTERS} filters")
    for name, arguments in found:
        _check_arguments(name, arguments)
    return tuple((name, tuple(arguments)) for name, arguments in found)


def _check_arguments(name: str, arguments: Sequence[Literal]) -> None:
    expected = _ARGUMENTS.get(name, ())
    if len(arguments) != len(expected) or not all(map(isinstance, arguments, expected)):
        kinds = " and ".join("a number" if kind is int else "a text" for kind in expected)
        raise Invalid(f"the filter {name} takes {kinds or 'nothing'}")


def _literal(kind: str, text: str) -> Literal:
    return int(text) if kind == "number" else text[1:-1]


def _filled(value: Any, scope: Mapping[str, Any], *, keep: frozenset[str], budget: Budget) -> Any:
    if isinstance(value, str):
        return _rendered(value, scope, keep=keep, budget=budget)
    if isinstance(value, Mapping):
        return {
            name: _filled(item, scope, keep=keep, budget=budget) for name, item in value.items()
        }
    if isinstance(value, list | tuple):
        return [_filled(item, scope, keep=keep, budget=budget) for item in value]
    return value


def _rendered(text: str, scope: Mapping[str, Any], *, keep: frozenset[str], budget: Budget) -> Any:
    parts = parse(text)
    if len(parts) == 1 and isinstance(parts[0], Expression):
        value = _value(parts[0], scope, keep=keep, budget=budget)
        budget.spend(len(as_text(value)))
        return None if value is MISSING else value
    made = []
    for part in parts:
        value = part if isinstance(part, str) else _value(part, scope, keep=keep, budget=budget)
        piece = as_text(value)
        budget.spend(len(piece))
        made.append(piece)
    return "".join(made)


def _value(
    expression: Expression, scope: Mapping[str, Any], *, keep: frozenset[str], budget: Budget
) -> Any:
    if expression.path.partition(".")[0] in keep:
        return f"{_OPEN}{expression.source}{_CLOSE}"
    budget.spend(_LOOK_UP_CHARACTERS)
    found = value = resolve(scope, expression.path) if expression.path else expression.literal
    for name, arguments in expression.filters:
        if name == "join" and isinstance(value, list):
            budget.spend(len(value) * (1 + len(str(arguments[0]))))  # before it is there
        elif name in _READING:
            value = as_text(value)
        # Five characters of a large text are cheap, unless that had to be made for them, or
        # read from end to end.
        if isinstance(value, str) and (value is not found or name == "trim"):
            budget.spend(len(value))
        value = FILTERS[name](value, *arguments)
    return value


def as_text(value: Any) -> str:
    """How a value looks within a text: nothing for null, JSON for what is no text."""
    if isinstance(value, str):
        return value
    if value is None or value is MISSING:
        return ""
    return msgspec.json.encode(value).decode()


def _default(value: Any, instead: Literal) -> Any:
    return instead if value in (MISSING, None, "") else value


def _length(value: Any) -> int:
    return len(value) if isinstance(value, str | list | dict) else 0


def _truncate(value: Any, characters: int) -> str:
    text = as_text(value)
    return text if len(text) <= characters else f"{text[: max(0, characters - 1)]}…"


def _json(value: Any) -> str:
    return msgspec.json.encode(None if value is MISSING else value).decode()


def _join(value: Any, between: str) -> str:
    return between.join(map(as_text, value)) if isinstance(value, list) else as_text(value)


FILTERS: Mapping[str, Filter] = {
    "default": _default,
    "upper": lambda value: as_text(value).upper(),
    "lower": lambda value: as_text(value).lower(),
    "trim": lambda value: as_text(value).strip(),
    "truncate": _truncate,
    "length": _length,
    "join": _join,
    "json": _json,
    # Of a time such as 2026-11-23T16:29:53.501Z, in UTC.
    "date": lambda value: as_text(value)[:10],
    "time": lambda value: as_text(value)[11:16],
}
# Those that take any value as the text that it is.
_READING = frozenset(FILTERS) - {"default", "length", "json"}
_ARGUMENTS: Mapping[str, tuple[Any, ...]] = {
    "default": (str | int,),
    "truncate": (int,),
    "join": (str,),
}
