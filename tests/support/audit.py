"""What tests of the audit log do: make events, seal them, walk the chain, and damage it."""

import asyncio
from typing import Any

from novapulse.audit.model import ChainReport
from novapulse.audit.sealer import Sealer
from novapulse.audit.store import AuditStore
from novapulse.audit.verify import Walk
from novapulse.core.pump import Pump
from novapulse.processes.features import PLANNERS
from tests.support.api import Api, Person


async def make_tasks(person: Person, count: int) -> None:
    """One event each."""
    answers = await asyncio.gather(
        *(person.post("/tasks", {"title": f"Task {number}"}) for number in range(count))
    )
    assert {answer.status for answer in answers} <= {201}


async def pump(api: Api) -> None:
    """What the leader does before an event can be sealed."""
    one = Pump(api.runtime, PLANNERS)
    while await one.run_once():
        pass


async def seal(api: Api, *, batch: int = 500) -> int:
    await pump(api)
    return await Sealer(api.runtime, batch=batch).seal_waiting()


async def walk(api: Api, company_id: str | None, *, batch: int = 7) -> ChainReport:
    store, runtime = AuditStore(api.runtime.db), api.runtime
    one = Walk(store, str(company_id), keys=runtime.keys, now=runtime.clock(), batch=batch)
    return await one.report()


async def chain_of(api: Api, company_id: str | None) -> list[dict[str, Any]]:
    """The sealed rows in their order."""
    rows = await api.rows("events", companyId=company_id)
    return sorted((row for row in rows if "audit" in row), key=lambda row: row["audit"]["seq"])


async def head_of(api: Api, company_id: str | None) -> dict[str, Any]:
    (head,) = await api.rows("audit_heads", companyId=company_id)
    return head


async def assert_whole(api: Api, company_id: str | None) -> ChainReport:
    """Every event is in the chain, once, without a gap."""
    report = await walk(api, company_id)
    assert report.finding is None
    events = await api.rows("events", companyId=company_id)
    assert (report.lines, report.waiting) == (len(events), 0)
    numbers = [row["audit"]["seq"] for row in await chain_of(api, company_id)]
    assert numbers == list(range(report.trimmed + 1, report.trimmed + len(events) + 1))
    return report


async def change(api: Api, event_id: str, update: Any) -> None:
    """As somebody who can write to the database."""
    await api.runtime.db.raw["events"].update_one({"_id": event_id}, update)


async def change_head(api: Api, company_id: str | None, update: Any) -> None:
    await api.runtime.db.raw["audit_heads"].update_one({"companyId": company_id}, update)
