"""The application that these tests ask, with two companies and the operator in it."""

from pathlib import Path

import pytest

from tests.support import api as support
from tests.support.routes import World, make_world

api = support.api


@pytest.fixture(autouse=True)
def _metrics_of_this_process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where `GET /metrics` gathers from."""
    monkeypatch.setenv("PROMETHEUS_MULTIPROC_DIR", str(tmp_path))


@pytest.fixture(scope="module")
async def world(api: support.Api) -> World:
    return await make_world(api)
