"""What every child does at its start."""

import pytest

from novapulse.core.errors import Error, StorageFull, TransientConflict, Unavailable
from novapulse.processes import entry


async def test_a_store_that_is_away_or_full_is_waited_for(monkeypatch: pytest.MonkeyPatch):
    """Else who frees a lost consumer's jobs would do so no more after a full disk."""
    monkeypatch.setattr(entry, "_STORE_RETRY_SECONDS", 0.0)
    troubles: list[Error] = [Unavailable(), StorageFull(), TransientConflict()]

    async def check() -> None:
        if troubles:
            raise troubles.pop()

    await entry.until_available(check)
    assert not troubles
