"""From asked for to expired: downloads, failures, crashes, what is left behind."""

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any

import pytest
from gridfs.asynchronous import AsyncGridFSBucket

from novapulse.core.access import Role
from novapulse.core.documents import new_object_id
from novapulse.core.jobs import upkeep
from novapulse.core.jobs.kinds import Queue
from novapulse.core.sources import View
from novapulse.reports.service import MAKER
from novapulse.reports.store import BUCKET
from novapulse.reports.sweeping import sweep
from tests.support.api import PASSWORD, Api, Person
from tests.support.engine import until
from tests.support.reports import (
    age,
    ask_for,
    content,
    download,
    engine_of,
    files,
    fill,
    made,
    making,
    of_csv,
    read,
    until_over,
    watched_memory,
)

TASKS = 6_000


@pytest.fixture
async def admin(api: Api) -> Person:
    """Of a new company; what other tests left in the queue is not made here."""
    await api.runtime.db.platform("jobs").delete_many({"queue": "report"})
    return await api.found_company()


@pytest.fixture
async def worker(api: Api) -> AsyncIterator[None]:
    async with making(api):
        yield


@pytest.mark.usefixtures("worker")
async def test_a_range_of_a_file_is_downloaded(api: Api, admin: Person) -> None:
    await fill(api, admin, TASKS)  # more than two chunks of the file
    report = await made(admin, "task_list", "csv")
    whole = await content(admin, report["id"])
    assert len(whole) > 600_000
    size = len(whole)
    for span, start, end in (
        ("bytes=0-9", 0, 10),
        ("bytes=261000-261300", 261_000, 261_301),  # over the edge of a chunk
        ("bytes=-7", size - 7, size),
        (f"bytes={size - 3}-", size - 3, size),
        (f"bytes=5-{size * 2}", 5, size),
        ("bytes=522239-522240", 522_239, 522_241),
    ):
        answer = await download(admin, report["id"], range=span)
        assert (answer.status, answer.body) == (206, whole[start:end]), span
        assert answer.headers["content-range"] == f"bytes {start}-{end - 1}/{size}"
        assert answer.headers["content-length"] == str(end - start)
    for ignored in ("bytes=1-2,4-5", "lines=1-2", "bytes=5-4", "bytes=-"):
        assert (await download(admin, report["id"], range=ignored)).status == 200
    beyond = await download(admin, report["id"], range=f"bytes={size}-")
    assert (beyond.status, beyond.code) == (416, "range_not_satisfiable")
    assert beyond.headers["content-range"] == f"bytes */{size}"


@pytest.mark.usefixtures("worker")
async def test_a_file_has_an_etag_that_conditions_go_by(api: Api, admin: Person) -> None:
    await fill(api, admin, 3)
    report = await made(admin, "task_list", "ndjson")
    answer = await download(admin, report["id"])
    etag = answer.headers["etag"]
    assert etag == f'"{report["sha256"]}"'
    unchanged = await download(admin, report["id"], if_none_match=f'"x", W/{etag}')
    assert (unchanged.status, unchanged.body) == (304, b"")
    assert "content-length" not in unchanged.headers
    same = await download(admin, report["id"], range="bytes=0-4", if_range=etag)
    assert (same.status, same.body) == (206, answer.body[:5])
    other = await download(admin, report["id"], range="bytes=0-4", if_range='"other"')
    assert (other.status, other.body) == (200, answer.body)
    head = await admin.request("HEAD", f"/reports/{report['id']}/download")
    assert (head.status, head.body) == (200, b"")
    assert head.headers["content-length"] == str(report["sizeBytes"])


@pytest.mark.usefixtures("worker")
async def test_an_expired_report_is_gone_and_its_file_too(api: Api, admin: Person) -> None:
    report = await made(admin, "task_list", "csv")
    await age(api, report["id"], timedelta(days=6, hours=23))
    assert (await download(admin, report["id"])).status == 200
    await age(api, report["id"], timedelta(hours=1))
    answer = await download(admin, report["id"])  # before anything swept it
    assert (answer.status, answer.code) == (410, "report_expired")
    (row,) = await api.rows("reports", _id=report["id"])
    await sweep(api.runtime)
    assert row["fileId"] not in set.union(*await files(api))
    assert (await download(admin, report["id"])).status == 410
    assert (await read(admin, report["id"]))["status"] == "expired"


