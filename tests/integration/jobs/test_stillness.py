"""The one question that tells whether anything is to be done in the ledger."""

from novapulse.core.jobs import stillness
from novapulse.core.jobs.context import JobContext
from tests.support.engine import Engine, declared


async def test_a_ledger_is_still_when_nothing_waits_or_runs(engine: Engine) -> None:
    async def nothing(ctx: JobContext) -> None: ...

    db = engine.runtime.db
    before = await stillness.look(db)
    assert before.is_still
    with declared(nothing) as kind:
        job = await engine.add_one(kind)
        waiting = await stillness.look(db)
        assert (waiting.is_still, waiting.rows) == (False, before.rows + 1)
        async with engine.working():
            await engine.until_state(job, "completed")
    assert await stillness.look(db) == (True, before.rows + 1)


async def test_a_running_job_is_no_stillness(engine: Engine) -> None:
    looks = []

    async def look(ctx: JobContext) -> None:
        looks.append(await stillness.look(engine.runtime.db))

    with declared(look) as kind:
        job = await engine.add_one(kind)
        async with engine.working():
            await engine.until_state(job, "completed")
    assert [one.is_still for one in looks] == [False]
