"""Whoever changes the log without the key is found, and the line is named."""

from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Any

import pytest

from novapulse.audit import chain, service
from novapulse.audit.chain import Head, Mark
from novapulse.audit.model import Finding
from novapulse.audit.sealer import Sealer
from novapulse.core.access import SYSTEM
from novapulse.core.crypto import KEY_BYTES, KeyRing
from novapulse.core.documents import new_object_id
from novapulse.core.errors import Forbidden, NotFound
from tests.support.api import Api, Person, as_principal
from tests.support.audit import (
    assert_whole,
    chain_of,
    change,
    change_head,
    head_of,
    make_tasks,
    pump,
    seal,
    walk,
)

Rows = list[dict[str, Any]]
Attack = Callable[[Api, Rows], Awaitable[None]]


@pytest.fixture
async def ada(api: Api) -> Person:
    """A company with 20 lines, all sealed."""
    person = await api.found_company()
    await make_tasks(person, 17)
    await seal(api)
    assert len(await chain_of(api, person.company_id)) == 20
    return person


async def replace_row(api: Api, row: dict[str, Any]) -> None:
    await api.runtime.db.raw["events"].replace_one({"_id": row["_id"]}, row)


async def remove(api: Api, *rows: dict[str, Any]) -> None:
    await api.runtime.db.raw["events"].delete_many({"_id": {"$in": [row["_id"] for row in rows]}})


async def insert_copy(api: Api, row: dict[str, Any], **fields: Any) -> None:
    kept = {name: value for name, value in row.items() if name not in ("audit", "sequence")}
    await api.runtime.db.raw["events"].insert_one(
        {**kept, "_id": f"evt_{new_object_id()}", **fields}
    )


async def swap_numbers(api: Api, rows: Rows) -> None:
    one, other = rows[8], rows[9]
    await change(api, one["_id"], {"$set": {"audit.seq": 1_000}})
    await change(api, other["_id"], {"$set": {"audit.seq": 9}})
    await change(api, one["_id"], {"$set": {"audit.seq": 10}})


async def swap_contents(api: Api, rows: Rows) -> None:
    await remove(api, rows[8], rows[9])
    for row, place in ((rows[8], rows[9]), (rows[9], rows[8])):
        await api.runtime.db.raw["events"].insert_one({**row, "audit": place["audit"]})


async def forge_in_between(api: Api, rows: Rows) -> None:
    await insert_copy(api, rows[8], audit={**rows[8]["audit"], "seq": 8.5})


async def rehash(rows: Rows, *, first: int) -> Rows:
    """The rows from `first` on with hashes that fit: what a thorough forger does."""
    mark = Mark(first - 1, rows[first - 2]["audit"]["hash"])
    for row in rows[first - 1 :]:
        one = chain.link(row, mark)
        mark = Mark(one.seq, one.hash)
        row["audit"] = {"seq": one.seq, "hash": one.hash, "previous": one.previous}
    return rows


async def rewrite_chain(api: Api, rows: Rows) -> None:
    rows[8]["actor"]["userId"] = "0" * 24
    for row in await rehash(rows, first=9):
        await replace_row(api, row)


async def rewrite_chain_and_head(api: Api, rows: Rows) -> None:
    """Chain and head fit one another, but for the key that nobody has who writes the database."""
    await rewrite_chain(api, rows)
    await change_head(api, rows[0]["companyId"], {"$set": {"hash": rows[-1]["audit"]["hash"]}})


async def rewrite_all_and_sign_by_another_key(api: Api, rows: Rows) -> None:
    await rewrite_chain(api, rows)
    head = await head_of(api, rows[0]["companyId"])
    key_id = head["mac"].partition(".")[0]
    keys = KeyRing(key_id, {key_id: b"x" * KEY_BYTES})
    forged = Head(company_id=head["companyId"], count=20, hash=rows[-1]["audit"]["hash"])
    await change_head(
        api,
        head["companyId"],
        {"$set": {"hash": forged.hash, "mac": forged.signed(keys).mac}},
    )


async def cut_off_with_head(api: Api, rows: Rows) -> None:
    await remove(api, *rows[15:])
    short = {"count": 15, "hash": rows[14]["audit"]["hash"]}
    await change_head(api, rows[0]["companyId"], {"$set": short})


