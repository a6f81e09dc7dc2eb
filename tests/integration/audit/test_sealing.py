"""Sealing: every event once, without gap or fork, whoever was killed or led beside."""

import asyncio
import dataclasses
from datetime import timedelta
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from novapulse.audit.sealer import Sealer, Trimmer
from novapulse.audit.store import AuditStore
from novapulse.core.errors import TransientConflict, Unavailable
from novapulse.core.mongo import Database
from novapulse.core.pump import Pump
from novapulse.processes.features import PLANNERS
from tests.support.api import Api, Person
from tests.support.audit import (
    assert_whole,
    chain_of,
    change_head,
    head_of,
    make_tasks,
    pump,
    seal,
    walk,
)


@pytest.fixture
async def ada(api: Api) -> Person:
    """A company of which nothing waits."""
    person = await api.found_company()
    await seal(api)
    return person


async def test_every_event_gets_a_place_in_its_companys_chain(api: Api, ada: Person) -> None:
    eve = await api.found_company()
    await asyncio.gather(make_tasks(ada, 20), make_tasks(eve, 9))
    sealed = await seal(api, batch=6)
    assert sealed >= 29
    assert await seal(api) == 0
    ada_report = await assert_whole(api, ada.company_id)
    eve_report = await assert_whole(api, eve.company_id)
    assert (await head_of(api, ada.company_id))["hash"] == ada_report.hash
    assert ada_report.hash != eve_report.hash


async def test_the_operators_doings_are_a_chain_too(api: Api) -> None:
    await api.add_operator()
    await seal(api)
    assert (await assert_whole(api, "platform")).lines >= 2


async def test_a_transaction_touches_no_head(api: Api, ada: Person) -> None:
    before = await head_of(api, ada.company_id)
    await make_tasks(ada, 3)
    assert await head_of(api, ada.company_id) == before
    report = await walk(api, ada.company_id)
    assert (report.waiting, report.finding) == (3, None)


async def test_what_the_pump_has_not_planned_is_left_to_it(api: Api, ada: Person) -> None:
    await make_tasks(ada, 2)
    sealer = Sealer(api.runtime)
    await sealer.seal_waiting()
    assert (await walk(api, ada.company_id)).waiting == 2
    await pump(api)
    await sealer.seal_waiting()
    assert (await walk(api, ada.company_id)).waiting == 0


async def run_leader(api: Api, stop: asyncio.Event) -> list[BaseException]:
    """Pumps and seals until told; what is not available is tried again, the rest is kept."""
    planner, sealer = Pump(api.runtime, PLANNERS), Sealer(api.runtime, batch=5)
    surprises: list[BaseException] = []
    while not stop.is_set():
        for step in (planner.run_once, sealer.seal_waiting):
            try:
                await step()
            except Unavailable:
                pass
            except Exception as error:  # whatever else it is would end the scheduler
                surprises.append(error)
        await asyncio.sleep(0.001)
    return surprises


async def test_two_leaders_at_once_neither_fork_nor_gap(api: Api, ada: Person) -> None:
    eve = await api.found_company()
    stop = asyncio.Event()
    leaders = [asyncio.create_task(run_leader(api, stop)) for _ in range(2)]
    for _ in range(6):
        await asyncio.gather(make_tasks(ada, 8), make_tasks(eve, 5))
    await asyncio.sleep(0.1)
    stop.set()
    surprises = [error for found in await asyncio.gather(*leaders) for error in found]
    assert surprises == []
    await seal(api)
    await assert_whole(api, ada.company_id)
    await assert_whole(api, eve.company_id)


class Killed(Exception):
    """Stands for the end of the process at this point."""


