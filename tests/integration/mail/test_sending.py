"""`mail.send` from its cause to the spool or the server: once, its secrets sealed on the way."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from novapulse.core.access import SYSTEM
from novapulse.core.context import Context
from novapulse.core.errors import Invalid, NotFound
from novapulse.core.settings import sections
from novapulse.core.settings.mail import Mail
from novapulse.core.settings.queues import Queue as QueueSettings
from novapulse.core.settings.queues import Queues
from novapulse.core.telemetry import metrics
from novapulse.mail import service
from novapulse.mail.compose import Sender
from novapulse.mail.mailer import Mailer
from novapulse.mail.model import SuppressionQuery
from novapulse.mail.smtp import SmtpServer
from novapulse.mail.spool import Spool
from novapulse.processes import features
from tests.support.engine import COMPANY, Engine, open_engine
from tests.support.mailserver import MailServer, mail_server
from tests.support.stores import RunningStores

assert features.JOB_MODULES  # declares the kind
FROM = "NovaPulse <nova@example.com>"
INVITE = {
    "to": "ada@example.com",
    "template": "invite",
    "data": {
        "link": "https://example.com/i/s3cret",
        "companyName": "Acme",
        "inviterName": "Bob",
        "role": "user",
        "expiresAt": "2026-11-30T15:18:00.000Z",
    },
}
HELLO = {"to": "ada@example.com", "subject": "Hello", "text": "you\n"}
SOON = Queues(email=QueueSettings(attempts=3, backoff_seconds=0.1, timeout_seconds=10.0))


@pytest.fixture
async def engine(stores: RunningStores, tmp_path: Path) -> AsyncIterator[Engine]:
    async with open_engine(stores) as opened:
        opened.runtime.add(Mailer(Spool(tmp_path / "mail")))
        yield opened


@asynccontextmanager
async def sending(stores: RunningStores, server: MailServer, spool: Path) -> AsyncIterator[Engine]:
    """An engine whose mails go to the server, with quick retries."""
    settings = Mail(
        host="127.0.0.1", port=server.port, security="none", sender=FROM, timeout_seconds=0.5
    )
    mailer = Mailer(Spool(spool), SmtpServer(settings), Sender.parse(FROM))
    async with open_engine(stores, mail=settings, queues=SOON) as opened:
        opened.runtime.add(mailer)
        try:
            yield opened
        finally:
            await mailer.aclose()


def spool(engine: Engine) -> Spool:
    return engine.runtime.feature(Mailer).spool


def counted(outcome: str) -> float:
    return float(metrics.mails_total.labels(outcome)._value.get())


async def test_a_mail_is_spooled_under_its_jobs_id(engine: Engine) -> None:
    async with engine.working():
        async with engine.transaction() as tx:
            job_id = await tx.enqueue("mail.send", INVITE)
        row = await engine.until_state(job_id, "completed")
    (found,) = spool(engine).list()
    assert (found.id, found.to) == (job_id, "ada@example.com")
    assert "s3cret" in spool(engine).read(job_id)
    assert "s3cret" not in str(row)


async def test_without_a_server_the_log_says_where_a_mail_went(
    engine: Engine, capsys: pytest.CaptureFixture[str]
) -> None:
    before = counted("spooled")
    async with engine.working():
        await engine.until_state(await engine.add_one("mail.send", HELLO), "completed")
    assert counted("spooled") == before + 1
    said = capsys.readouterr()
    assert "no mail server is set" in said.out + said.err


async def test_a_mail_that_is_sent_again_is_one_message(engine: Engine) -> None:
    async with engine.working():
        job_id = await engine.add_one("mail.send", INVITE)
        await engine.until_state(job_id, "completed")
        await engine.db.raw["jobs"].update_one(
            {"_id": job_id},
            [{"$set": {"state": "available", "dueAt": "$$NOW"}}, {"$unset": "finishedAt"}],
        )
        engine.runtime.bell.ring("email")
        await engine.until_state(job_id, "completed")
    assert (await engine.row(job_id))["attempt"] == 2
    assert len(spool(engine).list()) == 1


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"template": "nothing"}, "there is no mail template 'nothing'"),
        ({"data": {"link": "x", "role": "user"}}, "companyName, expiresAt, inviterName"),
        ({"to": "a@example.com, b@example.com"}, "must be one e-mail address"),
        ({"to": "a@example.com\r\nBcc: eve@example.com"}, "must be one line"),
    ],
)
async def test_what_could_not_be_sent_fails_with_its_cause_and_not_later(
    engine: Engine, change: dict[str, Any], says: str
) -> None:
    async def cause() -> None:
        async with engine.transaction() as tx:
            await tx.enqueue("mail.send", {**INVITE, **change})

    with pytest.raises(Invalid, match=says):
        await cause()
    assert await engine.rows() == []


async def test_a_row_that_was_stored_before_the_check_is_dead_at_once(engine: Engine) -> None:
    job_id = await engine.add_one("mail.send", INVITE)
    await engine.db.raw["jobs"].update_one(
        {"_id": job_id}, {"$set": {"payload.template": "nothing"}}
    )
    async with engine.working():
        row = await engine.until_state(job_id, "dead")
    assert row["attempt"] == 1
    assert "there is no mail template 'nothing'" in row["errors"][-1]["message"]


async def test_a_spool_that_can_not_be_written_is_tried_again(
    engine: Engine, tmp_path: Path
) -> None:
    (tmp_path / "mail").write_text("a file where the directory should be")
    async with engine.working():
        row = await engine.until_state(await engine.add_one("mail.send", INVITE), "retryable")
        assert "FileExistsError" in row["errors"][-1]["message"]


async def test_a_mail_comes_from_its_company(stores: RunningStores, tmp_path: Path) -> None:
    async with mail_server() as server, sending(stores, server, tmp_path) as engine:
        company = {"_id": COMPANY, "companyId": COMPANY, "name": "Acme\u2028Bcc: eve@example.com"}
        now = engine.runtime.clock()
        await engine.db.platform("companies").insert(
            {**company, "createdAt": now, "updatedAt": now}
        )
        async with engine.working():
            job_id = await engine.add_one("mail.send", INVITE)
            await engine.until_state(job_id, "completed")
    (letter,) = server.letters
    (sender,) = letter.mail["From"].addresses
    assert (sender.display_name, sender.addr_spec) == (
        "Acme Bcc: eve@example.com",
        "nova@example.com",
    )
    assert letter.mail["Message-ID"] == f"<{job_id}@example.com>"
    assert letter.mail["Bcc"] is None
    assert "https://example.com/i/s3cret" in letter.text
    assert 'href="https://example.com/i/s3cret"' in letter.html
    assert Spool(tmp_path).list() == []


async def test_a_4xx_is_tried_again_under_the_same_message_id(
    stores: RunningStores, tmp_path: Path
) -> None:
    async with mail_server() as server, sending(stores, server, tmp_path) as engine:
        server.once.append(("END", "451 4.3.0 later"))
        async with engine.working():
            job_id = await engine.add_one("mail.send", HELLO)
            row = await engine.until_state(job_id, "completed")
    assert row["attempt"] == 2
    assert "451 4.3.0 later" in row["errors"][0]["message"]
    assert [one.mail["Message-ID"] for one in server.letters] == [f"<{job_id}@example.com>"]


@pytest.mark.parametrize("mood", ["451 4.3.0 later", "drop", "hang"])
async def test_what_does_not_get_better_is_buried_after_its_attempts(
    stores: RunningStores, tmp_path: Path, mood: str
) -> None:
    async with mail_server() as server, sending(stores, server, tmp_path) as engine:
        server.moods["RCPT"] = mood
        before = counted("deferred")
        async with engine.working():
            row = await engine.until_state(await engine.add_one("mail.send", HELLO), "dead")
        assert (row["attempt"], counted("deferred")) == (3, before + 3)
        assert await engine.db.platform("mail_suppressions").find({}, limit=9) == []


async def test_an_address_that_was_refused_is_not_tried_again_until_it_is_let(
    stores: RunningStores, tmp_path: Path
) -> None:
    async with mail_server() as server, sending(stores, server, tmp_path) as engine:
        server.moods["RCPT"] = "550 5.1.1 nobody here"
        ctx = Context(engine.runtime, SYSTEM, request_id="test", via="cli")
        async with engine.working():
            first = await engine.until_state(await engine.add_one("mail.send", HELLO), "dead")
            assert first["attempt"] == 1
            (entry,) = (await service.list_suppressions(ctx, SuppressionQuery())).data
            assert (entry.address, entry.job_id) == ("ada@example.com", first["_id"])
            assert "550 5.1.1 nobody here" in entry.reason

            server.moods.clear()
            server.verbs.clear()
            other_case = {**HELLO, "to": "Ada@Example.com"}
            second = await engine.until_state(await engine.add_one("mail.send", other_case), "dead")
            said = second["errors"][-1]["message"]
            assert "ada@example.com is suppressed since" in said
            assert "550 5.1.1 nobody here" in said
            assert "novapulse mail suppressions remove" in said
            assert server.verbs == []

            await service.remove_suppression(ctx, "ADA@example.com")
            await engine.until_state(await engine.add_one("mail.send", HELLO), "completed")
        assert len(server.letters) == 1
        with pytest.raises(NotFound):
            await service.remove_suppression(ctx, "ada@example.com")
        (event,) = await engine.db.platform("events").find({"type": "suppression.removed"}, limit=9)
        assert event["data"]["suppression"]["address"] == "ada@example.com"


@pytest.mark.parametrize(
    ("verb", "answer"),
    [
        ("MAIL", "550 5.7.1 you may not send from there"),
        ("RCPT", "554 5.7.1 not from you"),
        ("DATA", "554 no valid recipients"),
        ("END", "554 5.7.1 this looks like spam"),
    ],
)
async def test_a_no_to_sender_or_message_kills_one_mail_and_silences_nobody(
    stores: RunningStores, tmp_path: Path, *, verb: str, answer: str
) -> None:
    async with mail_server() as server, sending(stores, server, tmp_path) as engine:
        server.moods[verb] = answer
        async with engine.working():
            row = await engine.until_state(await engine.add_one("mail.send", HELLO), "dead")
            assert row["attempt"] == 1
            assert answer in row["errors"][-1]["message"]
            server.moods.clear()
            others = {**HELLO, "subject": "A message of somebody else"}
            await engine.until_state(await engine.add_one("mail.send", others), "completed")
        assert await engine.db.platform("mail_suppressions").find({}, limit=9) == []


async def test_mails_behind_a_hanging_server_spend_no_attempts(
    stores: RunningStores, tmp_path: Path
) -> None:
    async with mail_server() as server, sending(stores, server, tmp_path) as engine:
        server.once.append(("MAIL", "hang"))
        async with engine.working(concurrency=3):
            ids = await engine.add("mail.send", HELLO, number=3)
            await engine.until_all("completed", 3)
        attempts = sorted([(await engine.row(job_id))["attempt"] for job_id in ids])
    assert attempts == [1, 1, 2]
    assert len(server.letters) == 3


def test_the_settings_have_timeouts_of_ten_and_thirty_seconds() -> None:
    mail = sections.Settings().mail
    assert (mail.connect_timeout_seconds, mail.timeout_seconds) == (10.0, 30.0)
