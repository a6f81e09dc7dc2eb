"""Use cases on report schedules, and the leader's step that starts what is due."""

import asyncio
from contextlib import suppress
from dataclasses import replace
from datetime import datetime

import msgspec
import structlog

from novapulse.core import paging
from novapulse.core.access import SYSTEM, Principal, Role, Scope
from novapulse.core.clock import SKEW
from novapulse.core.context import Context, Runtime, Transaction
from novapulse.core.documents import changed_fields, given_fields, new_object_id
from novapulse.core.errors import Error, Invalid, TransientConflict, Unavailable, VersionConflict
from novapulse.core.ids import new_id
from novapulse.core.paging import Listing
from novapulse.identity.model import User
from novapulse.people.store import MemberStore, OwnCompanyStore, find_operator
from novapulse.reports import service as reports
from novapulse.reports.kinds import KINDS, selection_of
from novapulse.reports.model import NewReport, TooManyReports
from novapulse.schedules.model import (
    MAX_SCHEDULES,
    ChangeSchedule,
    NewSchedule,
    Schedule,
    ScheduleCreated,
    ScheduleDeleted,
    ScheduleQuery,
    ScheduleStopped,
    ScheduleUpdated,
    TooManySchedules,
)
from novapulse.schedules.store import (
    ScheduleStore,
    due_schedules,
    planned_schedules,
    set_next_run,
)

log = structlog.get_logger("reports")


async def create_schedule(ctx: Context, command: NewSchedule) -> Schedule:
    """Have a report made again and again, as the caller.

    Raises Forbidden, Invalid or TooManySchedules.
    """
    ctx.require(Scope.REPORTS_WRITE)
    now = ctx.now()
    schedule = Schedule(
        id=new_object_id(),
        name=command.name,
        kind=command.kind,
        format=command.format,
        params=command.params,
        plan=command.plan,
        window=command.window,
        is_active=command.is_active,
        owner_id=ctx.principal.user_id,
        next_run_at=None,
        created_at=now,
        updated_at=now,
    )
    schedule = _planned(ctx, schedule, at=now)
    async with ctx.transaction() as tx:
        store = ScheduleStore(tx, own=ctx.principal.user_id)
        if await store.count(limit=MAX_SCHEDULES) >= MAX_SCHEDULES:
            raise TooManySchedules()
        await store.insert(schedule)
        tx.record(ScheduleCreated(schedule=schedule))
    return schedule


async def get_schedule(ctx: Context, schedule_id: str) -> Schedule:
    """Raises NotFound."""
    return await _schedules(ctx).get(schedule_id)


async def list_schedules(ctx: Context, query: ScheduleQuery) -> Listing[Schedule]:
    """The caller's schedules, or the company's, newest first."""
    return paging.listing(await _schedules(ctx).page(query), query.limit)


async def change_schedule(
    ctx: Context, schedule_id: str, *, change: ChangeSchedule, if_version: int | None = None
) -> Schedule:
    """Change some fields; changing nothing writes nothing. It still runs as its owner.

    Raises NotFound, VersionConflict, Forbidden or Invalid.
    """
    own = reports.own_id(ctx, Scope.REPORTS_WRITE)
    async with ctx.transaction() as tx:
        store = ScheduleStore(tx, own=own)
        before = await store.get(schedule_id)
        if if_version is not None and before.version != if_version:
            raise VersionConflict()
        now = ctx.now()
        after = msgspec.structs.replace(
            before, **given_fields(change), updated_at=now, version=before.version + 1
        )
        changed = changed_fields(before, after)
        if not changed:
            return before
        after = _planned(ctx, msgspec.structs.replace(after, error=None), at=now)
        await store.replace(after, if_version=before.version)
        tx.record(ScheduleUpdated(schedule=after, changed=changed))
    return after


async def delete_schedule(ctx: Context, schedule_id: str, *, if_version: int | None = None) -> None:
    """Raises NotFound or VersionConflict."""
    own = reports.own_id(ctx, Scope.REPORTS_WRITE)
    async with ctx.transaction() as tx:
        store = ScheduleStore(tx, own=own)
        schedule = await store.get(schedule_id)
        if if_version is not None and schedule.version != if_version:
            raise VersionConflict()
        await store.delete(schedule_id)
        tx.record(ScheduleDeleted(schedule=schedule))


def _schedules(ctx: Context) -> ScheduleStore:
    """Those that the caller may see."""
    return ScheduleStore(ctx.read(), own=reports.own_id(ctx, Scope.REPORTS_READ))