async def pretend_it_was_trimmed(api: Api, rows: Rows) -> None:
    await remove(api, *rows[:10])
    trimmed = {"seq": 10, "hash": rows[9]["audit"]["hash"], "sequence": 9}
    await change_head(api, rows[0]["companyId"], {"$set": {"trimmed": trimmed}})


async def remove_everything(api: Api, rows: Rows) -> None:
    await remove(api, *rows)
    await api.runtime.db.raw["audit_heads"].delete_one({"companyId": rows[0]["companyId"]})
    # It was founded some minutes ago.
    await api.runtime.db.raw["companies"].update_one(
        {"_id": rows[0]["companyId"]},
        [{"$set": {"createdAt": {"$subtract": ["$createdAt", 600_000]}}}],
    )


def sets(name: str, value: Any, *, line: int = 9) -> Attack:
    async def attack(api: Api, rows: Rows) -> None:
        await change(api, rows[line - 1]["_id"], {"$set": {name: value}})

    return attack


def unsets(name: str, *, line: int = 9) -> Attack:
    async def attack(api: Api, rows: Rows) -> None:
        await change(api, rows[line - 1]["_id"], {"$unset": {name: ""}})

    return attack


def removes(*lines: int) -> Attack:
    async def attack(api: Api, rows: Rows) -> None:
        await remove(api, *[rows[line - 1] for line in lines])

    return attack


def heads(update: Any) -> Attack:
    async def attack(api: Api, rows: Rows) -> None:
        await change_head(api, rows[0]["companyId"], update)

    return attack


async def remove_head(api: Api, rows: Rows) -> None:
    await api.runtime.db.raw["audit_heads"].delete_one({"companyId": rows[0]["companyId"]})


async def insert_unsealed(api: Api, rows: Rows) -> None:
    await insert_copy(api, rows[3])


async def insert_numbered_below(api: Api, rows: Rows) -> None:
    await insert_copy(api, rows[3], audit={**rows[3]["audit"], "seq": 0})


CHANGED, FOLLOWS = "it is not what was sealed", "it does not follow the line before it"
FORGED_HEAD = "the head row was not written by this installation"
# What is done, which line is named, and why. Every company here has 20 lines.
ATTACKS: dict[str, tuple[Attack, int, str]] = {
    "a flipped character": (sets("data.task.title", "Task 8 "), 9, CHANGED),
    "a changed actor": (sets("actor.userId", "0" * 24), 9, CHANGED),
    "a changed address": (sets("actor.address", "192.0.2.9"), 9, CHANGED),
    "a changed door": (sets("actor.via", "cli"), 9, CHANGED),
    "a changed time": (sets("createdAt", "yesterday"), 9, CHANGED),
    "a changed type": (sets("type", "task.deleted"), 9, CHANGED),
    "a changed resource": (sets("resourceId", "x"), 9, CHANGED),
    "a changed request": (sets("requestId", "x"), 9, CHANGED),
    "an added field of the data": (sets("data.task.extra", 1), 9, CHANGED),
    "a removed field": (unsets("requestId"), 9, CHANGED),
    "an added trace": (sets("trace", "x"), 9, CHANGED),
    "the last line changed": (sets("actor.via", "cli", line=20), 20, CHANGED),
    "a changed hash": (sets("audit.hash", "f" * 64), 9, CHANGED),
    "a changed previous hash": (sets("audit.previous", "f" * 64), 9, FOLLOWS),
    "a place that is no place": (sets("audit.hash", 7), 0, "its place can not be read"),
    "an unsealed line": (unsets("audit"), 9, "line 9 is missing"),
    "a number that is none": (sets("audit.seq", "nine"), 9, "line 9 is missing"),
    "a removed line": (removes(9), 9, "line 9 is missing"),
    "the first line removed": (removes(1), 1, "line 1 is missing"),
    "several lines removed": (removes(5, 6, 7), 5, "line 5 is missing"),
    "the last line removed": (removes(20), 20, "the chain is cut off: it had 20 lines"),
    "the end cut off": (removes(*range(16, 21)), 16, "the chain is cut off: it had 20 lines"),
    "all lines removed": (removes(*range(1, 21)), 1, "the chain is cut off: it had 20 lines"),
    "two lines that changed numbers": (swap_numbers, 9, FOLLOWS),
    "two lines that changed places": (swap_contents, 9, CHANGED),
    "a line in between": (forge_in_between, 0, "its place can not be read"),
    "a chain that was written anew": (
        rewrite_chain,
        20,
        "the head row does not fit the last line",
    ),
    "chain and head written anew": (rewrite_chain_and_head, 20, FORGED_HEAD),
    "all of it, signed by another key": (rewrite_all_and_sign_by_another_key, 20, FORGED_HEAD),
    "the end cut off with the head": (cut_off_with_head, 15, FORGED_HEAD),
    "a trimming that was none": (pretend_it_was_trimmed, 20, FORGED_HEAD),
    "a head that counts less": (heads({"$inc": {"count": -1}}), 19, FORGED_HEAD),
    "a head that counts more": (heads({"$inc": {"count": 1}}), 21, FORGED_HEAD),
    "a head without its hash": (heads({"$unset": {"hash": ""}}), 0, "the head row can not be read"),
    "a signature of no key": (heads({"$set": {"mac": "k0.00"}}), 0, "The key 'k0' that signed"),
    "a head that is gone": (remove_head, 0, "the head row is gone"),
    "everything gone": (remove_everything, 0, "the whole chain is gone"),
    "a line that is not in the chain": (insert_unsealed, 0, "it is in the log, but not in the"),
    "a line below the first": (insert_numbered_below, 0, "it is in the log, but not in the chain"),
}


