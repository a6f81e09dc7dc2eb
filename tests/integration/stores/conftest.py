"""A layout of its own for each test of the stores."""

from collections.abc import Iterator

import pytest

from novapulse.stores.layout import StoreLayout
from tests.support.stores import temporary_layout


@pytest.fixture
def layout() -> Iterator[StoreLayout]:
    with temporary_layout() as made:
        made.state.mkdir()
        yield made