def _planned(ctx: Context, schedule: Schedule, *, at: datetime) -> Schedule:
    """With its next run, if its owner may have such reports at all; raises Forbidden or Invalid."""
    ctx.require(KINDS[schedule.kind].scope)
    selection_of(schedule.kind, schedule.params_at(at))
    next_run = schedule.plan.next_after(at)
    return msgspec.structs.replace(schedule, next_run_at=next_run if schedule.is_active else None)


# The leader's step


async def start_due(runtime: Runtime, *, limit: int = 50) -> int:
    """Ask for the reports of schedules that are due, as their owners; how many were due.

    However many runs were missed, one is made.
    """
    due = await due_schedules(runtime.db, now=runtime.clock(), limit=limit)
    for company_id, schedule_id in due:
        acting = replace(SYSTEM, company_id=company_id)
        ctx = Context(runtime, acting, request_id=new_id("run"), via="job")
        try:
            await _start(ctx, schedule_id)
        except TransientConflict:
            continue  # its owner changes it right now: the next look sees how
        except Unavailable:
            raise
        except Error as error:
            await _stop(ctx, schedule_id, reason=error.detail)
    return len(due)


async def pull_back(runtime: Runtime, *, now: datetime) -> None:
    """Give schedules their next run again where a clock that was ahead put it off for long."""
    for schedule in await planned_schedules(runtime.db, after=now + SKEW):
        await asyncio.sleep(0)  # there may be many
        was = schedule.next_run_at
        if now + SKEW < schedule.created_at:
            continue  # our own clock is the wrong one
        with suppress(Invalid):  # a time zone that this machine does not know
            if was is not None and schedule.plan.next_after(now + SKEW) < was:
                next_run = schedule.plan.next_after(now)
                await set_next_run(runtime.db, schedule, next_run_at=next_run)
                log.warning("report.pulled_back", scheduleId=schedule.id)


async def _start(ctx: Context, schedule_id: str) -> None:
    """One run and the next one's time, together or not at all.

    A suspended company gets no reports, which nobody there could read; its
    schedules go on when it is resumed.
    """
    async with ctx.transaction() as tx:
        store, now = ScheduleStore(tx), ctx.now()
        schedule = await store.find(schedule_id)
        if schedule is None or schedule.next_run_at is None or schedule.next_run_at > now:
            return
        after = msgspec.structs.replace(
            schedule, next_run_at=schedule.plan.next_after(now), version=schedule.version + 1
        )
        if (await OwnCompanyStore(tx).get()).status == "active":
            owner = await _owner(tx, schedule)
            if owner.status != "active":
                await _stop(ctx, schedule_id, reason="Its owner's account is disabled")
                return
            after = await _run(ctx, after, owner=owner, due_at=schedule.next_run_at)
        await store.replace(after, if_version=schedule.version)


async def _owner(tx: Transaction, schedule: Schedule) -> User:
    """A member of the company, or an operator who acted on it; raises NotFound."""
    operator = await find_operator(tx, schedule.owner_id)
    return operator or await MemberStore(tx).get(schedule.owner_id)


async def _run(ctx: Context, schedule: Schedule, *, owner: User, due_at: datetime) -> Schedule:
    """Ask for the report of the run that was due then; the schedule, with what came of it."""
    principal = Principal(
        user_id=owner.id,
        role=owner.role,
        company_id=ctx.company_id,
        is_operator=owner.role is Role.SUPER_ADMIN,
    )
    command = NewReport(
        kind=schedule.kind, format=schedule.format, params=schedule.params_at(due_at)
    )
    try:
        report = await reports.request_as(ctx, principal, command=command, schedule_id=schedule.id)
    except TooManyReports as error:  # the next run may find room
        return msgspec.structs.replace(schedule, last_run_at=ctx.now(), error=error.detail)
    return msgspec.structs.replace(
        schedule, last_run_at=ctx.now(), last_report_id=report.id, error=None
    )


async def _stop(ctx: Context, schedule_id: str, *, reason: str) -> None:
    """It would fail the same way each time: its owner has to look at it."""
    async with ctx.transaction() as tx:
        store = ScheduleStore(tx)
        schedule = await store.find(schedule_id)
        if schedule is None:  # deleted meanwhile
            return
        stopped = msgspec.structs.replace(
            schedule,
            is_active=False,
            next_run_at=None,
            error=reason,
            updated_at=ctx.now(),
            version=schedule.version + 1,
        )
        await store.replace(stopped, if_version=schedule.version)
        tx.record(ScheduleStopped(schedule=stopped))
    log.warning("report.schedule_stopped", scheduleId=schedule_id, reason=reason)
