"""The engine that these tests run jobs on."""

from tests.support import engine as support

engine = support.engine