async def found(api: Api, person: Person, *, batch: int) -> Finding:
    finding = (await walk(api, person.company_id, batch=batch)).finding
    assert finding is not None
    return finding


@pytest.mark.parametrize("attack", ATTACKS)
async def test_a_change_is_found_and_named(api: Api, ada: Person, attack: str) -> None:
    do, line, problem = ATTACKS[attack]
    rows = await chain_of(api, ada.company_id)
    await do(api, rows)
    finding = await found(api, ada, batch=6)
    assert (finding.seq, finding.problem[: len(problem)]) == (line, problem)
    assert await found(api, ada, batch=1_000) == finding
    if finding.problem in (CHANGED, FOLLOWS):
        (named,) = await api.rows("events", _id=finding.event_id)
        assert named["audit"]["seq"] == line


@pytest.mark.parametrize("attack", ["a flipped character", "a removed line", "the end cut off"])
async def test_going_on_sealing_does_not_hide_it(api: Api, ada: Person, attack: str) -> None:
    do, line, _ = ATTACKS[attack]
    await do(api, await chain_of(api, ada.company_id))
    await make_tasks(ada, 5)
    await pump(api)
    await Sealer(api.runtime).seal_waiting()
    assert (await found(api, ada, batch=6)).seq == line


async def test_anothers_broken_chain_is_not_ones_own(api: Api, ada: Person) -> None:
    eve = await api.found_company()
    await seal(api)
    await change(api, (await chain_of(api, eve.company_id))[0]["_id"], {"$set": {"type": "x"}})
    await assert_whole(api, ada.company_id)
    ctx = api.context(SYSTEM)
    broken = [one.company_id async for one in service.verify(ctx) if one.finding is not None]
    assert eve.company_id in broken
    assert ada.company_id not in broken


async def test_all_chains_are_walked_the_platforms_too(api: Api, ada: Person) -> None:
    await api.add_operator()
    await seal(api)
    walked = [report.company_id async for report in service.verify(api.context(SYSTEM))]
    assert {ada.company_id, "platform"} <= set(walked)
    assert len(walked) == len(set(walked))
    (one,) = [report async for report in service.verify(api.context(SYSTEM), ada.company_id)]
    assert (one.company_id, one.lines, one.finding) == (ada.company_id, 20, None)


async def test_a_company_of_a_moment_ago_is_whole_without_a_chain(api: Api) -> None:
    bob = await api.found_company()
    report = await walk(api, bob.company_id)
    assert (report.lines, report.waiting, report.finding) == (0, 3, None)


async def test_lines_that_wait_are_no_finding_however_long(api: Api) -> None:
    bob = await api.found_company()
    await api.runtime.db.raw["companies"].update_one(
        {"_id": bob.company_id},
        {"$set": {"createdAt": api.runtime.clock() - timedelta(days=1)}},
    )
    assert (await walk(api, bob.company_id)).finding is None


async def test_an_unknown_company_is_not_whole_but_unknown(api: Api) -> None:
    with pytest.raises(NotFound):
        _ = [report async for report in service.verify(api.context(SYSTEM), "0" * 24)]


async def test_only_the_operator_walks(api: Api, ada: Person) -> None:
    with pytest.raises(Forbidden):
        _ = [one async for one in service.verify(api.context(as_principal(ada)), ada.company_id)]
