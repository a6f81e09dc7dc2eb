"""One raw value, from TOML or from text, into the type that its setting declares.

Every refusal is a ValueError with a sentence that does not show secrets.
"""

import json
import re
from datetime import date, time

from novapulse.core.settings.declare import Declaration
from novapulse.core.settings.rates import Rate

_TRUE, _FALSE = ("true", "yes", "on", "1"), ("false", "no", "off", "0")
_INTEGER = re.compile(r"[+-]?[0-9](_?[0-9]){0,17}")
_NUMBER = re.compile(r"[+-]?[0-9]{1,18}(\.[0-9]{1,18})?")
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\ud800-\udfff]")


def from_toml(declaration: Declaration, raw: object) -> object:
    """A value as the TOML parser returns it."""
    wanted = declaration.type
    if wanted is tuple and isinstance(raw, list):
        return tuple(dict.fromkeys(_text(declaration, item, "each item: ") for item in raw))
    if wanted is bool and isinstance(raw, bool):
        return raw
    is_number = isinstance(raw, int | float) and not isinstance(raw, bool)
    if is_number and (wanted is float or (wanted is int and isinstance(raw, int))):
        return _ranged(declaration, raw)  # type: ignore[arg-type]  # is_number says so
    if wanted in (str, Rate):
        text = _text(declaration, raw)
        return Rate.parse(text) if wanted is Rate else text
    raise ValueError(f"expected {declaration.wanted}, got {_type_name(raw)}")


def from_text(declaration: Declaration, text: str) -> object:
    """A value as an environment variable or a flag gives it."""
    if declaration.type is tuple:
        return from_toml(declaration, _list(text))
    if declaration.type is bool:
        word = text.lower()
        if word not in _TRUE + _FALSE:
            raise ValueError(f"expected {declaration.wanted}, got {text!r}")
        return word in _TRUE
    if declaration.type in (int, float):
        pattern = _INTEGER if declaration.type is int else _NUMBER
        if pattern.fullmatch(text) is None:
            raise ValueError(f"expected {declaration.wanted}, got {text!r}")
        return from_toml(declaration, int(text) if declaration.type is int else float(text))
    return from_toml(declaration, text)


def _text(declaration: Declaration, raw: object, prefix: str = "") -> str:
    if not isinstance(raw, str):
        wanted = "a string" if declaration.type is tuple else declaration.wanted
        raise ValueError(f"{prefix}expected {wanted}, got {_type_name(raw)}")
    if _CONTROL.search(raw):
        raise ValueError(f"{prefix}must not hold control characters")
    if declaration.choices and raw not in declaration.choices:
        raise ValueError(f"expected {declaration.wanted}, got {raw!r}")
    return declaration.key.check(raw) if declaration.key.check else raw


def _ranged(declaration: Declaration, number: int | float) -> int | float:
    low, high = declaration.key.minimum, declaration.key.maximum
    # Written so that NaN, which compares as false, is refused.
    if low is None or high is None or not low <= number <= high:
        raise ValueError(f"must be {declaration.range}, got {number}")
    return float(number) if declaration.type is float else number


def _list(text: str) -> object:
    """`["a", "b"]` as JSON, or `a, b`; nothing is the empty list."""
    if text.lstrip().startswith("["):
        try:
            return json.loads(text)
        except (ValueError, RecursionError):
            raise ValueError("expected a JSON list or items with commas between") from None
    return [item.strip() for item in text.split(",") if item.strip()]


def _type_name(raw: object) -> str:
    names: tuple[tuple[type | tuple[type, ...], str], ...] = (
        (bool, "a boolean"),
        (int, "an integer"),
        (float, "a number with a fraction"),
        (str, "a string"),
        (list, "a list"),
        (dict, "a table"),
        ((date, time), "a date or time"),
    )
    return next((name for kind, name in names if isinstance(raw, kind)), "nothing")
