"""`mail.send` from its cause to the spool: once, with its secrets sealed on the way."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from novapulse.core.errors import Invalid
from novapulse.mail.spool import Spool
from novapulse.processes import features
from tests.support.engine import Engine, open_engine
from tests.support.stores import RunningStores

assert features.JOB_MODULES  # declares the kind
INVITE = {
    "to": "ada@example.com",
    "template": "invite",
    "data": {"link": "https://example.com/i/s3cret"},
}


@pytest.fixture
async def engine(stores: RunningStores, tmp_path: Path) -> AsyncIterator[Engine]:
    async with open_engine(stores) as opened:
        opened.runtime.add(Spool(tmp_path / "mail"))
        yield opened


async def test_a_mail_is_spooled_under_its_jobs_id(engine: Engine) -> None:
    async with engine.working():
        async with engine.transaction() as tx:
            job_id = await tx.enqueue("mail.send", INVITE)
        row = await engine.until_state(job_id, "completed")
    (found,) = engine.runtime.feature(Spool).list()
    assert (found.id, found.to) == (job_id, "ada@example.com")
    assert "s3cret" in engine.runtime.feature(Spool).read(job_id)
    assert "s3cret" not in str(row)


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
    assert len(engine.runtime.feature(Spool).list()) == 1


async def test_an_unknown_template_fails_with_its_cause_and_not_later(engine: Engine) -> None:
    async def cause() -> None:
        async with engine.transaction() as tx:
            await tx.enqueue("mail.send", {**INVITE, "template": "nothing"})

    with pytest.raises(Invalid, match="nothing"):
        await cause()
    assert await engine.rows() == []


async def test_a_row_that_was_stored_before_the_check_is_dead_at_once(engine: Engine) -> None:
    job_id = await engine.add_one("mail.send", {"to": "a@example.com", "template": "welcome"})
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