@pytest.mark.usefixtures("worker")
async def test_any_drivers_gridfs_reads_a_report(api: Api, admin: Person) -> None:
    await fill(api, admin, 3_000)  # more than one chunk
    report = await made(admin, "task_list", "csv")
    (row,) = await api.rows("reports", _id=report["id"])
    bucket = AsyncGridFSBucket(api.runtime.db.raw, BUCKET)
    file = await bucket.open_download_stream(row["fileId"])
    assert file.length == report["sizeBytes"]
    assert file.filename == f"task_list-{report['createdAt'][:10]}-{report['id']}.csv"
    assert await file.read() == await content(admin, report["id"])


@pytest.mark.usefixtures("worker")
async def test_a_ready_report_tells_whoever_listens(api: Api, admin: Person) -> None:
    report = await made(admin, "task_list", "html")
    (event,) = await api.rows("events", type="report.ready", resourceId=report["id"])
    told = event["data"]["report"]
    for name in ("id", "kind", "format", "ownerId", "sizeBytes", "expiresAt", "sha256"):
        assert told[name] == report[name], name
    assert "fileId" not in told
    assert not event["isPlanned"]


async def test_a_report_that_waits_can_not_be_downloaded(admin: Person) -> None:
    asked = await ask_for(admin, "task_list", "csv")
    answer = await download(admin, asked["id"])
    assert (answer.status, answer.code) == (409, "report_not_ready")


@pytest.mark.usefixtures("worker")
async def test_a_deleted_report_leaves_no_file(api: Api, admin: Person) -> None:
    report = await made(admin, "task_list", "csv")
    (row,) = await api.rows("reports", _id=report["id"])
    etag = (await admin.get(f"/reports/{report['id']}")).headers["etag"]
    stale = await admin.delete(f"/reports/{report['id']}", headers={"if-match": '"1"'})
    assert stale.status == 412
    gone = await admin.delete(f"/reports/{report['id']}", headers={"if-match": etag})
    assert gone.status == 204
    assert (await admin.get(f"/reports/{report['id']}")).status == 404
    assert row["fileId"] not in set.union(*await files(api))


async def test_a_report_that_is_deleted_while_it_is_made_leaves_no_file(
    api: Api, admin: Person, monkeypatch: pytest.MonkeyPatch
) -> None:
    reached, go_on = hold(monkeypatch)
    before = await files(api)
    asked = await ask_for(admin, "task_list", "csv")
    async with making(api):
        await asyncio.wait_for(reached.wait(), 10)
        assert (await admin.delete(f"/reports/{asked['id']}")).status == 204
        go_on.set()
        engine = engine_of(api)
        await engine.until_state(asked["jobId"], "completed")
    await sweep(api.runtime)
    assert await files(api) == before
    assert await api.rows("events", type="report.ready", resourceId=asked["id"]) == []


def hold(monkeypatch: pytest.MonkeyPatch) -> tuple[asyncio.Event, asyncio.Event]:
    """Reports get as far as their first rows, and on when they are told to."""
    reached, go_on = asyncio.Event(), asyncio.Event()
    batches = View.batches

    async def held(self: View, **options: Any) -> AsyncIterator[list[dict[str, Any]]]:
        async for rows in batches(self, **options):
            yield rows
            reached.set()
            await go_on.wait()
        reached.set()
        await go_on.wait()

    monkeypatch.setattr(View, "batches", held)
    return reached, go_on


async def chunks_of(api: Api, report_id: str) -> int:
    (row,) = await api.rows("reports", _id=report_id)
    chunks = api.runtime.db.platform(f"{BUCKET}.chunks")
    return await chunks.count({"files_id": row.get("fileId")}, limit=100)