@pytest.mark.parametrize("killed_at", ["write_head", "write_links", "commit"])
async def test_killed_anywhere_the_next_sealer_goes_on(
    api: Api, ada: Person, killed_at: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    await make_tasks(ada, 9)
    await pump(api)
    before = await chain_of(api, ada.company_id)

    with monkeypatch.context() as patch:
        if killed_at == "commit":

            async def after(self: Any, links: Any) -> int:
                await original(self, links)
                raise Killed

            original = AuditStore.write_links
            patch.setattr(AuditStore, "write_links", after)
        else:

            async def instead(self: Any, *_: Any, **__: Any) -> int:
                raise Killed

            patch.setattr(AuditStore, killed_at, instead)
        with pytest.raises(Killed):
            await Sealer(api.runtime).seal_waiting()
    assert await chain_of(api, ada.company_id) == before
    assert await Sealer(api.runtime, batch=4).seal_waiting() == 9
    await assert_whole(api, ada.company_id)


async def test_a_sealer_that_slept_does_not_seal_what_another_sealed(api: Api, ada: Person) -> None:
    await make_tasks(ada, 4)
    await pump(api)
    slept = await AuditStore(api.runtime.db).unsealed(100)
    assert await seal(api) == 4
    with pytest.raises(TransientConflict):
        await Sealer(api.runtime).seal(slept)
    await assert_whole(api, ada.company_id)


async def test_a_forged_head_gets_no_new_signature_and_stops_nobody_else(
    api: Api, ada: Person
) -> None:
    eve = await api.found_company()
    await seal(api)
    good = await head_of(api, ada.company_id)
    await change_head(api, ada.company_id, {"$set": {"count": 1}})
    forged = await head_of(api, ada.company_id)
    await asyncio.gather(make_tasks(ada, 3), make_tasks(eve, 3))
    await pump(api)
    sealer = Sealer(api.runtime, batch=2)
    assert await sealer.seal_waiting() == 3
    await assert_whole(api, eve.company_id)
    assert await head_of(api, ada.company_id) == forged
    report = await walk(api, ada.company_id)
    assert report.waiting == 3
    assert report.finding is not None
    await change_head(api, ada.company_id, {"$set": good})
    await Sealer(api.runtime).seal_waiting()
    await assert_whole(api, ada.company_id)


async def test_a_missing_head_is_not_begun_anew(api: Api, ada: Person) -> None:
    eve = await api.found_company()
    await seal(api)
    good = await head_of(api, ada.company_id)
    await api.runtime.db.raw["audit_heads"].delete_one({"_id": ada.company_id})
    await asyncio.gather(make_tasks(ada, 3), make_tasks(eve, 3))
    await pump(api)
    assert await Sealer(api.runtime).seal_waiting() == 3
    assert await api.rows("audit_heads", companyId=ada.company_id) == []
    await api.runtime.db.raw["audit_heads"].insert_one(good)
    await Sealer(api.runtime).seal_waiting()
    await assert_whole(api, ada.company_id)
    await assert_whole(api, eve.company_id)


# Trimming


async def age(api: Api, person: Person, *, days: int) -> None:
    """Make the company's events older, before they are sealed."""
    move = {"$subtract": ["$createdAt", days * 86_400_000]}
    await api.runtime.db.raw["events"].update_many(
        {"companyId": person.company_id, "audit": {"$exists": False}},
        [{"$set": {"createdAt": move}}],
    )


async def aged(api: Api, *, old: int, young: int) -> Person:
    """A company with old events, and young ones after them; no other one has old events."""
    await trimmer(api).trim()
    person = await api.found_company()
    await make_tasks(person, old - 3)
    await age(api, person, days=400)
    await seal(api)
    await make_tasks(person, young)
    await seal(api)
    assert len(await chain_of(api, person.company_id)) == old + young
    return person


def trimmer(api: Api, *, batch: int = 500) -> Trimmer:
    return Trimmer(api.runtime, keep=timedelta(days=365), batch=batch)


@pytest.mark.parametrize("batch", [500, 3])
async def test_old_lines_go_and_the_rest_is_still_verified(api: Api, batch: int) -> None:
    bob = await aged(api, old=10, young=4)
    last = (await chain_of(api, bob.company_id))[9]["audit"]
    await trimmer(api, batch=batch).trim()
    head = await head_of(api, bob.company_id)
    assert (head["trimmed"]["seq"], head["trimmed"]["hash"]) == (10, last["hash"])
    report = await assert_whole(api, bob.company_id)
    assert (report.lines, report.trimmed) == (4, 10)
    await make_tasks(bob, 2)
    await seal(api)
    assert (await assert_whole(api, bob.company_id)).lines == 6
    assert await trimmer(api).trim() == 0


async def test_numbers_for_webhooks_go_on_after_everything_was_trimmed(api: Api) -> None:
    bob = await aged(api, old=8, young=0)
    rows = await api.rows("events", companyId=bob.company_id)
    highest = max(row.get("sequence", 0) for row in rows)
    await trimmer(api).trim()
    assert await api.rows("events", companyId=bob.company_id) == []
    await make_tasks(bob, 1)
    await seal(api)
    (row,) = await api.rows("events", companyId=bob.company_id)
    assert row["sequence"] == highest + 1
    assert (await assert_whole(api, bob.company_id)).trimmed == 8


async def test_killed_between_head_and_rows_the_next_trimming_removes_them(
    api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    bob = await aged(api, old=9, young=2)

    async def instead(self: Any, event_ids: Any) -> int:
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(AuditStore, "delete", instead)
        with pytest.raises(Killed):
            await trimmer(api).trim()
    report = await walk(api, bob.company_id)
    assert (report.finding, report.lines, report.trimmed) == (None, 11, 9)
    first = (await chain_of(api, bob.company_id))[:4]
    await AuditStore(api.runtime.db).delete([row["_id"] for row in first])
    assert (await walk(api, bob.company_id)).finding is None
    await trimmer(api).trim()
    assert (await assert_whole(api, bob.company_id)).lines == 2


async def test_evidence_is_not_trimmed_away(api: Api) -> None:
    bob = await aged(api, old=10, young=2)
    gone = (await chain_of(api, bob.company_id))[4]
    await api.runtime.db.raw["events"].delete_one({"_id": gone["_id"]})
    await trimmer(api).trim()
    report = await walk(api, bob.company_id)
    assert report.finding is not None
    assert (report.finding.seq, report.trimmed) == (5, 0)


async def test_an_old_event_behind_a_young_one_waits_for_it(api: Api, ada: Person) -> None:
    await make_tasks(ada, 1)
    await seal(api)
    await make_tasks(ada, 1)
    await age(api, ada, days=400)
    await seal(api)
    await trimmer(api).trim()
    report = await assert_whole(api, ada.company_id)
    assert report.trimmed == 0


async def test_verifying_while_it_is_sealed_and_trimmed_finds_nothing(api: Api) -> None:
    bob = await aged(api, old=40, young=5)
    stop = asyncio.Event()
    leader = asyncio.create_task(run_leader(api, stop))
    reports = []
    for _ in range(12):
        trimming = asyncio.create_task(trimmer(api, batch=2).trim())
        await make_tasks(bob, 2)
        reports.append(await walk(api, bob.company_id, batch=3))
        await trimming
    stop.set()
    assert await leader == []
    assert [report.finding for report in reports] == [None] * 12
    await seal(api)
    await trimmer(api).trim()
    assert (await assert_whole(api, bob.company_id)).trimmed == 40


async def test_a_store_that_is_away_leaves_the_chain_as_it_is(
    api: Api, ada: Person, tmp_path: Path
) -> None:
    # No TCP port: pymongo leaks the socket of a connect that its closing cancels.
    uri = f"mongodb://{quote(str(tmp_path / 'nobody.sock'), safe='')}"
    nowhere = Database(uri, "none", timeout_seconds=0.2, max_pool_size=2)
    try:
        with pytest.raises(Unavailable):
            await Sealer(dataclasses.replace(api.runtime, db=nowhere)).seal_waiting()
    finally:
        await nowhere.close()
    await assert_whole(api, ada.company_id)
