"""What the tests of templates and of conditions count work by."""

from typing import Any

import msgspec
import pytest


@pytest.fixture
def encoded(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The lengths of all JSON that is made from now on."""
    lengths: list[int] = []
    encode = msgspec.json.encode

    def counting(value: Any) -> bytes:
        text = encode(value)
        lengths.append(len(text))
        return text

    monkeypatch.setattr(msgspec.json, "encode", counting)
    return lengths
