"""A company with its workflows, the pump and a worker that runs them, over real stores."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from typing import Any

import pytest

from novapulse.core.documents import new_object_id
from novapulse.core.jobs.kinds import Queue
from novapulse.core.jobs.rows import JOBS
from novapulse.core.jobs.worker import Worker
from novapulse.core.pump import Pump
from novapulse.core.room import Room
from novapulse.core.settings import sections as keys
from novapulse.core.settings.queues import Queue as QueueSettings
from novapulse.core.settings.queues import Queues
from novapulse.processes.features import PLANNERS
from tests.support import loops
from tests.support.api import Api, Person, open_api
from tests.support.engine import until
from tests.support.receiver import WebhookReceiver, webhook_receiver
from tests.support.stores import RunningStores

OVER = ("completed", "failed", "skipped")


@dataclass(frozen=True)
class Company:
    """A company's administrator, with what its workflows need to move."""

    api: Api
    admin: Person

    @property
    def id(self) -> str:
        return str(self.admin.company_id)

    async def workflow(self, *actions: Any, **fields: Any) -> dict[str, Any]:
        """A new one; started by hand unless it has a trigger."""
        command = {
            "name": "a workflow",
            "trigger": {"type": "manual"},
            "actions": list(actions) or [log("hello")],
            **fields,
        }
        answer = await self.admin.post("/workflows", command)
        assert answer.status == 201, answer.body
        made: dict[str, Any] = answer.json()
        return made

    async def run(self, workflow: dict[str, Any], **command: Any) -> str:
        answer = await self.admin.post(f"/workflows/{workflow['id']}/run", command)
        assert answer.status == 202, answer.body
        return str(answer.json()["id"])

    async def get(self, path: str) -> Any:
        answer = await self.admin.get(path)
        assert answer.status == 200, answer.body
        return answer.json()

    async def runs(self, workflow: dict[str, Any]) -> list[dict[str, Any]]:
        """Newest first, without their steps."""
        found: list[dict[str, Any]] = (await self.get(f"/workflows/{workflow['id']}/runs"))["data"]
        return found

    async def until_over(self, run_id: str) -> dict[str, Any]:
        """The run at its end; delays are cut short."""

        async def is_over() -> bool:
            await hurry(self.api)
            return (await self.get(f"/workflow-runs/{run_id}"))["state"] in OVER

        await until(is_over, what=f"{run_id} to end")
        run: dict[str, Any] = await self.get(f"/workflow-runs/{run_id}")
        return run

    async def done(self, *actions: Any, **command: Any) -> dict[str, Any]:
        """A workflow of these actions, run by hand and by a worker; the run at its end."""
        run_id = await self.run(await self.workflow(*actions), **command)
        async with working(self.api):
            return await self.until_over(run_id)

    async def rows(self, collection: str, **where: Any) -> list[dict[str, Any]]:
        return await self.api.rows(collection, companyId=self.id, **where)

    async def mails(self) -> list[dict[str, Any]]:
        """Jobs of the mails that workflows send."""
        return await self.rows("jobs", kind="mail.send", cause={"$exists": True})


def log(message: str) -> dict[str, Any]:
    return {"type": "log", "input": {"message": message}}


async def pump(api: Api) -> int:
    """Plan all events that wait; how many there were."""
    planner, planned = Pump(api.runtime, PLANNERS), 0
    while number := await planner.run_once():
        planned += number
    return planned


async def hurry(api: Api) -> None:
    """What is scheduled or to be retried is due now."""
    rows = api.runtime.db.platform(JOBS)
    where = {"kind": "workflow.step", "state": {"$in": ["scheduled", "retryable"]}}
    later = {**where, "dueAt": {"$gt": api.runtime.clock()}}
    if await rows.update_many(later, {"$set": {"dueAt": api.runtime.clock()}}):
        api.runtime.bell.ring(str(Queue.WORKFLOW))


async def settle(api: Api) -> None:
    """Until no event and no job of a workflow waits any more; a worker has to be there."""

    async def is_quiet() -> bool:
        await hurry(api)
        open_jobs = {"queue": "workflow", "state": {"$nin": ["completed", "dead", "cancelled"]}}
        waiting = await api.runtime.db.platform(JOBS).count(open_jobs, limit=1)
        return not waiting and not await pump(api)  # without a job there is no further event

    await until(is_quiet, what="all workflows to be through")


def worker(api: Api, owner: str) -> Worker:
    return Worker(
        api.runtime,
        Queue.WORKFLOW,
        owner=owner,
        concurrency=3,
        lease_seconds=30.0,
        make_pool=lambda _: ThreadPoolExecutor(),
    )


@asynccontextmanager
async def working(api: Api) -> AsyncIterator[None]:
    one = worker(api, f"tests/{new_object_id()}")
    running = asyncio.create_task(one.run(drain_seconds=5.0))
    try:
        yield
    finally:
        one.stop()
        await asyncio.wait_for(running, 15)


@pytest.fixture(scope="module")
async def api(
    stores: RunningStores, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Api]:
    workflow = QueueSettings(concurrency=3, attempts=3, backoff_seconds=0.1, timeout_seconds=300.0)
    async with open_api(
        stores,
        tmp_path_factory.mktemp("runs"),
        label="runs",
        queues=Queues(workflow=workflow),
        webhooks=keys.Webhooks(allow_networks=("127.0.0.0/8",)),
    ) as opened:
        yield opened


@pytest.fixture
async def company(api: Api) -> Company:
    return Company(api, await api.found_company())


@contextmanager
def nearly_full_disk(api: Api) -> Iterator[None]:
    """What is new is refused for as long as the block lasts."""
    room = Room()
    room.is_low = True
    api.runtime.add(room)
    try:
        yield
    finally:
        room.is_low = False


@pytest.fixture(scope="module")
def sink() -> Iterator[WebhookReceiver]:
    """Takes what workflows call."""
    with webhook_receiver() as one:
        yield one


anyio_backend = loops.anyio_backend
