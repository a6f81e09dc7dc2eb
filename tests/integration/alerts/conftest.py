"""The application that these tests ask."""

from tests.support import api as support

api = support.api
