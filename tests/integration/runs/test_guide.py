"""The guide's workflows are accepted as they are printed, and the first one does what it says."""

import json
import re
from pathlib import Path
from typing import Any

from tests.integration.runs.conftest import Company, settle, working
from tests.support.api import Api

GUIDE = Path(__file__).resolve().parents[3] / "docs/guides/workflows.md"


def printed() -> list[dict[str, Any]]:
    blocks = re.findall(r"^```json\n(.*?)^```$", GUIDE.read_text(), re.MULTILINE | re.DOTALL)
    return [json.loads(block) for block in blocks]


async def test_every_workflow_of_the_guide_is_accepted(company: Company) -> None:
    assert len(printed()) == 2
    for command in printed():
        answer = await company.admin.post("/workflows", command)
        assert answer.status == 201, answer.body
        dry = await company.admin.post(f"/workflows/{answer.json()['id']}/run", {"dryRun": True})
        assert dry.status == 200


async def test_the_first_one_looks_after_urgent_tasks(api: Api, company: Company) -> None:
    workflow = (await company.admin.post("/workflows", printed()[0])).json()
    for fields in ({"priority": "urgent"}, {"priority": "urgent", "labels": ["drill"]}, {}):
        task = {"title": f"It burns {fields}", **fields}
        assert (await company.admin.post("/tasks", task)).status == 201
    async with working(api):
        await settle(api)
    (run,) = await company.runs(workflow)
    assert run["state"] == "completed"
    (made,) = (await company.get("/tasks?label=follow-up"))["data"]
    assert made["title"].startswith("Look after: It burns")
    (mail,) = await company.mails()
    assert mail["payload"]["to"] == "lead@example.com"
