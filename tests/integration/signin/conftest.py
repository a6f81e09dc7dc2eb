"""The application whose clock these tests may put forward."""

from tests.support.signin import api, clock

__all__ = ["api", "clock"]
