"""How long the certificate of the public URL is valid yet: whoever ends TLS there."""

import asyncio
import ssl
from contextlib import suppress
from datetime import UTC, datetime
from urllib.parse import urlsplit

import structlog
from cryptography import x509

from novapulse.core.context import Runtime
from novapulse.core.telemetry import metrics

log = structlog.get_logger("alerts")
LOOK_SECONDS = 3_600.0
_CONNECT_SECONDS = 5.0


async def look(runtime: Runtime) -> None:
    """Set the gauge; one that can not be seen from here leaves it as it is."""
    url = urlsplit(runtime.settings.server.public_url)
    if url.scheme != "https" or url.hostname is None:
        return
    try:
        async with asyncio.timeout(_CONNECT_SECONDS):
            ends = await ends_at(url.hostname, url.port or 443)
    except (OSError, TimeoutError, ValueError) as error:
        log.info("certificate.not_seen", error=type(error).__name__)
        return
    metrics.certificate_left_seconds.set((ends - datetime.now(UTC)).total_seconds())


async def ends_at(host: str, port: int) -> datetime:
    """When the certificate there ends, also of one that nobody should trust."""
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    _, writer = await asyncio.open_connection(host, port, ssl=context)
    try:
        connection: ssl.SSLObject = writer.get_extra_info("ssl_object")
        raw = connection.getpeercert(binary_form=True)
    finally:
        writer.close()
        with suppress(OSError):
            await writer.wait_closed()
    if raw is None:
        raise ValueError("no certificate came")
    return x509.load_der_x509_certificate(raw).not_valid_after_utc
