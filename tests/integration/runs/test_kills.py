"""Killed at every boundary of every step: the run goes on, and nothing of ours is done twice."""

import asyncio
from typing import Any

import pytest

from novapulse.core import mongo
from novapulse.core.documents import new_object_id
from novapulse.core.jobs import upkeep
from novapulse.runs.store import RunStore
from tests.integration.runs.conftest import Company, hurry, log, worker, working
from tests.support.engine import abandon, until
from tests.support.receiver import WebhookReceiver

MADE = "{{ steps.made.output.id }}"


class Boundary:
    """Holds whoever comes to the `number`th boundary, for ever: there its process dies."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self._number = 0
        self._passed = 0
        self._held = asyncio.Event()
        for owner, name in ((mongo, "_commit"), (RunStore, "change_step")):
            monkeypatch.setattr(owner, name, self._around(getattr(owner, name)))

    def arm(self, number: int) -> None:
        self._number, self._passed = number, 0
        self._held.clear()

    def disarm(self) -> None:
        self._number = 0

    @property
    def is_reached(self) -> bool:
        return self._held.is_set()

    def _around(self, write: Any) -> Any:
        """Before a write and after it."""

        async def guarded(*given: Any, **named: Any) -> Any:
            await self._cross()
            result = await write(*given, **named)
            await self._cross()
            return result

        return guarded

    async def _cross(self) -> None:
        if not self._number:
            return
        self._passed += 1
        if self._passed >= self._number:
            self._held.set()
            await asyncio.Event().wait()


def actions(company: Company, url: str) -> list[dict[str, Any]]:
    group = [
        {"type": "update_task", "input": {"taskId": MADE, "status": "review"}},
        {"type": "send_notification", "input": {"userIds": [company.admin.id], "title": "x"}},
    ]
    return [
        {"type": "create_task", "name": "made", "input": {"title": "{{ run.id }}"}},
        {"type": "parallel", "actions": group},
        {"type": "delay", "input": {"hours": 1}},
        {"type": "call_webhook", "input": {"url": url, "body": "{{ run.id }}"}},
        {"type": "send_email", "input": {"to": "a@example.com", "subject": "s", "text": MADE}},
        log("done"),
    ]


async def kill_at(company: Company, boundary: Boundary, *, number: int) -> bool:
    """Run a worker until it dies at the boundary; False when there is no such boundary."""
    owner = f"tests/{new_object_id()}"
    one = worker(company.api, owner)
    boundary.arm(number)
    running = asyncio.create_task(one.run(drain_seconds=0))

    async def is_far_enough() -> bool:
        await hurry(company.api)
        return boundary.is_reached or await is_through(company)

    try:
        await until(is_far_enough, what=f"boundary {number}")
    finally:
        boundary.disarm()
        await abandon(one, running)
    await upkeep.release_held(company.api.runtime.db, {"$in": [owner]}, reason="killed")
    return boundary.is_reached


async def is_through(company: Company) -> bool:
    runs = await company.rows("workflow_runs")
    return all(row["state"] == "completed" for row in runs)


async def test_a_run_that_is_killed_at_any_boundary_ends_with_every_effect_once(
    company: Company, sink: WebhookReceiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    boundary = Boundary(monkeypatch)
    workflow = await company.workflow(*actions(company, sink.url))
    number, was_reached = 0, True
    while was_reached:
        number += 1
        run_id = await company.run(workflow)
        was_reached = await kill_at(company, boundary, number=number)
        async with working(company.api):
            run = await company.until_over(run_id)
        assert run["state"] == "completed", (number, run)
        assert {step["state"] for step in run["steps"]} == {"completed"}, number
        await check_effects(company, run, sink)
    # Each step has a write before and one commit at its end, with a boundary around each.
    assert number > 4 * 7
    assert len(await company.rows("events", type="workflow.executed")) == number


async def check_effects(company: Company, run: dict[str, Any], sink: WebhookReceiver) -> None:
    (task,) = await company.rows("tasks", title=run["id"])
    assert (task["status"], task["version"]) == ("review", 2)
    keys = {step["action"]: step["id"] for step in run["steps"]}
    calls = [one for one in sink.requests if one.body.decode() == run["id"]]
    assert 1 <= len(calls) <= 2
    assert {one.headers["idempotency-key"] for one in calls} == {keys["call_webhook"]}
    assert len(await company.rows("jobs", kind="mail.send", key=keys["send_email"])) == 1
    notices = await company.rows("jobs", kind="notification.create", key=keys["send_notification"])
    assert len(notices) == 1
