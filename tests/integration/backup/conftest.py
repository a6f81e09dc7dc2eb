"""One filled installation, a backup of it, and empty ones."""

import itertools
from collections.abc import Iterator
from pathlib import Path

import pytest

from novapulse.backup import rows
from novapulse.core.crypto import load_key_ring
from novapulse.processes import places
from tests.support.backups import Installation, Installations, fill
from tests.support.stores import RunningStores

_numbers = itertools.count(1)


@pytest.fixture(scope="module")
def installations(
    stores: RunningStores, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Installations]:
    made = Installations(stores, tmp_path_factory.mktemp("backup"))
    yield made
    made.close()


@pytest.fixture(scope="module")
def source(installations: Installations) -> Installation:
    """A filled one with keys; tests only read it."""
    one = installations.make("source")
    load_key_ring(places.data_key_file(one.loaded()))
    fill(one.rows)
    return one


@pytest.fixture(scope="module")
def made(source: Installation) -> Path:
    """One backup of it, of small parts, so that there are several."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(rows, "_PART_BYTES", 256 << 10)
        return source.create()


@pytest.fixture
def target(installations: Installations) -> Installation:
    """An empty one for a test."""
    return installations.make(f"target-{next(_numbers)}")


@pytest.fixture(scope="module")
def untouched(installations: Installations) -> Installation:
    """An empty one for many tests, none of which changes it."""
    return installations.make(f"target-{next(_numbers)}")
