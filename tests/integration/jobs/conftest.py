"""The engine that these tests run jobs on."""

from tests.support import engine as support
from tests.support import loops

engine = support.engine
anyio_backend = loops.anyio_backend
