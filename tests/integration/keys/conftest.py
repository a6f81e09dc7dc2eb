"""The application that these tests ask, and what is sealed in it."""

from tests.support import keys as support

api, clock, secrets = support.api, support.clock, support.secrets
