"""Identifiers: prefixed, sortable by time, safe to paste into a ticket."""

import hashlib
import secrets
import time

# Crockford's base 32 in lower case: no i, l, o, u.
_ALPHABET = "0123456789abcdefghjkmnpqrstvwxyz"
_PAIRS = tuple(first + second for first in _ALPHABET for second in _ALPHABET)
_TIME_CHARACTERS = 10
_TAIL_BITS = 80


def _encode(value: int, length: int) -> str:
    """The last `length` characters, an even number of them; two at a time."""
    pairs = [_PAIRS[value >> shift & 1023] for shift in range(5 * length - 10, -1, -10)]
    return "".join(pairs)


def new_id(prefix: str) -> str:
    """`evt_` + 26 characters: 48 bits of milliseconds, 80 random bits (as a ULID)."""
    head = _encode(time.time_ns() // 1_000_000, _TIME_CHARACTERS)
    return f"{prefix}_{head}{_encode(secrets.randbits(_TAIL_BITS), 16)}"


def derived_id(prefix: str, parent: str, *parts: str) -> str:
    """The same id for the same parts, sorting beside the id `parent` it comes from.

    Makes an insert idempotent by its primary key: a second fan-out of one
    event meets the rows of the first.
    """
    digest = hashlib.sha256("\0".join((parent, *parts)).encode()).digest()
    head = parent.partition("_")[2][:_TIME_CHARACTERS]
    return f"{prefix}_{head}{_encode(int.from_bytes(digest[:10]), 16)}"
