"""What actions do, what they give to later steps, and how they fail."""

from typing import Any

import pytest

from novapulse.core.access import Role
from tests.integration.runs.conftest import Company, log, nearly_full_disk, settle, working
from tests.support.engine import until
from tests.support.receiver import WebhookReceiver


def action(kind: str, name: str = "", **given: Any) -> dict[str, Any]:
    named = {"name": name} if name else {}
    return {"type": kind, "input": given, **named}


async def test_tasks_are_made_changed_and_assigned(company: Company) -> None:
    colleague = await company.api.add_member(company.id, Role.USER)
    made = "{{ steps.make.output.id }}"
    run = await company.done(
        action("create_task", "make", title="For {{ input.who }}", labels="{{ input.labels }}"),
        action("update_task", taskId=made, status="review", priority="{{ input.priority }}"),
        action("assign_task", taskId=made, assigneeId="{{ input.colleague }}"),
        input={
            "who": "Ann",
            "labels": ["a", "b"],
            "priority": "high",
            "colleague": colleague.id,
        },
    )
    assert run["state"] == "completed", run
    (task,) = (await company.get("/tasks"))["data"]
    assert (task["title"], task["labels"], task["status"]) == ("For Ann", ["a", "b"], "review")
    assert (task["assigneeId"], task["priority"]) == (colleague.id, "high")
    assert [step["output"]["version"] for step in run["steps"]] == [1, 2, 3]
    assert run["steps"][1]["input"] == {
        "taskId": task["id"],
        "status": "review",
        "priority": "high",
    }


async def test_a_step_tells_its_input_output_and_times(company: Company) -> None:
    run = await company.done(log("hello {{ input.name }}"), input={"name": "Ann"})
    (step,) = run["steps"]
    assert (step["action"], step["state"], step["attempt"]) == ("log", "completed", 1)
    assert step["input"] == step["output"] == {"message": "hello Ann"}
    assert step["startedAt"] <= step["finishedAt"]
    assert step["durationMs"] >= 0
    assert run["durationMs"] >= step["durationMs"]
    assert run["origin"]["type"] == "manual"
    assert run["origin"]["userId"] == company.admin.id


async def test_a_mail_becomes_a_job_of_the_mail_queue(company: Company) -> None:
    run = await company.done(
        action("send_email", to="ann@example.com", subject="{{ workflow.name }}", text="Hi")
    )
    (job,) = await company.mails()
    assert job["payload"]["subject"] == "a workflow"
    assert run["steps"][0]["output"] == {"jobId": job["_id"]}


async def test_a_notification_reaches_its_member(company: Company) -> None:
    spec = action("send_notification", userIds=[company.admin.id], title="Look", body="here")
    await company.run(await company.workflow(spec))
    async with working(company.api):
        await settle(company.api)
        (row,) = await company.rows("notifications", userId=company.admin.id)
    assert (row["title"], row["body"]) == ("Look", "here")


async def test_a_call_carries_its_key_and_its_answer_is_kept(
    company: Company, sink: WebhookReceiver
) -> None:
    before = len(sink.requests)
    run = await company.done(
        action(
            "call_webhook",
            url=sink.url,
            headers={"authorization": "Bearer s3cret", "X-Own": "{{ workflow.name }}"},
            body={"who": "{{ input.who }}"},
        ),
        input={"who": "Ann"},
    )
    (request,) = sink.requests[before:]
    assert request.event == {"who": "Ann"}
    assert request.headers["content-type"] == "application/json"
    assert request.headers["authorization"] == "Bearer s3cret"
    assert request.headers["x-own"] == "a workflow"
    (step,) = run["steps"]
    assert request.headers["idempotency-key"] == step["id"]
    assert step["output"] == {"status": 200, "body": ""}
    assert step["input"]["headers"] == {"authorization": "[hidden]", "X-Own": "[hidden]"}
    assert b"s3cret" not in repr(await company.rows("workflow_runs")).encode()


@pytest.mark.parametrize(
    ("statuses", "state", "attempts"),
    [((500, 503), "completed", 3), ((429,), "completed", 2), ((404,), "failed", 1)],
)
async def test_a_call_is_tried_again_where_that_may_help(
    company: Company,
    sink: WebhookReceiver,
    *,
    statuses: tuple[int, ...],
    state: str,
    attempts: int,
) -> None:
    before = len(sink.requests)
    sink.answer_next(*statuses)
    run = await company.done(action("call_webhook", url=sink.url, body="text"))
    (step,) = run["steps"]
    assert (run["state"], step["attempt"]) == (state, attempts)
    asked = sink.requests[before:]
    assert len(asked) == attempts
    assert len({one.headers["idempotency-key"] for one in asked}) == 1
    assert {one.body for one in asked} == {b"text"}


@pytest.mark.parametrize(("status", "state"), [(200, "completed"), (404, "failed")])
async def test_a_call_on_a_nearly_full_disk_is_made_once(
    company: Company,
    sink: WebhookReceiver,
    *,
    status: int,
    state: str,
) -> None:
    before = len(sink.requests)
    sink.answer_next(status)
    run_id = await company.run(await company.workflow(action("call_webhook", url=sink.url)))
    with nearly_full_disk(company.api):
        async with working(company.api):
            run = await company.until_over(run_id)
    assert (run["state"], len(sink.requests) - before) == (state, 1)


async def test_a_call_to_where_nothing_may_be_called_fails_at_once(company: Company) -> None:
    run = await company.done(action("call_webhook", url="http://10.1.2.3/"))
    assert (run["state"], run["steps"][0]["attempt"]) == ("failed", 1)
    assert "not allowed" in run["error"]


