"""Types of fields that the structs of several features have, and what they are kept as."""

from collections.abc import Sequence
from datetime import datetime
from typing import Annotated
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import msgspec

from novapulse.core.clock import to_utc
from novapulse.core.errors import Invalid

# `$` alone also matches before a line's end, hence the look-ahead.
NO_CONTROL = r"^[^\x00-\x1f\x7f]*(?!\n)$"
NO_NUL = r"^[^\x00]*$"
ObjectId = Annotated[str, msgspec.Meta(pattern=r"^[0-9a-f]{24}(?!\n)$")]
Instant = Annotated[datetime, msgspec.Meta(tz=True)]
Description = Annotated[str, msgspec.Meta(max_length=10_000, pattern=NO_NUL)]
TimeZone = Annotated[str, msgspec.Meta(pattern=r"^[A-Za-z0-9_+/-]+(?!\n)$", max_length=64)]
Members = Annotated[tuple[ObjectId, ...], msgspec.Meta(max_length=500)]


def in_utc(moment: datetime, path: str) -> datetime:
    """A client's moment as it is kept; raises Invalid for one that UTC has no year for."""
    try:
        return to_utc(moment)
    except OverflowError as error:
        raise Invalid.field(path, "must lie between the years 1 and 9999 in UTC") from error


def zone_of(name: str, path: str) -> ZoneInfo:
    """Raises Invalid for a time zone that this machine does not know."""
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError) as error:
        raise Invalid.field(path, "there is no such time zone") from error


def without_repeats(ids: Sequence[str]) -> tuple[str, ...]:
    """Each once, in the order of their first mention."""
    return tuple(dict.fromkeys(ids))
