"""The engine that these tests run jobs on."""

from tests.support.engine import engine as engine  # a fixture
