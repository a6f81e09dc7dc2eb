"""The way to an SMTP server: one connection, kept while mails come, and its answers judged.

Whatever is not a plain no (5xx) is worth another attempt: 4xx, silence, a
connection that breaks, a certificate that can not be checked.
"""

import asyncio
import re
import ssl
import time
from contextlib import suppress
from email.message import EmailMessage
from email.policy import SMTP
from typing import TYPE_CHECKING

import aiosmtplib
import structlog

from novapulse.core.errors import ConfigurationInvalid
from novapulse.mail.compose import Sender
from novapulse.mail.refusals import Deferred, Refused, Waited

if TYPE_CHECKING:
    from novapulse.core.settings.mail import Mail

log = structlog.get_logger("mail")
IDLE_SECONDS = 60.0
_GOODBYE_SECONDS = 2.0
_LONGEST_REASON = 400
_SEVEN_BIT = SMTP.clone(cte_type="7bit")
# RFC 3463: x.1.y is of an address, and x.2.1 a mailbox that is disabled; x.1.7 and x.1.8 are of
# the sender's address, and x.1.0 does not say whose.
_ENHANCED = re.compile(r"#?(\d\.\d{1,3}\.\d{1,3})(?![\d.])")
_NO_MAILBOX = re.compile(r"5\.(1\.(?!(0|7|8)$)\d+|2\.1)")
_PLAIN_NO_MAILBOX = frozenset({550, 551, 553})  # RFC 5321, 4.2.3


class SmtpServer:
    """One server, spoken to over one connection by one sender after the other."""

    def __init__(self, settings: "Mail", *, password: str = "") -> None:
        """Raises ConfigurationInvalid for certificates that can not be read."""
        self.place = f"{settings.host}:{settings.port}"
        self._settings = settings
        self._password = password
        self._sender = Sender.parse(settings.sender)
        self._tls = None if settings.security == "none" else _tls_context(settings.ca_file)
        self._client: aiosmtplib.SMTP | None = None
        self._lock = asyncio.Lock()
        self._broke_at = 0.0
        self._why = ""
        self._idle: asyncio.TimerHandle | None = None

    async def send(self, mail: EmailMessage, to: str) -> str:
        """Hand the mail over to the one address `to`; the server's last word.

        Raises:
            Deferred: another attempt may help.
            Refused: none will.
            Waited: it was waiting behind a mail on which the connection broke.
        """
        asked = time.monotonic()
        async with self._lock:
            if self._broke_at > asked:
                raise Waited(self._why)
            try:
                client = await self._connected()
                return await self._transfer(client, mail, to)
            except Deferred as error:
                if self._client is None or not self._client.is_connected:
                    self._broke_at, self._why = time.monotonic(), str(error)
                raise
            finally:
                self._rest()

    async def check(self) -> str:
        """Connect and sign in, and send nothing; a sentence on it. Raises as `send` does."""
        async with self._lock:
            client = await self._connected()
            tls = client.get_transport_info("ssl_object")
            secured = tls.version() if tls is not None else "without encryption"
            user = self._settings.user
            return f"{self.place} answers, {secured}{f', signed in as {user}' if user else ''}"

    async def aclose(self) -> None:
        """Say goodbye and close."""
        if self._client is not None and self._client.is_connected:
            with suppress(aiosmtplib.SMTPException, OSError, TimeoutError):
                await self._client.quit(timeout=_GOODBYE_SECONDS)
        self._drop()

    async def _connected(self) -> aiosmtplib.SMTP:
        """The connection that is there, if the server still knows it; else a new one."""
        if self._idle is not None:
            self._idle.cancel()
        if self._client is not None and self._client.is_connected:
            try:
                await self._client.rset()
                return self._client
            except (aiosmtplib.SMTPException, OSError):
                self._drop()  # it was closed meanwhile, as servers do
        try:
            self._client = client = self._new_client()
            await self._open(client)
        except BaseException:
            self._drop()
            raise
        return client

    def _new_client(self) -> aiosmtplib.SMTP:
        settings = self._settings
        return aiosmtplib.SMTP(
            hostname=settings.host,
            port=settings.port,
            timeout=settings.timeout_seconds,
            use_tls=settings.security == "tls",
            start_tls=False,
            tls_context=self._tls,
            # The default would ask the network for this machine's name.
            local_hostname=self._sender.domain,
        )

    async def _open(self, client: aiosmtplib.SMTP) -> None:
        """To the point where mails are taken; every stage has its deadline."""
        settings, stage = self._settings, "connecting"
        try:
            async with asyncio.timeout(settings.connect_timeout_seconds):
                await client.connect(timeout=settings.connect_timeout_seconds)
            stage = "EHLO"
            await client.ehlo()
            if settings.security == "starttls":
                stage = "STARTTLS"
                await client.starttls()
                stage = "EHLO"
                await client.ehlo()
            if settings.user:
                stage = "AUTH"
                await client.login(settings.user, self._password)
        except (aiosmtplib.SMTPException, OSError, TimeoutError, ValueError) as error:
            raise self._judged(error, stage) from error

    async def _transfer(self, client: aiosmtplib.SMTP, mail: EmailMessage, to: str) -> str:
        """MAIL, RCPT, DATA. After an answer the connection stays, after anything else it goes."""
        stage = "MAIL"
        try:
            content, options, encoding = _written(client, mail, to)
            await client.mail(self._sender.address, options=options, encoding=encoding)
            stage = "RCPT"
            await client.rcpt(to, encoding=encoding)
            stage = "DATA"
            answer = await client.data(content)
            return f"{answer.code} {answer.message}"
        except aiosmtplib.SMTPResponseException as error:
            if error.code == 421:  # it closes
                self._drop()
            raise self._judged(error, stage) from error
        except (aiosmtplib.SMTPNotSupported, ValueError) as error:  # nothing was said yet
            raise self._judged(error, stage) from error
        except (aiosmtplib.SMTPException, OSError, TimeoutError) as error:
            self._drop()
            raise self._judged(error, stage) from error
        except BaseException:  # cut off in the middle: nobody knows what the server expects
            self._drop()
            raise

    def _judged(self, error: Exception, stage: str) -> Deferred | Refused:
        if isinstance(error, aiosmtplib.SMTPResponseException):
            reason = f"{self.place} at {stage}: {error.code} {error.message}"[:_LONGEST_REASON]
            if 500 <= error.code <= 599:
                is_unknown = stage == "RCPT" and _is_no_mailbox(error.code, error.message)
                return Refused(reason, is_about_recipient=is_unknown)
            return Deferred(reason)
        is_impossible = isinstance(error, ValueError) and not isinstance(error, OSError)
        if is_impossible or isinstance(error, aiosmtplib.SMTPNotSupported):
            return Refused(f"{self.place} at {stage}: {error}")
        what = "no answer in time" if isinstance(error, TimeoutError) else str(error)
        what = what or type(error).__name__
        return Deferred(f"{self.place} at {stage}: {what}"[:_LONGEST_REASON])

    def _rest(self) -> None:
        """Keep the connection for the next mail, but not for ever."""
        if self._client is not None and self._client.is_connected:
            loop = asyncio.get_running_loop()
            self._idle = loop.call_later(IDLE_SECONDS, self._drop)

    def _drop(self) -> None:
        if self._idle is not None:
            self._idle.cancel()
        if self._client is not None:
            transport = self._client.transport
            if isinstance(transport, asyncio.WriteTransport):
                # A hanging server would hold up a closing one. Python 3.11.2 and before fail
                # to abort a TLS connection that is gone.
                with suppress(AttributeError):
                    transport.abort()
            self._client.close()
        self._client = None


