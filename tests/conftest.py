"""What every test shares: the event loop's kind and Hypothesis profiles."""

import os
import signal

import pytest
from hypothesis import settings

pytest_plugins = ["tests.support.stores", "tests.support.appliance", "tests.support.receiver"]

# CI tries the same examples each time, so that a red run is about the change;
# the nightly profile looks for new ones: HYPOTHESIS_PROFILE=nightly make test.
settings.register_profile("default", deadline=None, derandomize="CI" in os.environ)
settings.register_profile("nightly", deadline=None, max_examples=2_000, print_blob=True)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "default"))


# A shell that runs us in the background has Ctrl-C ignored, and ignoring is what children inherit.
signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session")
def anyio_backend() -> str:
    """Coroutine tests run on asyncio's loop, as the API does; those of consumers on uvloop."""
    return "asyncio"
