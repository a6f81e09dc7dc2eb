"""The way to an SMTP server: what is said there, and what each of its answers means."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from novapulse.core.errors import ConfigurationInvalid
from novapulse.core.ids import new_id
from novapulse.core.settings.mail import Mail
from novapulse.mail.compose import Sender, compose, recipient
from novapulse.mail.model import Message
from novapulse.mail.refusals import Deferred, Refused, Waited
from novapulse.mail.smtp import SmtpServer
from tests.support.mailserver import PASSWORD, USER, VERBS, Certificate, MailServer, mail_server

FROM = "NovaPulse <nova@example.com>"
SENDER = Sender.parse(FROM)
TRANSFER = ("MAIL", "RCPT", "DATA", "END")


def settings(server: MailServer, certificate: Certificate | None = None, **fields: Any) -> Mail:
    values: dict[str, Any] = {
        "host": "127.0.0.1",
        "port": server.port,
        "security": "starttls" if certificate else "none",
        "ca_file": str(certificate.file) if certificate else "",
        "user": USER if certificate else "",
        "sender": FROM,
        "connect_timeout_seconds": 5.0,
        "timeout_seconds": 5.0,
    }
    return Mail(**{**values, **fields})


def message(**fields: Any) -> Message:
    plain = {"to": "ada@example.com", "subject": "Hello", "text": "you\n"}
    return Message(id=new_id("job"), created_at=datetime.now(UTC), **{**plain, **fields})


async def send(client: SmtpServer, one: Message | None = None, company: str = "Acme") -> str:
    one = one or message()
    return await client.send(compose(one, SENDER, company), recipient(one.to).addr_spec)


@asynccontextmanager
async def speaking(
    server: MailServer, certificate: Certificate | None = None, **fields: Any
) -> AsyncIterator[SmtpServer]:
    client = SmtpServer(settings(server, certificate, **fields), password=PASSWORD)
    try:
        yield client
    finally:
        await client.aclose()


async def test_a_mail_goes_through_starttls_and_a_sign_in(certificate: Certificate) -> None:
    one = message(subject="Grüße", html="<p>you</p>")
    async with mail_server(certificate) as server, speaking(server, certificate) as client:
        assert await send(client, one, "Äcme, Inc.") == "250 2.0.0 taken"
    (letter,) = server.letters
    assert (letter.is_encrypted, letter.user) == (True, USER)
    assert (letter.sender, letter.to) == ("nova@example.com", ("ada@example.com",))
    assert letter.mail["Subject"] == "Grüße"
    assert letter.mail["From"].addresses[0].display_name == "Äcme, Inc."
    assert letter.mail["Message-ID"] == f"<{one.id}@example.com>"
    assert (letter.text, letter.html) == ("you\n", "<p>you</p>\n")


async def test_a_mail_goes_through_tls_from_the_start(certificate: Certificate) -> None:
    async with (
        mail_server(certificate, is_tls=True) as server,
        speaking(server, certificate, security="tls") as client,
    ):
        await send(client)
    assert server.letters[0].is_encrypted


async def test_mails_share_one_connection(certificate: Certificate) -> None:
    async with mail_server(certificate) as server, speaking(server, certificate) as client:
        await asyncio.gather(*(send(client) for _ in range(5)))
        assert server.connections == 1
        assert len({letter.mail["Message-ID"] for letter in server.letters}) == 5


async def test_a_connection_that_the_server_closed_meanwhile_is_made_anew_unnoticed() -> None:
    async with mail_server() as server, speaking(server) as client:
        await send(client)
        server.hang_up()
        await send(client)
        server.once.append(("RSET", "421 4.4.2 idle for too long"))
        await send(client)
    assert (server.connections, len(server.letters)) == (3, 3)


async def test_a_wrong_password_is_refused_and_no_fault_of_the_recipient(
    certificate: Certificate,
) -> None:
    async with mail_server(certificate) as server:
        client = SmtpServer(settings(server, certificate), password="another one")
        with pytest.raises(Refused, match="at AUTH: 535") as refused:
            await send(client)
        await client.aclose()
    assert not refused.value.is_about_recipient


async def test_nothing_is_sent_to_who_can_not_prove_its_name(certificate: Certificate) -> None:
    async with (
        mail_server(certificate) as server,
        speaking(server, certificate, ca_file="") as client,
    ):
        with pytest.raises(Deferred, match="certificate verify failed"):
            await send(client)
    assert "AUTH" not in server.verbs


async def test_nothing_is_sent_in_plain_text_where_encryption_was_asked_for(
    certificate: Certificate,
) -> None:
    async with mail_server() as server, speaking(server, certificate) as client:
        with pytest.raises(Deferred, match="STARTTLS extension not supported"):
            await send(client)
    assert not {"AUTH", "MAIL"} & set(server.verbs)


async def test_a_server_that_is_not_there_may_be_there_later() -> None:
    async with mail_server() as server:
        pass
    async with speaking(server) as client:
        with pytest.raises(Deferred, match="at connecting: Error connecting"):
            await send(client)


@pytest.mark.parametrize("verb", VERBS)
async def test_a_server_that_hangs_is_left_in_time(certificate: Certificate, verb: str) -> None:
    short = {"connect_timeout_seconds": 0.4, "timeout_seconds": 0.4}
    async with mail_server(certificate) as server:
        server.once.append((verb, "hang"))
        async with speaking(server, certificate, **short) as client, asyncio.timeout(10):
            with pytest.raises(Deferred, match="no answer in time"):
                await send(client)
            assert server.letters == []
    assert verb in server.verbs


@pytest.mark.parametrize("verb", VERBS)
async def test_a_server_that_drops_the_connection_is_called_again(
    certificate: Certificate, verb: str
) -> None:
    async with mail_server(certificate) as server, speaking(server, certificate) as client:
        server.once.append((verb, "drop"))
        with pytest.raises(Deferred):
            await send(client)
        await send(client)
    assert (len(server.letters), server.connections) == (1, 2)


@pytest.mark.parametrize("verb", VERBS)
async def test_a_4xx_is_for_another_attempt(certificate: Certificate, verb: str) -> None:
    async with mail_server(certificate) as server, speaking(server, certificate) as client:
        server.moods[verb] = "451 4.3.0 come back later"
        with pytest.raises(Deferred, match=r"451 4\.3\.0 come back later"):
            await send(client)
        server.moods.clear()
        await send(client)
    # An answer is no reason to give the connection up.
    assert server.connections == (1 if verb in TRANSFER else 2)


@pytest.mark.parametrize("verb", VERBS)
async def test_a_5xx_is_the_last_word_on_the_recipient_or_on_us(
    certificate: Certificate, verb: str
) -> None:
    async with mail_server(certificate) as server, speaking(server, certificate) as client:
        server.moods[verb] = "550 5.1.1 nobody here"
        with pytest.raises(Refused, match=r"550 5\.1\.1 nobody here") as refused:
            await send(client)
    assert refused.value.is_about_recipient is (verb == "RCPT")


@pytest.mark.parametrize(
    ("answer", "is_no_mailbox"),
    [
        ("550 5.1.1 nobody here", True),
        ("550 #5.1.10 nobody here", True),
        ("550 5.2.1 disabled", True),
        ("550 No such user", True),
        ("551 not local", True),
        ("553 no such name", True),
        ("550 5.1.0 an address", False),
        ("550 5.1.8 the sender's domain is not found", False),
        ("552 5.2.2 mailbox full", False),
        ("550 5.2.10 something else", False),
        ("550 5.7.1 unwanted", False),
        ("554 5.7.1 relay access denied", False),
        ("554 no transaction", False),
        ("552 too much", False),
    ],
)
async def test_a_recipient_is_refused_for_its_mailbox_or_by_a_rule(
    answer: str, is_no_mailbox: bool
) -> None:
    async with mail_server() as server, speaking(server) as client:
        server.moods["RCPT"] = answer
        with pytest.raises(Refused) as refused:
            await send(client)
    assert refused.value.is_about_recipient is is_no_mailbox


async def test_who_waits_behind_a_broken_connection_has_not_tried() -> None:
    async with mail_server() as server, speaking(server, timeout_seconds=0.4) as client:
        server.moods["MAIL"] = "hang"
        ended = await asyncio.gather(*(send(client) for _ in range(4)), return_exceptions=True)
    assert [type(one) for one in ended] == [Deferred, Waited, Waited, Waited]
    assert server.connections == 1


async def test_who_waits_behind_a_refused_mail_is_sent() -> None:
    async with mail_server() as server, speaking(server) as client:
        server.once.append(("RCPT", "550 no"))
        ended = await asyncio.gather(*(send(client) for _ in range(3)), return_exceptions=True)
    assert [type(one) for one in ended] == [Refused, str, str]
    assert server.connections == 1


async def test_a_mail_that_is_cut_off_leaves_nothing_behind_for_the_next() -> None:
    async with mail_server() as server, speaking(server) as client:
        server.once.append(("DATA", "hang"))
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.3):
                await send(client)
        await send(client, message(subject="The next"))
    assert [letter.mail["Subject"] for letter in server.letters] == ["The next"]


async def test_odd_addresses_reach_the_server_as_one_recipient() -> None:
    async with mail_server() as server, speaking(server) as client:
        for to in ("a,b@example.com", "a(b)c@example.com", "ünï@exämple.com"):
            await send(client, message(to=to))
    assert [letter.to for letter in server.letters] == [
        ('"a,b"@example.com',),
        ('"a(b)c"@example.com',),
        ("ünï@xn--exmple-cua.com",),
    ]


async def test_an_address_that_the_server_can_not_take_is_refused() -> None:
    async with mail_server(enable_SMTPUTF8=False) as server, speaking(server) as client:
        with pytest.raises(Refused, match="SMTPUTF8") as refused:
            await send(client, message(to="ünï@example.com"))
        assert not refused.value.is_about_recipient
        await send(client)


async def test_the_connection_is_checked_without_sending(certificate: Certificate) -> None:
    async with mail_server(certificate) as server, speaking(server, certificate) as client:
        said = await client.check()
    assert said == f"127.0.0.1:{server.port} answers, TLSv1.3, signed in as nova"
    assert not set(TRANSFER) & set(server.verbs)


def test_certificates_that_can_not_be_read_are_a_matter_of_the_configuration(
    tmp_path: Path,
) -> None:
    with pytest.raises(ConfigurationInvalid, match="can not be read"):
        SmtpServer(Mail(host="mail.test", sender=FROM, ca_file=str(tmp_path / "none.pem")))
