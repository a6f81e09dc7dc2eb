"""kill -9 of the consumer that runs workflows: each run ends, each task is made once."""

import os
import signal
import time
from typing import Any

import pytest

from tests.support.appliance import Appliance, Client

pytestmark = [pytest.mark.chaos, pytest.mark.slow]
RUNS, STEPS, KILLS = 3, 12, 3


def make_workflow(admin: Client) -> str:
    steps = [
        {"type": "create_task", "input": {"title": f"{{{{ run.id }}}} {number}"}}
        for number in range(STEPS)
    ]
    command = {"name": "many steps", "trigger": {"type": "manual"}, "actions": steps}
    workflow: dict[str, Any] = admin.post("/workflows", command).must(201)
    return str(workflow["id"])


def states(admin: Client, workflow_id: str) -> list[str]:
    return [run["state"] for run in admin.get(f"/workflows/{workflow_id}/runs").must(200)["data"]]


def kill_consumer(appliance: Appliance) -> None:
    appliance.wait_for(lambda: bool(appliance.process("workflow-1")["pid"]), seconds=15)
    os.kill(appliance.process("workflow-1")["pid"], signal.SIGKILL)


def test_a_killed_consumer_makes_no_task_twice_and_none_is_missing(appliance: Appliance) -> None:
    appliance.start()
    admin = appliance.found_company()
    workflow_id = make_workflow(admin)
    ids = [admin.post(f"/workflows/{workflow_id}/run", {}).must(202)["id"] for _ in range(RUNS)]
    for _ in range(KILLS):
        kill_consumer(appliance)
        time.sleep(0.1)
    appliance.wait_for(lambda: set(states(admin, workflow_id)) == {"completed"}, seconds=40)
    titles = [task["title"] for task in admin.get("/tasks?limit=200").must(200)["data"]]
    assert sorted(titles) == sorted(f"{run} {number}" for run in ids for number in range(STEPS))
