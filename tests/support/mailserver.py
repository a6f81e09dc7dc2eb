"""An SMTP server for mails: a real one (aiosmtpd), which can also be in a bad mood.

`moods` says what happens at a verb instead of its answer: `hang`, `drop`, or a
line such as `451 4.3.0 later`. CONNECT stands for the greeting and END for the
end of a mail. It runs in the loop of the test, or in a thread of its own.
"""

import asyncio
import ipaddress
import ssl
import threading
from collections import deque
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import Future
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from email import message_from_bytes, policy
from email.message import EmailMessage
from pathlib import Path
from typing import Any

import pytest
from aiosmtpd.smtp import SMTP, AuthResult, LoginPassword
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

USER, PASSWORD = "nova", "a mail password"
VERBS = ("CONNECT", "EHLO", "STARTTLS", "AUTH", "MAIL", "RCPT", "DATA", "END")


@dataclass(frozen=True)
class Certificate:
    """Of 127.0.0.1 and localhost, signed by itself: `file` is what a client has to trust."""

    file: Path
    key: Path

    def context(self) -> ssl.SSLContext:
        made = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        made.load_cert_chain(self.file, self.key)
        return made


@dataclass(frozen=True)
class Letter:
    """One mail that the server took."""

    sender: str
    to: tuple[str, ...]
    user: str | None
    is_encrypted: bool
    mail: EmailMessage

    @property
    def text(self) -> str:
        return self._body("plain")

    @property
    def html(self) -> str:
        return self._body("html")

    def _body(self, kind: str) -> str:
        body = self.mail.get_body((kind,))
        assert body is not None, f"it has no {kind}"
        return str(body.get_content()).replace("\r\n", "\n")


@dataclass
class MailServer:
    port: int = 0
    moods: dict[str, str] = field(default_factory=dict)
    # Moods that last for one time each, in their order; they come before the lasting ones.
    once: deque[tuple[str, str]] = field(default_factory=deque)
    letters: list[Letter] = field(default_factory=list)
    connections: int = 0
    verbs: list[str] = field(default_factory=list)
    alive: set["_Session"] = field(default_factory=set)

    def mood(self, verb: str) -> str:
        self.verbs.append(verb)
        if self.once and self.once[0][0] == verb:
            return self.once.popleft()[1]
        return self.moods.get(verb, "")

    def hang_up(self) -> None:
        """Close every connection, as servers do with idle ones."""
        for session in list(self.alive):
            session.abort()

    async def handle_DATA(  # noqa: N802 - aiosmtpd calls it so
        self, server: "_Session", session: Any, envelope: Any
    ) -> str:
        answer = await server.moody("END")
        if answer is not None:
            return answer
        mail = message_from_bytes(envelope.content, policy=policy.default)
        letter = Letter(
            sender=envelope.mail_from,
            to=tuple(envelope.rcpt_tos),
            user=session.auth_data and session.auth_data.login.decode(),
            is_encrypted=server.transport.get_extra_info("ssl_object") is not None,
            mail=mail,
        )
        self.letters.append(letter)
        return "250 2.0.0 taken"


class _Session(SMTP):
    """One connection."""

    def __init__(self, peer: MailServer, **options: Any) -> None:
        self._peer = peer
        super().__init__(peer, hostname="mail.test", loop=asyncio.get_running_loop(), **options)

    def abort(self) -> None:
        for transport in (self.transport, self._original_transport):
            if transport is not None:
                # Python 3.11.2 and before fail to abort a TLS connection that is gone.
                with suppress(AttributeError):
                    transport.abort()

    def connection_made(self, transport: Any) -> None:
        self._peer.alive.add(self)
        super().connection_made(transport)

    def connection_lost(self, error: Exception | None) -> None:
        self._peer.alive.discard(self)
        super().connection_lost(error)

    async def moody(self, verb: str) -> str | None:
        """The mood's line; None for a good mood. Hanging ends with the connection."""
        mood = self._peer.mood(verb)
        if mood == "hang":
            await asyncio.Event().wait()
        if mood == "drop":
            self.abort()
            await asyncio.Event().wait()
        return mood or None

    async def _handle_client(self) -> None:
        if self.session.ssl is None:
            self._peer.connections += 1
            if (answer := await self.moody("CONNECT")) is not None:
                await self.push(answer)
                self.transport.close()
                return
        await super()._handle_client()

    async def _answered(self, verb: str) -> bool:
        answer = await self.moody(verb)
        if answer is not None:
            await self.push(answer)
        return answer is not None


def _moody_verb(verb: str) -> Any:
    usual = getattr(SMTP, f"smtp_{verb}")

    async def answer(self: _Session, arg: str) -> None:
        if not await self._answered(verb):
            await usual(self, arg)

    # aiosmtpd reads the syntax of a verb from attributes of its method.
    answer.__dict__.update(usual.__dict__)
    return answer


for _verb in ("EHLO", "STARTTLS", "AUTH", "MAIL", "RCPT", "DATA", "RSET"):
    setattr(_Session, f"smtp_{_verb}", _moody_verb(_verb))


def _authenticate(server: Any, session: Any, envelope: Any, mechanism: str, data: Any) -> Any:
    expected = LoginPassword(USER.encode(), PASSWORD.encode())
    return AuthResult(success=data == expected, handled=False, auth_data=data)


@asynccontextmanager
async def mail_server(
    certificate: Certificate | None = None,
    *,
    is_tls: bool = False,
    with_auth: bool = True,
    **options: Any,
) -> AsyncIterator[MailServer]:
    """A server on a port of the kernel's choice: with a certificate it offers STARTTLS (or is TLS).

    Mails are only taken after a sign-in, unless there is neither.
    """
    peer = MailServer()
    offered = certificate.context() if certificate else None
    options.setdefault("enable_SMTPUTF8", True)
    if offered is not None and not is_tls:
        options |= {"tls_context": offered, "require_starttls": True}
    if with_auth and certificate is not None:
        # aiosmtpd knows of no TLS that was there before it.
        options |= {"authenticator": _authenticate}
        options |= {"auth_required": not is_tls, "auth_require_tls": not is_tls}
    loop = asyncio.get_running_loop()
    server = await loop.create_server(
        lambda: _Session(peer, **options), "127.0.0.1", 0, ssl=offered if is_tls else None
    )
    peer.port = server.sockets[0].getsockname()[1]
    try:
        yield peer
    finally:
        server.close()
        peer.hang_up()
        for _ in range(50):  # aiosmtpd does not hear of the end of a failed STARTTLS
            if not peer.alive:
                break
            await asyncio.sleep(0.01)


@contextmanager
def mail_server_in_a_thread(certificate: Certificate) -> Iterator[MailServer]:
    """For tests that wait for the program without a loop of their own."""
    started: Future[MailServer] = Future()
    loop, stopping = asyncio.new_event_loop(), asyncio.Event()

    async def serve() -> None:
        async with mail_server(certificate) as server:
            started.set_result(server)
            await stopping.wait()

    thread = threading.Thread(target=loop.run_until_complete, args=(serve(),))
    thread.start()
    try:
        yield started.result(10)
    finally:
        loop.call_soon_threadsafe(stopping.set)
        thread.join(10)
        loop.close()


@pytest.fixture(scope="session")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Certificate:
    directory = tmp_path_factory.mktemp("certificate")
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "mail.test")])
    names = [x509.DNSName("localhost"), x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    file, key_file = directory / "certificate.pem", directory / "key.pem"
    file.write_bytes(made.public_bytes(serialization.Encoding.PEM))
    key_file.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    key_file.chmod(0o600)
    return Certificate(file, key_file)
