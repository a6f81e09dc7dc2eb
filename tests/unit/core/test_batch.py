"""Group commit: what waits together is written together."""

import asyncio
from collections.abc import Sequence

import pytest

from novapulse.core.batch import Batcher


class Ledger:
    """Writes slowly, keeps what it got, and fails when told to."""

    def __init__(self) -> None:
        self.batches: list[list[int]] = []
        self.failure: Exception | None = None

    async def write(self, items: Sequence[int]) -> None:
        await asyncio.sleep(0)
        if self.failure is not None:
            raise self.failure
        self.batches.append(list(items))


async def test_everything_is_written_once_and_in_order() -> None:
    ledger = Ledger()
    batcher = Batcher(ledger.write, max_items=7)
    await asyncio.gather(*(batcher.add(number) for number in range(100)))
    assert [item for batch in ledger.batches for item in batch] == list(range(100))
    assert max(map(len, ledger.batches)) == 7


async def test_an_idle_batcher_does_not_wait_for_company() -> None:
    ledger = Ledger()
    batcher = Batcher(ledger.write)
    await batcher.add(1)
    await batcher.add(2)
    assert ledger.batches == [[1], [2]]


async def test_a_failed_batch_fails_for_all_who_are_in_it_and_for_nobody_else() -> None:
    ledger = Ledger()
    batcher = Batcher(ledger.write)
    ledger.failure = OSError("disk")
    both = await asyncio.gather(batcher.add(1), batcher.add(2), return_exceptions=True)
    assert [type(one) for one in both] == [OSError, OSError]
    ledger.failure = None
    await batcher.add(3)
    assert ledger.batches == [[3]]


async def test_closing_writes_what_is_left() -> None:
    ledger = Ledger()
    batcher = Batcher(ledger.write)
    waiting = [batcher.add(number) for number in range(3)]
    await batcher.close()
    assert all(one.done() for one in waiting)
    assert ledger.batches == [[0, 1, 2]]


async def test_somebody_who_gave_up_waiting_disturbs_nobody() -> None:
    ledger = Ledger()
    batcher = Batcher(ledger.write)
    gone, stays = batcher.add(1), batcher.add(2)
    gone.cancel()
    await stays
    with pytest.raises(asyncio.CancelledError):
        await gone
