"""Failed runs: once more from the failed steps, and those whose job ended without a word."""

from typing import Any

from novapulse.core.jobs.rows import JOBS
from novapulse.runs.store import RUNS, STEPS
from novapulse.runs.upkeep import fail_orphans
from tests.integration.runs.conftest import Company, log, nearly_full_disk, pump, working
from tests.support.api import Api
from tests.support.engine import until
from tests.support.receiver import WebhookReceiver


def call(url: str) -> dict[str, Any]:
    return {"type": "call_webhook", "input": {"url": url}}


async def test_a_retry_goes_on_from_the_step_that_failed(
    company: Company, sink: WebhookReceiver
) -> None:
    sink.answer_next(404)
    make = {"type": "create_task", "input": {"title": "once"}}
    run = await company.done(make, call(sink.url), log("after"))
    assert run["state"] == "failed"
    answer = await company.admin.post(f"/workflow-runs/{run['id']}/retry")
    assert (answer.status, answer.json()["state"]) == (202, "running")
    async with working(company.api):
        again = await company.until_over(run["id"])
    assert (again["state"], again["retries"], again["error"]) == ("completed", 1, None)
    assert len(await company.rows("tasks", title="once")) == 1
    types = [row["type"] for row in await company.rows("events") if "workflow." in row["type"]]
    assert types == ["workflow.created", "workflow.failed", "workflow.executed"]
    rows = [*await company.rows(RUNS), *await company.rows(STEPS)]
    assert all("expiresAt" in row for row in rows)


async def test_only_the_failed_steps_of_a_group_are_done_again(
    company: Company, sink: WebhookReceiver
) -> None:
    sink.answer_next(404)
    make = {"type": "create_task", "input": {"title": "once"}}
    run = await company.done({"type": "parallel", "actions": [make, call(sink.url)]}, log("after"))
    assert run["state"] == "failed"
    await company.admin.post(f"/workflow-runs/{run['id']}/retry")
    async with working(company.api):
        assert (await company.until_over(run["id"]))["state"] == "completed"
    assert len(await company.rows("tasks")) == 1


async def test_only_a_failed_run_can_be_retried(company: Company) -> None:
    run = await company.done(log("x"))
    answer = await company.admin.post(f"/workflow-runs/{run['id']}/retry")
    assert (answer.status, answer.code) == (409, "run_not_failed")


async def test_a_run_of_a_deleted_workflow_stops_at_its_next_step(company: Company) -> None:
    workflow = await company.workflow({"type": "delay", "input": {"hours": 1}}, log("never"))
    run_id = await company.run(workflow)
    async with working(company.api):

        async def is_waiting() -> bool:
            return any(row["state"] == "waiting" for row in await company.rows(STEPS))

        await until(is_waiting, what="the delay")
        assert (await company.admin.delete(f"/workflows/{workflow['id']}")).status == 204
        run = await company.until_over(run_id)
    assert run["state"] == "failed"
    assert "deleted" in run["error"]


async def overdue(api: Api) -> int:
    """What the leader finds when it looks after everything that is open."""
    for collection in (RUNS, STEPS):
        rows = api.runtime.db.platform(collection)
        await rows.update_many(
            {"checkAt": {"$exists": True}}, {"$set": {"checkAt": api.runtime.clock()}}
        )
    return await fail_orphans(api.runtime, now=api.runtime.clock())


async def test_what_a_job_will_bring_on_is_left_alone(api: Api, company: Company) -> None:
    run_id = await company.run(await company.workflow())
    assert await overdue(api) == 0
    assert await fail_orphans(api.runtime, now=api.runtime.clock()) == 0
    async with working(api):
        assert (await company.until_over(run_id))["state"] == "completed"
    assert await overdue(api) == 0


async def test_a_run_whose_job_was_cancelled_has_failed_and_can_be_retried(
    api: Api, company: Company
) -> None:
    run_id = await company.run(await company.workflow())
    await end_jobs(api, company, state="cancelled")
    assert await overdue(api) == 1
    run = await company.get(f"/workflow-runs/{run_id}")
    assert (run["state"], run["error"]) == ("failed", "its job was cancelled")
    assert await pump(api)
    await company.admin.post(f"/workflow-runs/{run_id}/retry")
    async with working(api):
        assert (await company.until_over(run_id))["state"] == "completed"


async def test_a_run_without_a_job_has_failed_on_a_nearly_full_disk_too(
    api: Api, company: Company
) -> None:
    run_id = await company.run(await company.workflow())
    await end_jobs(api, company, state="cancelled")
    with nearly_full_disk(api):
        assert await overdue(api) == 1
    assert (await company.get(f"/workflow-runs/{run_id}"))["state"] == "failed"


async def test_a_step_whose_job_killed_its_consumers_has_failed(api: Api, company: Company) -> None:
    workflow = await company.workflow({"type": "delay", "input": {"hours": 1}})
    run_id = await company.run(workflow)
    async with working(api):

        async def is_waiting() -> bool:
            return any(row["state"] == "waiting" for row in await company.rows(STEPS))

        await until(is_waiting, what="the delay")
    await end_jobs(api, company, state="dead", errors=[{"message": "three consumers died"}])
    assert await overdue(api) == 1
    run = await company.get(f"/workflow-runs/{run_id}")
    assert run["state"] == "failed"
    assert "three consumers died" in run["error"]


async def end_jobs(api: Api, company: Company, *, state: str, **fields: Any) -> None:
    where = {"companyId": company.id, "queue": "workflow", "dueAt": {"$exists": True}}
    change = {"$set": {"state": state, **fields}, "$unset": {"dueAt": ""}}
    assert await api.runtime.db.platform(JOBS).update_many(where, change) == 1
