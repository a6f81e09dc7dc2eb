"""TLS by the API itself, for sites without a proxy before it."""

import ssl
from collections.abc import Callable
from pathlib import Path

from novapulse.core.errors import ConfigurationInvalid
from novapulse.core.secretfiles import read_secret_file
from novapulse.core.settings import sections as keys


def server_context(settings: keys.Server) -> ssl.SSLContext | None:
    """None where no certificate is set; raises ConfigurationInvalid for one that is not usable."""
    if not settings.has_tls:
        return None
    certificate, key = settings.tls_certificate_file, settings.tls_key_file
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.set_alpn_protocols(["http/1.1"])
    try:
        read_secret_file(Path(key))  # that nobody else may read
        # A key with a passphrase would ask for it on a terminal.
        context.load_cert_chain(certificate, key, password="")
    except OSError as error:  # an SSLError is one, too
        raise ConfigurationInvalid(
            f"The certificate {certificate} and the key {key} are not usable: {error}",
            where="server.tls_certificate_file",
            hint="the certificate with its chain and its key, both PEM, the key without passphrase",
        ) from error
    return context


class Handshake:
    """A connection that does not speak HTTP yet."""

    def __init__(self, discard: Callable[["Handshake"], None]) -> None:
        self._discard = discard

    def end(self) -> None:
        self._discard(self)

    def close_if_idle(self) -> None:
        """Who has not agreed on a key by now is not waited for."""
        self.end()
