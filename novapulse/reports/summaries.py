"""Reports that count: many rows pass by once, few are shown.

What is remembered meanwhile grows with the company's people and with the days
that are asked for, not with the rows that are counted.
"""

from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime, time, timedelta
from zoneinfo import ZoneInfo

import msgspec

from novapulse.core.context import Context
from novapulse.core.errors import Invalid
from novapulse.core.fields import TimeZone, zone_of
from novapulse.core.sources import SOURCES, Row, Selection, View

TASK_COLUMNS = ("group", "value", "label", "tasks")
PEOPLE_COLUMNS = (
    *("userId", "name", "email", "role", "status", "actions", "tasksCreated"),
    *("tasksCompleted", "comments", "signIns", "lastActiveAt"),
)
DAY_COLUMNS = (
    *("day", "events", "activePeople", "tasksCreated", "tasksCompleted"),
    *("deliveries", "delivered"),
)
MAX_DAYS = 366
_DEFAULT_DAYS = 30
_DONE = ("done", "cancelled")
_PEOPLE_ACTIONS = {
    "task.created": "tasksCreated",
    "task.completed": "tasksCompleted",
    "task.commented": "comments",
    "session.started": "signIns",
}


@dataclass(frozen=True, slots=True)
class Material:
    """What a report is made of: rows as its owner may see them, chosen by its params.

    `seen` is told how many rows went by.
    """

    ctx: Context
    source: str
    chosen: Selection
    own: str | None
    asked_at: datetime
    seen: Callable[[int], Awaitable[None]]

    def view(self, name: str) -> View:
        """The rows of a source; those of another one than the kind's are chosen by time only."""
        source = SOURCES[name]
        chosen = self.chosen
        if name != self.source:
            chosen = source.query(since=chosen.since, until=chosen.until)
        return source.look(self.ctx, chosen, self.own)

    async def batches(self, name: str) -> AsyncIterator[list[Row]]:
        async for rows in self.view(name).batches():
            yield rows
            await self.seen(len(rows))

    async def people(self) -> dict[str, Row]:
        """Everybody whom the owner may see, by id, the longest there first."""
        source = SOURCES["users"]
        view = source.look(self.ctx, source.query(), self.own)
        return {row["id"]: row async for rows in view.batches() for row in rows}


async def tasks(material: Material) -> AsyncIterator[list[Row]]:
    """How many tasks there are by each of their properties; what is open and late, too."""
    counts: dict[str, Counter[str]] = {
        name: Counter() for name in ("status", "priority", "assignee", "project", "createdOn")
    }
    total, overdue, now = 0, 0, material.asked_at
    async for rows in material.batches("tasks"):
        total += len(rows)
        for row in rows:
            counts["status"][row["status"]] += 1
            counts["priority"][row["priority"]] += 1
            counts["assignee"][row["assigneeId"] or ""] += 1
            counts["project"][row["projectId"] or ""] += 1
            counts["createdOn"][_day(row["createdAt"])] += 1
            is_late = row["dueAt"] is not None and row["dueAt"] < now
            overdue += is_late and row["status"] not in _DONE
    people = await material.people()
    yield [_task_row("total", "", number=total), _task_row("overdue", "", number=overdue)]
    for group, counter in counts.items():
        names = people if group == "assignee" else {}
        yield [
            _task_row(group, value, number=number, label=names.get(value, {}).get("name"))
            for value, number in sorted(counter.items())
        ]


def _task_row(group: str, value: str, *, number: int, label: str | None = None) -> Row:
    return {"group": group, "value": value, "label": label, "tasks": number}


async def people(material: Material) -> AsyncIterator[list[Row]]:
    """What each person of the company did; the program's own doings are nobody's."""
    found = {user_id: _person(row) for user_id, row in (await material.people()).items()}
    async for rows in material.batches("activity"):
        for row in rows:
            person = found.get(row["actor"])
            if person is None:
                continue
            person["actions"] += 1
            person["lastActiveAt"] = row["createdAt"]
            if (column := _PEOPLE_ACTIONS.get(row["action"])) is not None:
                person[column] += 1
    yield list(found.values())


