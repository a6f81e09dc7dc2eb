"""One house for the tests of a module, empty for each of them, and a receiver."""

from collections.abc import AsyncIterator

import pytest

from tests.support import loops
from tests.support.dispatching import House, Sink, open_house, sink
from tests.support.stores import RunningStores


@pytest.fixture(scope="module")
async def shared_house(stores: RunningStores) -> AsyncIterator[House]:
    async with open_house(stores) as opened:
        yield opened


@pytest.fixture
async def house(shared_house: House) -> AsyncIterator[House]:
    yield shared_house
    await shared_house.clear()


@pytest.fixture
async def there() -> AsyncIterator[Sink]:
    async with sink() as made:
        yield made


anyio_backend = loops.anyio_backend
