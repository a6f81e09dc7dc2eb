"""Paths into plain JSON values: `event.data.labels.0`.

Only the keys of objects and the positions of lists are looked at; a Python
attribute can not be named.
"""

import re
from typing import Any, Final

MAX_SEGMENTS = 20
PATH = r"[A-Za-z_][\w-]*(?:\.[\w-]+)*"
_WHOLE = re.compile(PATH, re.ASCII)
_POSITION = re.compile(r"[0-9]{1,6}")


class Missing:
    """The type of `MISSING`: what a path leads to that leads nowhere."""

    def __bool__(self) -> bool:
        return False


MISSING: Final = Missing()


def is_path(text: str) -> bool:
    """Whether this is a path, of at most 20 segments."""
    return _WHOLE.fullmatch(text) is not None and text.count(".") < MAX_SEGMENTS


def resolve(scope: Any, path: str) -> Any:
    """What is at `path` in `scope`, or MISSING."""
    value = scope
    for segment in path.split("."):
        if type(value) is dict:
            value = value.get(segment, MISSING)
        elif type(value) is list and _POSITION.fullmatch(segment) and int(segment) < len(value):
            value = value[int(segment)]
        else:
            return MISSING
    return value
