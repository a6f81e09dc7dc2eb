"""Schedules: which report is made when, and what of; pure."""

from datetime import UTC, date, datetime, time, timedelta
from enum import StrEnum
from typing import Annotated, Any
from zoneinfo import ZoneInfo

import msgspec
from msgspec import UNSET, UnsetType

from novapulse.core import errors, paging
from novapulse.core.events import Event, event
from novapulse.core.fields import TimeZone, zone_of
from novapulse.identity.model import Command, Name
from novapulse.people.model import Cursor, Limit
from novapulse.reports.model import ReportFormat, ReportKind

MAX_SCHEDULES = 50
_AT = Annotated[str, msgspec.Meta(pattern=r"^([01][0-9]|2[0-3]):[0-5][0-9](?!\n)$")]
_Weekday = Annotated[int, msgspec.Meta(ge=1, le=7)]
_MonthDay = Annotated[int, msgspec.Meta(ge=1, le=28)]


class TooManySchedules(errors.Conflict):
    code = "too_many_schedules"
    title = f"A user has at most {MAX_SCHEDULES} report schedules"


class Frequency(StrEnum):
    DAILY = "daily"
    WEEKLY = "weekly"
    MONTHLY = "monthly"


class Window(StrEnum):
    """What a run is about: the day, week or month before, or everything."""

    PERIOD = "period"
    ALL = "all"


class Plan(Command, frozen=True, kw_only=True):
    """When: at `at` in `time_zone`, on `weekday` (1 is Monday) or on `day` of the month."""

    frequency: Frequency
    at: _AT = "06:00"
    time_zone: TimeZone = "UTC"
    weekday: _Weekday = 1
    day: _MonthDay = 1

    def zone(self) -> ZoneInfo:
        """Raises Invalid for one that this machine does not know."""
        return zone_of(self.time_zone, "plan.timeZone")

    def next_after(self, moment: datetime) -> datetime:
        """The first time in UTC that lies after `moment`."""
        zone = self.zone()
        today = moment.astimezone(zone).date()
        for ahead in range(-1, 63):
            found = self._on(today + timedelta(days=ahead), zone)
            if found is not None and found > moment:
                return found
        raise AssertionError("every plan comes within two months")

    def _on(self, day: date, zone: ZoneInfo) -> datetime | None:
        if self.frequency is Frequency.WEEKLY and day.isoweekday() != self.weekday:
            return None
        if self.frequency is Frequency.MONTHLY and day.day != self.day:
            return None
        hour, minute = map(int, self.at.split(":"))
        return datetime.combine(day, time(hour, minute), zone).astimezone(UTC)

    def period_before(self, moment: datetime) -> tuple[datetime, datetime]:
        """The last whole day, seven days or month before `moment`'s day, in UTC."""
        zone = self.zone()
        end = moment.astimezone(zone).date()
        if self.frequency is Frequency.MONTHLY:
            end = end.replace(day=1)
            start = (end - timedelta(days=1)).replace(day=1)
        else:
            start = end - timedelta(days=7 if self.frequency is Frequency.WEEKLY else 1)
        first, last = (datetime.combine(day, time(), zone).astimezone(UTC) for day in (start, end))
        return first, last


class NewSchedule(Command, frozen=True):
    """`params` as a report's, without `from` and `to` where the window is the period."""

    name: Name
    kind: ReportKind
    format: ReportFormat
    plan: Plan
    params: dict[str, Any] = msgspec.field(default_factory=dict)
    window: Window = Window.PERIOD
    is_active: bool = True


class ChangeSchedule(Command, frozen=True):
    """A merge patch: fields that are left out stay as they are; `plan` is given whole."""

    name: Name | UnsetType = UNSET
    format: ReportFormat | UnsetType = UNSET
    params: dict[str, Any] | UnsetType = UNSET
    plan: Plan | UnsetType = UNSET
    window: Window | UnsetType = UNSET
    is_active: bool | UnsetType = UNSET


class ScheduleQuery(Command, frozen=True):
    limit: Limit = paging.DEFAULT_LIMIT
    cursor: Cursor | None = None


class Schedule(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """`error` says why the last run made no report; one that would always fail is not active."""

    id: str
    name: str
    kind: ReportKind
    format: ReportFormat
    params: dict[str, Any]
    plan: Plan
    window: Window
    is_active: bool
    owner_id: str
    next_run_at: datetime | None
    last_run_at: datetime | None = None
    last_report_id: str | None = None
    error: str | None = None
    created_at: datetime
    updated_at: datetime
    version: int = 1

    def params_at(self, due_at: datetime) -> dict[str, Any]:
        """A report's params for the run that was due then."""
        params = self.params
        if self.kind is ReportKind.USAGE:  # its days are those that the period is made of
            params = {"timeZone": self.plan.time_zone, **params}
        if self.window is Window.ALL:
            return params
        start, end = self.plan.period_before(due_at)
        return {**params, "from": start, "to": end}


@event("schedule.created", is_public=False)
class ScheduleCreated(Event, frozen=True, kw_only=True):
    schedule: Schedule


@event("schedule.updated", is_public=False)
class ScheduleUpdated(Event, frozen=True, kw_only=True):
    schedule: Schedule


@event("schedule.deleted", is_public=False)
class ScheduleDeleted(Event, frozen=True, kw_only=True):
    schedule: Schedule


@event("schedule.stopped", is_public=False)
class ScheduleStopped(Event, frozen=True, kw_only=True):
    schedule: Schedule
