"""The application that these tests ask."""

from tests.support import api as support
from tests.support import loops

api = support.api
anyio_backend = loops.anyio_backend
