"""The certificate of the mail servers that these tests talk to."""

from tests.support import loops
from tests.support import mailserver as support

certificate = support.certificate
anyio_backend = loops.anyio_backend