async def test_all_attempts_that_fail_fail_the_run(company: Company, sink: WebhookReceiver) -> None:
    sink.answer_next(500, 500, 500)
    run = await company.done(action("call_webhook", url=sink.url), log("never"))
    assert run["state"] == "failed"
    assert run["error"] == "step 0.0 (call_webhook): answered 500"
    assert [step["state"] for step in run["steps"]] == ["failed", "pending"]
    (job,) = await company.rows("jobs", kind="workflow.step")
    assert (job["state"], job["attempt"]) == ("dead", 3)


@pytest.mark.parametrize(
    ("spec", "reason"),
    [
        (action("create_task", title="{{ input.nothing }}"), "title"),
        (action("update_task", taskId="{{ input.id }}", title="x"), "no such task"),
        (action("assign_task", taskId="{{ input.id }}", assigneeId=None), "no such task"),
        (action("send_email", to="{{ input.to }}", subject="s", text="t"), "to"),
        (action("send_notification", userIds=["{{ input.to }}"], title="x"), "userIds"),
        (action("run_workflow", workflowId="{{ input.id }}"), "no such workflow"),
        (action("log", message="{{ input.long }}{{ input.long }}"), "65536"),
        (action("delay", days="{{ input.days }}"), "30 days"),
    ],
)
async def test_an_input_that_does_not_fit_fails_without_another_try(
    company: Company, spec: dict[str, Any], reason: str
) -> None:
    given = {"id": "0" * 24, "to": "two words@x\n", "long": "x" * 40_000, "days": 31}
    run = await company.done(spec, input=given)
    assert run["state"] == "failed"
    assert reason in run["error"]
    (job,) = await company.rows("jobs", kind="workflow.step")
    assert (job["state"], job["attempt"]) == ("dead", 1)


async def test_a_group_is_done_in_parallel_and_waited_for(company: Company) -> None:
    group = [action("create_task", f"t{number}", title=f"t{number}") for number in range(5)]
    run = await company.done(
        {"type": "parallel", "actions": group},
        log("{{ steps.t0.output.title }} {{ steps.t4.output.title }}"),
    )
    assert run["state"] == "completed"
    assert [(step["stage"], step["branch"]) for step in run["steps"]] == [
        *((0, number) for number in range(5)),
        (1, 0),
    ]
    assert run["steps"][5]["output"] == {"message": "t0 t4"}
    assert len((await company.get("/tasks"))["data"]) == 5


async def test_what_fails_in_a_group_waits_for_the_others(company: Company) -> None:
    group = [
        action("update_task", taskId="0" * 24, title="x"),
        action("create_task", title="done all the same"),
    ]
    run = await company.done({"type": "parallel", "actions": group}, log("never"))
    assert run["state"] == "failed"
    assert [step["state"] for step in run["steps"]] == ["failed", "completed", "pending"]
    assert "update_task" in run["error"]


async def test_a_delay_is_a_scheduled_job(company: Company) -> None:
    run_id = await company.run(await company.workflow(action("delay", hours=2), log("after")))
    async with working(company.api):
        await _until_waiting(company, run_id)
        (job,) = await company.rows("jobs", kind="workflow.step", state="scheduled")
        run = await company.get(f"/workflow-runs/{run_id}")
        assert (run["state"], run["steps"][0]["state"]) == ("running", "waiting")
        assert 7_190 < (job["dueAt"] - job["createdAt"]).total_seconds() < 7_210
        assert (await company.until_over(run_id))["state"] == "completed"


async def _until_waiting(company: Company, run_id: str) -> None:
    async def is_waiting() -> bool:
        run = await company.get(f"/workflow-runs/{run_id}")
        return any(step["state"] == "waiting" for step in run["steps"])

    await until(is_waiting, what="the delay")


async def test_another_workflow_is_started_with_its_input(company: Company) -> None:
    other = await company.workflow(log("got {{ input.x }}"))
    run_id = await company.run(
        await company.workflow(
            action("run_workflow", workflowId=other["id"], input={"x": "{{ input.y }}"})
        ),
        input={"y": 5},
    )
    async with working(company.api):
        run = await company.until_over(run_id)
        child = await company.until_over(run["steps"][0]["output"]["runId"])
    assert child["steps"][0]["output"] == {"message": "got 5"}
    assert child["depth"] == 2
    assert child["origin"] == {
        "type": "workflow",
        "runId": run_id,
        **dict.fromkeys(("eventId", "eventType", "scheduledAt", "userId")),
    }


async def test_an_inactive_workflow_is_not_started_by_another(company: Company) -> None:
    other = await company.workflow(log("x"), isActive=False)
    run = await company.done(action("run_workflow", workflowId=other["id"]))
    assert run["state"] == "failed"
    assert "not active" in run["error"]


async def test_events_and_jobs_of_a_run_carry_it_as_their_cause(company: Company) -> None:
    run = await company.done(
        action("create_task", title="x"),
        action("send_email", to="a@example.com", subject="s", text="t"),
    )
    cause = {"runId": run["id"], "depth": 1}
    (created,) = await company.rows("events", type="task.created")
    assert created["cause"] == cause
    assert created["actor"]["via"] == "workflow"
    (mail,) = await company.mails()
    assert mail["cause"] == cause
    (executed,) = await company.rows("events", type="workflow.executed")
    assert executed["cause"] == cause
    assert executed["data"]["run"]["id"] == run["id"]