def _written(client: aiosmtplib.SMTP, mail: EmailMessage, to: str) -> tuple[bytes, list[str], str]:
    """The mail's bytes, the options of MAIL and the encoding of addresses, as the server can."""
    options, policy = [], _SEVEN_BIT
    if client.supports_extension("8bitmime"):
        options, policy = ["BODY=8BITMIME"], SMTP
    if to.isascii():
        return mail.as_bytes(policy=policy), options, "ascii"
    if not client.supports_extension("smtputf8"):
        raise aiosmtplib.SMTPNotSupported("the server takes ASCII addresses only (no SMTPUTF8)")
    return mail.as_bytes(policy=policy.clone(utf8=True)), [*options, "SMTPUTF8"], "utf-8"


def _is_no_mailbox(code: int, message: str) -> bool:
    """Whether an answer to RCPT says that there is no such mailbox, and not that mail is unwanted.

    What is unwanted depends on who sends what, which one company must not decide for the others.
    """
    if (enhanced := _ENHANCED.match(message)) is not None:
        return _NO_MAILBOX.fullmatch(enhanced[1]) is not None
    return code in _PLAIN_NO_MAILBOX


def _tls_context(ca_file: str) -> ssl.SSLContext:
    context = ssl.create_default_context()
    if ca_file:
        try:
            context.load_verify_locations(cafile=ca_file)
        except (OSError, ssl.SSLError) as error:
            raise ConfigurationInvalid(
                f"The certificates in {ca_file} can not be read: {error}", where="mail.ca_file"
            ) from error
    return context
