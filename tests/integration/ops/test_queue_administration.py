"""Jobs by hand over the API: look, retry, cancel, clear, pause; by whom, and what stays of it."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from novapulse.core.access import Role
from novapulse.core.events import EVENTS, PLATFORM
from novapulse.core.ids import new_id
from novapulse.core.jobs.claims import CLAIMS
from novapulse.core.jobs.rows import JOBS, NewJob
from novapulse.core.pump import Pump
from novapulse.ops import queues
from novapulse.processes.features import PLANNERS
from tests.support.api import RECEIVER_URL, Answer, Api, Person

BULK = [
    ("DELETE", "/queue/email/jobs?state=dead", "queue.cleared"),
    ("POST", "/queue/email/retry?state=dead", "queue.retried"),
]
MAIL = {
    "to": "ada@example.com",
    "template": "system_alert",
    "data": {"title": "Look", "text": "https://s3cret"},
}


@pytest.fixture
async def operator(api: Api) -> Person:
    return await api.add_operator()


@pytest.fixture(autouse=True)
async def _no_jobs(api: Api) -> AsyncIterator[None]:
    yield
    for collection in (JOBS, CLAIMS, "queues"):
        await api.runtime.db.platform(collection).delete_many({})


async def add(api: Api, company_id: str | None = None, **options: Any) -> str:
    """A mail to be sent."""
    job = NewJob(kind="mail.send", payload=MAIL, company_id=company_id, **options)
    row = api.runtime.job_row(job)
    await api.runtime.db.platform(JOBS).insert(row)
    return str(row["_id"])


async def kill(api: Api, job_id: str) -> str:
    """As if all attempts had failed."""
    error = {"attempt": 1, "at": "$$NOW", "message": "SMTPError: no"}
    change = {"state": "dead", "attempt": 5, "finishedAt": "$$NOW", "errors": [error]}
    rows = api.runtime.db.platform(JOBS)
    await rows.update_many({"_id": job_id}, [{"$set": change}, {"$unset": ["dueAt", "openKey"]}])
    return job_id


async def run(api: Api, job_id: str) -> str:
    """As if a consumer had it under way."""
    claim = {"_id": new_id("clm"), "queue": "email", "owner": "tests/1", "jobs": [job_id]}
    claim["until"] = datetime.now(UTC) + timedelta(seconds=30)
    await api.runtime.db.platform(CLAIMS).insert(claim)
    lease = {"owner": "tests/1", "claim": claim["_id"]}
    change = {"state": "running", "lease": lease, "startedAt": "$$NOW"}
    rows = api.runtime.db.platform(JOBS)
    await rows.update_many({"_id": job_id}, [{"$set": change}, {"$unset": "dueAt"}])
    return job_id


async def states(api: Api) -> dict[str, str]:
    return {row["_id"]: row["state"] for row in await api.rows(JOBS)}


async def audited(api: Api, event_type: str) -> list[dict[str, Any]]:
    return await api.rows(EVENTS, type=event_type, companyId=PLATFORM)


async def test_a_job_is_shown_with_its_attempts_and_without_its_secrets(
    api: Api, operator: Person
) -> None:
    job_id = await kill(api, await add(api, key="k"))
    shown = (await operator.get(f"/jobs/{job_id}")).json()
    assert (shown["queue"], shown["kind"], shown["state"]) == ("nova:email", "mail.send", "dead")
    assert shown["payload"] == {**MAIL, "data": "[sealed]"}
    assert (shown["attempt"], shown["maxAttempts"], shown["lapses"]) == (5, 5, 0)
    assert [error["message"] for error in shown["errors"]] == ["SMTPError: no"]
    assert shown["finishedAt"] is not None
    assert shown["key"] == "k"
    assert "lease" not in shown


async def test_a_jobs_page_leads_to_what_it_is_about(api: Api, operator: Person) -> None:
    ada = await api.found_company()
    webhook = (await ada.post("/webhooks", {"url": RECEIVER_URL, "events": ["task.*"]})).json()
    await ada.post("/tasks", {"title": "a task"})
    while await Pump(api.runtime, PLANNERS).run_once():
        pass
    (job,) = (await operator.get("/queue/webhook/jobs")).json()["data"]
    assert job["links"]["webhook"] == webhook["id"]
    assert job["links"]["event"].startswith("evt_")
    assert job["links"]["delivery"].startswith("dlv_")


async def test_jobs_are_listed_newest_first_and_page_by_page(api: Api, operator: Person) -> None:
    ids = [await add(api) for _ in range(5)]
    seen: list[str] = []
    cursor = ""
    while True:
        answer = (await operator.get(f"/queue/nova:email/jobs?limit=2{cursor}")).json()
        seen += [job["id"] for job in answer["data"]]
        if answer["page"]["nextCursor"] is None:
            break
        cursor = f"&cursor={answer['page']['nextCursor']}"
    assert seen == sorted(ids, reverse=True)


async def test_a_list_is_filtered_by_state_kind_and_time(api: Api, operator: Person) -> None:
    dead, waiting = await kill(api, await add(api)), await add(api, delay_seconds=600)

    async def listed(query: str) -> list[str]:
        answer = await operator.get(f"/queue/email/jobs?{query}")
        assert answer.status == 200, answer.body
        return [job["id"] for job in answer.json()["data"]]

    assert await listed("state=dead") == [dead]
    assert await listed("state=scheduled") == [waiting]
    assert await listed("state=available") == []
    assert await listed("kind=mail.send&state=dead") == [dead]
    assert await listed("kind=mail.other") == []
    assert await listed("since=2100-01-01T00:00:00Z") == []
    assert len(await listed("since=2020-01-01T00:00:00Z")) == 2


async def test_a_job_whose_time_has_come_is_shown_as_available(api: Api, operator: Person) -> None:
    job_id = await add(api, delay_seconds=600)
    await api.runtime.db.platform(JOBS).update_many(
        {"_id": job_id}, [{"$set": {"dueAt": {"$subtract": ["$$NOW", 1_000]}}}]
    )
    assert (await operator.get(f"/jobs/{job_id}")).json()["state"] == "available"


async def test_a_dead_job_is_retried_and_the_event_says_who(api: Api, operator: Person) -> None:
    job_id = await kill(api, await add(api))
    answer = await operator.post(f"/jobs/{job_id}/retry")
    assert (answer.status, answer.json()["state"]) == (200, "available")
    (row,) = [row for row in await audited(api, "job.retried") if row["resourceId"] == job_id]
    assert row["actor"]["userId"] == operator.id
    assert row["data"]["job"]["kind"] == "mail.send"


@pytest.mark.parametrize("prepare", [run, kill])
async def test_a_cancel_ends_what_has_not_ended(api: Api, operator: Person, prepare: Any) -> None:
    waiting = await add(api)
    answer = await operator.post(f"/jobs/{waiting}/cancel")
    assert (answer.status, answer.json()["state"]) == (200, "cancelled")
    other = await prepare(api, await add(api))
    answer = await operator.post(f"/jobs/{other}/cancel")
    if prepare is kill:
        assert (answer.status, answer.code) == (409, "job_state")
        return
    assert (answer.status, answer.json()["state"]) == (200, "running")
    (row,) = await api.rows(JOBS, _id=other)
    assert row["cancelledBy"] == operator.id
    assert len(await audited(api, "job.cancelled")) >= 2


async def test_running_and_completed_jobs_are_not_retried(api: Api, operator: Person) -> None:
    answer = await operator.post(f"/jobs/{await run(api, await add(api))}/retry")
    assert (answer.status, answer.code) == (409, "job_state")


async def test_a_job_whose_key_is_taken_is_not_retried(api: Api, operator: Person) -> None:
    dead = await kill(api, await add(api, key="k"))
    await add(api, key="k")
    answer = await operator.post(f"/jobs/{dead}/retry")
    assert (answer.status, answer.code) == (409, "job_state")
    assert (await states(api))[dead] == "dead"


@pytest.mark.parametrize(("method", "verb"), [("DELETE", "jobs"), ("POST", "retry")])
async def test_a_bulk_verb_counts_first_and_touches_only_what_it_was_told(
    api: Api, operator: Person, method: str, verb: str
) -> None:
    dead = [await kill(api, await add(api)) for _ in range(3)]
    waiting = await add(api, delay_seconds=600)
    before = await states(api)
    path = f"/queue/email/{verb}?state=dead"
    answer = await operator.request(method, f"{path}&dryRun=true")
    assert answer.json() == {"count": 3, "dryRun": True, "more": False}
    assert await states(api) == before
    name = "queue.cleared" if method == "DELETE" else "queue.retried"
    already = len(await audited(api, name))
    answer = await operator.request(method, path)
    assert answer.json() == {"count": 3, "dryRun": False, "more": False}
    after = {job_id: "available" for job_id in dead if method == "POST"}
    assert await states(api) == {**after, waiting: "scheduled"}
    row = (await audited(api, name))[already]
    assert row["data"]["queue"]["count"] == 3
    assert row["data"]["queue"]["filter"]["state"] == "dead"
    assert row["resourceId"] == "nova:email"


@pytest.mark.parametrize(("method", "path", "name"), BULK)
async def test_many_jobs_take_several_requests_and_each_has_its_line(
    api: Api,
    operator: Person,
    monkeypatch: pytest.MonkeyPatch,
    *,
    method: str,
    path: str,
    name: str,
) -> None:
    monkeypatch.setattr(queues, "BATCHES", (3, 2, 1))
    for _ in range(7):
        await kill(api, await add(api))
    already = len(await audited(api, name))
    for count, left in ((3, 4), (3, 1), (1, 0)):
        answer = await operator.request(method, path)
        assert answer.json() == {"count": count, "dryRun": False, "more": left > 0}
        assert list((await states(api)).values()).count("dead") == left
    lines = (await audited(api, name))[already:]
    assert [row["data"]["queue"]["count"] for row in lines] == [3, 3, 1]


@pytest.mark.parametrize(("method", "path", "name"), BULK)
@pytest.mark.parametrize("headers", [{}, {"Idempotency-Key": "in one with the answer"}])
async def test_a_job_that_somebody_is_changing_holds_up_only_its_neighbours(
    api: Api,
    operator: Person,
    monkeypatch: pytest.MonkeyPatch,
    *,
    method: str,
    path: str,
    name: str,
    headers: dict[str, str],
) -> None:
    monkeypatch.setattr(queues, "BATCHES", (3, 2, 1))
    dead = [await kill(api, await add(api)) for _ in range(3)]
    already = len(await audited(api, name))
    async with api.runtime.db.transaction() as session:
        rows = api.runtime.db.platform(JOBS, session)
        await rows.update_one({"_id": dead[-1]}, {"$set": {"priority": 5}})
        answer = await operator.request(method, path, headers=headers)
        if method == "POST" and headers:
            assert answer.status == 503  # nothing of it counts
        else:
            assert answer.json() == {"count": 2, "dryRun": False, "more": True}
    touched = 0 if answer.status == 503 else 2
    assert list((await states(api)).values()).count("dead") == 3 - touched
    lines = (await audited(api, name))[already:]
    assert [row["data"]["queue"]["count"] for row in lines] == ([2] if touched else [])


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("DELETE", "/queue/email/jobs?state=running"),
        ("POST", "/queue/email/retry?state=running"),
        ("POST", "/queue/email/retry?state=completed"),
        ("POST", "/queue/email/retry?state=available"),
    ],
)
async def test_what_a_state_does_not_allow_is_a_conflict(
    api: Api, operator: Person, method: str, path: str
) -> None:
    await run(api, await add(api))
    before = await states(api)
    answer = await operator.request(method, path)
    assert (answer.status, answer.code) == (409, "job_state")
    assert await states(api) == before


@pytest.mark.parametrize(
    ("method", "path", "where"),
    [
        ("DELETE", "/queue/email/jobs", "state"),
        ("POST", "/queue/email/retry", "state"),
        ("DELETE", "/queue/email/jobs?state=failed", "state"),
        ("DELETE", "/queue/email/jobs?state=dead&dryrun=true", "dryrun"),
        ("DELETE", "/queue/email/jobs?state=dead&dryRun=maybe", "dryRun"),
        ("GET", "/queue/email/jobs?state=failed", "state"),
        ("GET", "/queue/email/jobs?kind=$where", "kind"),
        ("GET", "/queue/email/jobs?since=yesterday", "since"),
        ("GET", "/queue/email/jobs?since=2026-11-23T10:00:00", "since"),
        ("GET", "/queue/email/jobs?limit=0", "limit"),
        ("GET", "/queue/email/jobs?limit=201", "limit"),
        ("GET", "/queue/email/jobs?cursor=abc", "cursor"),
        ("GET", "/queue/email/jobs?companyId=1", "companyId"),
    ],
)
async def test_a_bad_filter_is_named_and_nothing_is_done(
    api: Api, operator: Person, method: str, path: str, where: str
) -> None:
    await kill(api, await add(api))
    before = await states(api)
    answer = await operator.request(method, path)
    assert (answer.status, answer.paths) == (422, [where])
    assert await states(api) == before


@pytest.mark.parametrize("name", ["no", "nova:no", "EMAIL", "nova:nova:email"])
async def test_an_unknown_queue_is_not_there(operator: Person, name: str) -> None:
    answer = await operator.get(f"/queue/{name}/jobs")
    assert (answer.status, answer.code) == (404, "not_found")


@pytest.mark.parametrize("job_id", ["job_nothing", "job_01m85a8xd6ak60qnd7hcpf38xr", "0" * 24])
async def test_an_unknown_job_is_not_there(operator: Person, job_id: str) -> None:
    for answer in (
        await operator.get(f"/jobs/{job_id}"),
        await operator.post(f"/jobs/{job_id}/retry"),
        await operator.post(f"/jobs/{job_id}/cancel"),
    ):
        assert (answer.status, answer.code) == (404, "not_found")


async def test_a_paused_queue_says_so_until_it_is_resumed(api: Api, operator: Person) -> None:
    for verb, paused in (("pause", True), ("pause", True), ("resume", False)):
        answer = await operator.post(f"/queue/report/{verb}")
        assert (answer.status, answer.json()) == (200, {"id": "nova:report", "paused": paused})
        table = (await operator.get("/queue/stats")).json()["data"]
        assert {row["queue"] for row in table if row["paused"]} == (
            {"nova:report"} if paused else set()
        )
    assert len(await audited(api, "queue.paused")) == 2
    assert len(await audited(api, "queue.resumed")) == 1


WRITES = [
    ("POST", "/jobs/{job}/retry"),
    ("POST", "/jobs/{job}/cancel"),
    ("POST", "/queue/email/pause"),
    ("POST", "/queue/email/resume"),
    ("POST", "/queue/email/retry?state=dead"),
    ("DELETE", "/queue/email/jobs?state=dead"),
]
READS = [("GET", "/queue/stats"), ("GET", "/queue/email/jobs"), ("GET", "/jobs/{job}")]


@pytest.mark.parametrize("role", [Role.COMPANY_ADMIN, Role.MANAGER, Role.USER])
@pytest.mark.parametrize(("method", "path"), [*WRITES, *READS])
async def test_only_the_operator_acts_and_administrators_read_their_own(
    api: Api, role: Role, method: str, path: str
) -> None:
    ada, eve = await api.found_company(), await api.found_company()
    person = ada
    if role is not Role.COMPANY_ADMIN:
        person = await api.add_member(str(ada.company_id), role)
    own, foreign = [await kill(api, await add(api, str(one.company_id))) for one in (ada, eve)]
    before = await states(api)
    may_read = role is Role.COMPANY_ADMIN and method == "GET"
    answer = await person.request(method, path.format(job=own))
    assert answer.status == (200 if may_read else 403)
    answer = await person.request(method, path.format(job=foreign))
    if "{job}" in path:
        assert answer.status == (404 if may_read else 403)
    if may_read and path == "/queue/email/jobs":
        jobs = answer.json()["data"]
        assert own in {job["id"] for job in jobs}
        assert {job["companyId"] for job in jobs} == {ada.company_id}
    assert await states(api) == before


async def test_what_operators_do_is_never_delivered_to_a_webhook(
    api: Api, operator: Person
) -> None:
    ada = await api.found_company()
    await ada.post("/webhooks", {"url": RECEIVER_URL, "events": ["*"]})
    pump = Pump(api.runtime, PLANNERS)
    while await pump.run_once():
        pass
    await api.runtime.db.platform(JOBS).delete_many({})
    job_id = await kill(api, await add(api, str(ada.company_id)))
    await operator.post(f"/jobs/{job_id}/retry")
    await operator.post("/queue/email/pause")
    await operator.request("DELETE", "/queue/email/jobs?state=dead")
    while await pump.run_once():
        pass
    assert [row["kind"] for row in await api.rows(JOBS)] == ["mail.send"]


async def test_an_idempotent_retry_is_done_once(api: Api, operator: Person) -> None:
    job_id = await kill(api, await add(api))

    async def ask() -> Answer:
        return await operator.post(f"/jobs/{job_id}/retry", headers={"Idempotency-Key": "a-key"})

    first = await ask()
    await kill(api, job_id)
    assert (await ask()).body == first.body
    assert (await states(api))[job_id] == "dead"
