"""The event loops that the program runs on, for the tests of what is done on them."""

from typing import Any

import pytest

UVLOOP: tuple[str, dict[str, Any]] = ("asyncio", {"use_uvloop": True})
PLAIN: tuple[str, dict[str, Any]] = ("asyncio", {"use_uvloop": False})


@pytest.fixture(scope="session")
def anyio_backend() -> tuple[str, dict[str, Any]]:
    """uvloop, which consumers run on; for the conftest of a directory to import."""
    return UVLOOP


@pytest.fixture(
    scope="session", params=[pytest.param(UVLOOP, id="uvloop"), pytest.param(PLAIN, id="asyncio")]
)
def each_backend(request: pytest.FixtureRequest) -> tuple[str, dict[str, Any]]:
    """Both, one after the other: for what consumers and the API do alike."""
    backend: tuple[str, dict[str, Any]] = request.param
    return backend