async def test_a_consumer_that_dies_in_the_middle_leaves_nothing_behind(
    api: Api, admin: Person, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its chunks are there, no file is; the next attempt makes another one."""
    monkeypatch.setattr("novapulse.core.files.CHUNK_BYTES", 1_024)
    await fill(api, admin, 2_000)
    reached, go_on = hold(monkeypatch)
    asked = await ask_for(admin, "task_list", "csv")
    engine = engine_of(api)
    dying = engine.worker(Queue.REPORT, owner="tests/dying")
    await engine.leave_behind(dying, until_it=reached.is_set)
    assert await chunks_of(api, asked["id"]) > 0
    (row,) = await api.rows("reports", _id=asked["id"])
    left = row["fileId"]
    await upkeep.release_held(api.runtime.db, {"$in": ["tests/dying"]}, reason="it died")
    go_on.set()
    async with making(api):
        report = await until_over(admin, asked["id"])
    assert report["status"] == "ready"
    assert len(of_csv(await content(admin, asked["id"]))) == 2_000
    await sweep(api.runtime)
    assert left not in set.union(*await files(api))


async def test_the_sweep_clears_up_after_a_report_that_nobody_will_make(
    api: Api, admin: Person, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("novapulse.core.files.CHUNK_BYTES", 1_024)
    await fill(api, admin, 2_000)
    reached, _ = hold(monkeypatch)
    asked = await ask_for(admin, "task_list", "csv")
    engine = engine_of(api)
    await engine.leave_behind(engine.worker(Queue.REPORT), until_it=reached.is_set)
    (row,) = await api.rows("reports", _id=asked["id"])
    await sweep(api.runtime)  # its job may still be taken up by another consumer
    assert row["fileId"] in (await files(api))[1]
    await api.runtime.db.platform("jobs").update_one(
        {"_id": asked["jobId"]}, {"$set": {"state": "dead"}}
    )
    await sweep(api.runtime)
    assert row["fileId"] not in set.union(*await files(api))
    report = await read(admin, asked["id"])
    assert (report["status"], report["error"]) == ("failed", "Its job ended without it")
    (event,) = await api.rows("events", type="report.failed", resourceId=asked["id"])
    assert event["data"]["report"]["ownerId"] == admin.id
    await sweep(api.runtime)
    assert len(await api.rows("events", type="report.failed", resourceId=asked["id"])) == 1


async def test_a_report_that_can_not_be_made_fails_after_its_second_attempt(
    api: Api, admin: Person, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = await ask_for(admin, "task_list", "csv")
    (job,) = await api.rows("jobs", _id=asked["jobId"])
    assert (job["maxAttempts"], job["backoff"]["seconds"]) == (2, 5.0)
    assert (job["kind"], job["queue"]) == (MAKER, "report")
    jobs = api.runtime.db.platform("jobs")
    await jobs.update_one({"_id": job["_id"]}, {"$set": {"backoff.seconds": 0.01}})

    def broken(self: View, **options: Any) -> AsyncIterator[list[dict[str, Any]]]:
        raise RuntimeError("a secret of the library")

    with monkeypatch.context() as patch:
        patch.setattr(View, "batches", broken)
        async with making(api):
            report = await until_over(admin, asked["id"])
            await engine_of(api).until_state(job["_id"], "dead")
    assert report["status"] == "failed"
    assert "secret" not in report["error"]
    assert (await read(admin, asked["id"]))["job"]["attempt"] == 2
    await sweep(api.runtime)
    # An operator who has it tried again gets it after all.
    operator = await api.add_operator()
    assert (await operator.post(f"/jobs/{job['_id']}/retry")).status == 200
    async with making(api):

        async def is_ready() -> bool:
            return (await read(admin, asked["id"]))["status"] == "ready"

        await until(is_ready, what="the report to be ready")
    assert (await read(admin, asked["id"]))["error"] is None


@pytest.mark.usefixtures("worker")
async def test_no_cell_of_a_report_is_a_formula(api: Api, admin: Person) -> None:
    titles = ["=1+1", "+1", "-1", "@SUM(A1)", "\t=1", " =1", "'=1", 'a,"=1"', "＝1"]
    for title in titles:
        await fill(api, admin, 1, title=title)
    report = await made(admin, "task_list", "csv")
    rows = of_csv(await content(admin, report["id"]))
    assert sorted(row["title"].removeprefix("'") for row in rows) == sorted(
        title.removeprefix("'") for title in titles
    )
    for row in rows:
        assert not row["title"].lstrip().startswith(("=", "+", "-", "@", "＝"))


@pytest.mark.parametrize(
    ("kind", "params", "path"),
    [
        ("task_list", {"status": "never"}, "params.status"),
        ("task_list", {"color": "red"}, "params.color"),
        ("task_list", {"from": "yesterday"}, "params.from"),
        ("user_activity", {"status": "todo"}, "params.status"),
        ("audit", {"action": "$where"}, "params.action"),
        ("usage", {"from": "2020-01-01T00:00:00Z", "to": "2026-01-01T00:00:00Z"}, "params.from"),
        ("audit", {"to": "0001-01-01T00:00:00+14:00"}, "params.to"),
    ],
)
async def test_params_that_are_not_the_kinds_are_refused(
    admin: Person, kind: str, params: Any, path: str
) -> None:
    command = {"kind": kind, "format": "csv", "params": params}
    answer = await admin.post("/reports", command)
    assert (answer.status, answer.paths) == (422, [path])


async def test_who_may_not_read_something_gets_no_report_of_it(api: Api, admin: Person) -> None:
    manager = await api.add_member(str(admin.company_id), Role.MANAGER)
    user = await api.add_member(str(admin.company_id), Role.USER)
    may = {
        "tasks_summary": (202, 202),
        "task_list": (202, 202),
        "user_activity": (202, 202),
        "webhook_deliveries": (202, 403),
        "audit": (403, 403),
        "usage": (202, 403),
    }
    for kind, expected in may.items():
        command = {"kind": kind, "format": "csv"}
        got = [(await person.post("/reports", command)).status for person in (manager, user)]
        assert tuple(got) == expected, kind


async def test_nobody_fills_the_queue_with_reports(api: Api, admin: Person) -> None:
    for _ in range(20):
        await ask_for(admin, "task_list", "csv")
    answer = await admin.post("/reports", {"kind": "task_list", "format": "csv"})
    assert (answer.status, answer.code) == (409, "too_many_reports")
    colleague = await api.add_member(str(admin.company_id), Role.USER)
    await ask_for(colleague, "task_list", "csv")


async def test_asking_again_with_the_same_key_makes_one_report(admin: Person) -> None:
    command = {"kind": "task_list", "format": "csv"}
    key = {"idempotency-key": new_object_id()}
    first = await admin.post("/reports", command, headers=key)
    again = await admin.post("/reports", command, headers=key)
    assert first.json()["id"] == again.json()["id"]
    assert len((await admin.get("/reports")).json()["data"]) == 1


async def test_reports_are_listed_by_what_they_are(admin: Person) -> None:
    ids = [(await ask_for(admin, "task_list", form))["id"] for form in ("csv", "ndjson", "html")]
    newest = (await admin.get("/reports")).json()["data"]
    assert [row["id"] for row in newest] == ids[::-1]
    found = (await admin.get("/reports?format=html&status=queued&kind=task_list")).json()["data"]
    assert [row["id"] for row in found] == ids[2:]
    page = (await admin.get("/reports?limit=2")).json()
    rest = (await admin.get(f"/reports?cursor={page['page']['nextCursor']}")).json()
    assert [row["id"] for row in rest["data"]] == ids[:1]


@pytest.mark.usefixtures("worker")
async def test_many_rows_do_not_need_much_memory(api: Api, admin: Person) -> None:
    """The same for 1,000,000 is `tests/benchmarks/test_reports.py`."""
    await fill(api, admin, 30_000)
    await made(admin, "task_list", "csv", status="done")  # what the first report needs once
    async with watched_memory() as memory:
        report = await made(admin, "task_list", "html")
    assert report["rows"] == 30_000
    assert memory.growth < 30
    async with watched_memory() as memory:
        rows = await export_lines(admin)
    assert rows == 30_000
    # The test's own client keeps the answer: some 10 MB, twice.
    assert memory.growth < 50


async def export_lines(person: Person) -> int:
    assert (await person.post("/auth/step-up", {"password": PASSWORD})).status == 204
    answer = await person.get("/export/tasks.ndjson")
    assert answer.status == 200
    return answer.body.count(b"\n")
