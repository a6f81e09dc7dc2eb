"""What JSON bodies must hold beyond what msgspec refuses by itself.

msgspec refuses bytes that are not UTF-8 (a byte order mark too), lone
surrogates, raw control characters, NaN and Infinity. It accepts a key that
comes twice, NUL, integers that JavaScript would round, and any depth; those
are refused here. A quick look at the bytes proves an ordinary body innocent;
the others are parsed again with care.
"""

import json
import math
import re
from typing import Any

import msgspec

from novapulse.core.errors import Invalid, Malformed

MAX_DEPTH = 32
MAX_INTEGER = 2**53

# Digits, openings and closings each become one sign; spaces are left out.
_OUTLINE = bytes.maketrans(b"123456789{}", b"000000000[]")
_SPACE = b" \t\r\n"
_ALL_BUT_BRACKETS = bytes(set(range(256)) - set(b"[]{}"))
_LONG_NUMBER = b"0" * len(str(MAX_INTEGER))
_STRING = re.compile(rb'"(?:[^"\\]++|\\.)*+"?', re.DOTALL)
_plain = msgspec.json.Decoder()


def check(body: bytes) -> None:
    """Whether every reader of `body` would read the same.

    Raises:
        Malformed: not JSON in UTF-8, nested too deep, a key twice, or NUL in a text.
        Invalid: a number is out of range.
    """
    outline = body.translate(_OUTLINE, _SPACE)
    if outline.count(b"[") > MAX_DEPTH:
        _check_depth(body)
    try:
        value = _plain.decode(body)
    except msgspec.ValidationError:  # a number out of range; the careful look says where
        value = None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise Malformed(_reason(body, error)) from error
    # Every key ends in `":`, so as many of them as there are keys means that none was lost.
    # Where there is no backslash there is no NUL.
    is_plain = (
        value is not None
        and b"\\" not in outline
        and _LONG_NUMBER not in outline
        and outline.count(b'":') == _count_keys(value)
    )
    if not is_plain:
        _check_values(_careful.decode(body.decode()), "")


def _reason(body: bytes, error: Exception) -> str:
    return f"The body is not valid JSON: {error}" if body else "The body is empty"


def _count_keys(value: Any) -> int:
    kind = type(value)
    if kind is dict:
        count = len(value)
        values = value.values()
    elif kind is list:
        count = 0
        values = value
    else:
        return 0
    for item in values:
        kind = type(item)
        if kind is dict or kind is list:
            count += _count_keys(item)
    return count


def _check_depth(body: bytes) -> None:
    """Take away the innermost pairs, round by round; unbalanced ones are left over too."""
    brackets = _STRING.sub(b"", body).translate(_OUTLINE, _ALL_BUT_BRACKETS)
    for _ in range(MAX_DEPTH):
        brackets = brackets.replace(b"[]", b"")
    if brackets:
        raise Malformed(f"The body is not valid JSON, or nested deeper than {MAX_DEPTH}")


def _check_values(value: Any, path: str) -> None:
    kind = type(value)
    if kind is str:
        _check_text(value)
    elif kind is int:
        if abs(value) > MAX_INTEGER:
            raise Invalid.field(path, f"Expected an integer within ±{MAX_INTEGER}")
    elif kind is float:
        if not math.isfinite(value):
            raise Invalid.field(path, "The number is out of range")
    elif kind is list:
        for index, item in enumerate(value):
            _check_values(item, f"{path}[{index}]")
    elif kind is dict:
        for name, item in value.items():
            _check_text(name)
            _check_values(item, f"{path}.{name}" if path else name)


def _check_text(text: str) -> None:
    if "\0" in text:
        raise Malformed("The body has NUL in a text")


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    made: dict[str, Any] = {}
    for name, value in pairs:
        if name in made:
            raise Malformed(f"The body has the key {name[:50]!r} twice")
        made[name] = value
    return made


def _integer(digits: str) -> int:
    """Python's own conversion refuses thousands of digits; one too many is enough to know."""
    return int(digits) if len(digits) < 20 else MAX_INTEGER + 1


_careful = json.JSONDecoder(object_pairs_hook=_object, parse_int=_integer)
