"""Rates as people write them: `100/minute`."""

import re

import msgspec

_WINDOWS = {"second": 1, "minute": 60, "hour": 3600}
_RATE = re.compile(r"([0-9]{1,7})/(second|minute|hour)")


class Rate(msgspec.Struct, frozen=True):
    """At most `limit` requests in `window_seconds`."""

    limit: int
    window_seconds: int

    @classmethod
    def parse(cls, text: str) -> "Rate":
        """`5/minute` → Rate(5, 60); raises ValueError with a sentence for a person."""
        match = _RATE.fullmatch(text)
        if match is None or int(match[1]) == 0:
            raise ValueError("expected a rate such as 100/minute, per second, minute or hour")
        return cls(int(match[1]), _WINDOWS[match[2]])

    def __str__(self) -> str:
        names = {seconds: name for name, seconds in _WINDOWS.items()}
        return f"{self.limit}/{names[self.window_seconds]}"