def _person(row: Row) -> Row:
    person = dict.fromkeys(PEOPLE_COLUMNS, 0) | {
        name: row[name] for name in ("name", "email", "role", "status")
    }
    return {**person, "userId": row["id"], "lastActiveAt": None}


class DaySelection(Selection, frozen=True, kw_only=True):
    """`time_zone` is where days begin and end: UTC unless told."""

    time_zone: TimeZone | None = None

    def zone(self) -> ZoneInfo:
        """Raises Invalid for one that this machine does not know."""
        return zone_of(self.time_zone or "UTC", "timeZone")


@dataclass(slots=True)
class _Day:
    """Rows come in the order of time: who was active is remembered for one day only."""

    active: set[str] = field(default_factory=set)
    name: str = ""

    def note(self, day: Row, actor: str) -> None:
        if day["day"] != self.name:
            self.name = day["day"]
            self.active.clear()
        if actor not in self.active:
            self.active.add(actor)
            day["activePeople"] += 1


async def days(material: Material) -> AsyncIterator[list[Row]]:
    """How much the company did on each day; days without anything have their row, too."""
    chosen = material.chosen
    assert isinstance(chosen, DaySelection)  # noqa: S101  # the kind's query
    zone = chosen.zone()
    since, until = span_of_days(chosen, material.asked_at)
    asked = replace(material, chosen=msgspec.structs.replace(chosen, since=since, until=until))
    table = {name: _empty_day(name) for name in names_of_days(since, until, zone)}
    today = _Day()
    async for rows in asked.batches("activity"):
        for row in rows:
            day = table[_day(row["createdAt"].astimezone(zone))]
            day["events"] += 1
            day["tasksCreated"] += row["action"] == "task.created"
            day["tasksCompleted"] += row["action"] == "task.completed"
            if _is_person(row["actor"]):
                today.note(day, row["actor"])
    async for rows in asked.batches("deliveries"):
        for row in rows:
            day = table[_day(row["createdAt"].astimezone(zone))]
            day["deliveries"] += 1
            day["delivered"] += row["state"] == "delivered"
    yield list(table.values())


def check_days(chosen: DaySelection) -> None:
    """Raises Invalid for a span with more days than are shown, or no zone to count them in."""
    chosen.zone()
    since, until = chosen.moment("since"), chosen.moment("until")
    if since is not None and until is not None and until - since > timedelta(days=MAX_DAYS):
        raise Invalid.field("from", f"lies more than {MAX_DAYS} days before to")


def span_of_days(chosen: DaySelection, now: datetime) -> tuple[datetime, datetime]:
    """What is asked for, or the thirty days that its end is in the last of; at most a year.

    A beginning that nobody chose is that of a day, so that its row is of all of it.
    """
    until = chosen.moment("until") or now
    since = chosen.moment("since")
    if since is None:
        return _start_of(_DEFAULT_DAYS, until, chosen.zone()), until
    if until - since > timedelta(days=MAX_DAYS):
        return _start_of(MAX_DAYS, until, chosen.zone()), until
    return since, until


def names_of_days(since: datetime, until: datetime, zone: ZoneInfo) -> list[str]:
    """Every day of the zone that has a moment from `since` on and before `until`."""
    first, last = since.astimezone(zone).date(), _last_day(until, zone)
    return [(first + timedelta(days=ahead)).isoformat() for ahead in range((last - first).days + 1)]


def _start_of(days: int, until: datetime, zone: ZoneInfo) -> datetime:
    """When the first of so many days began."""
    first = _last_day(until, zone) - timedelta(days=days - 1)
    return datetime.combine(first, time(), zone).astimezone(UTC)


def _last_day(until: datetime, zone: ZoneInfo) -> date:
    return (until - timedelta(milliseconds=1)).astimezone(zone).date()


def _empty_day(name: str) -> Row:
    return {**dict.fromkeys(DAY_COLUMNS, 0), "day": name}


def _is_person(actor: str) -> bool:
    return actor not in ("system", "anonymous")


def _day(moment: datetime) -> str:
    return moment.date().isoformat()
