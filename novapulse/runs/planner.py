"""From events and from the clock to runs; the leading scheduler's part.

A run's id derives from its event (or its time) and its workflow: whatever is
planned again meets the run that is there.
"""

import asyncio
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import NamedTuple

import msgspec
import structlog

from novapulse.core.clock import SKEW
from novapulse.core.context import Runtime
from novapulse.core.errors import Invalid
from novapulse.core.events import EventRow, matches
from novapulse.core.ids import derived_id
from novapulse.core.jobs.rows import NewJob
from novapulse.core.mongo import Document
from novapulse.core.pump import Plan
from novapulse.rules import conditions
from novapulse.runs import starting
from novapulse.runs.model import MAX_DEPTH, Origin, RunRecord, RunState, scope_of
from novapulse.runs.store import RUNS, AllRuns, run_row
from novapulse.workflows import checking
from novapulse.workflows.model import EventTrigger, Workflow
from novapulse.workflows.store import AllWorkflows

log = structlog.get_logger("workflows")
_DUE_AT_ONCE = 500


class Planned(NamedTuple):
    """A run with what its job carries on from its event."""

    company_id: str
    request_id: str
    run: RunRecord
    trace: str | None = None


async def plan_runs(runtime: Runtime, events: Sequence[EventRow], plan: Plan) -> None:
    """The runs that these events start, and their jobs."""
    triggered = await AllWorkflows(runtime.db).triggered(
        sorted({event.company_id for event in events})
    )
    by_company: dict[str, list[Workflow]] = {}
    for company_id, workflow in triggered:
        by_company.setdefault(company_id, []).append(workflow)
    wanted: list[Planned] = []
    for event in events:
        if workflows := by_company.get(event.company_id):
            context = {**starting.event_context(event), "input": {}}
            for workflow in workflows:
                run = await _run(workflow, event, context) if _listens(workflow, event) else None
                if run is not None:
                    wanted.append(Planned(event.company_id, event.request_id, run, event.trace))
    admitted = await _admitted(runtime, wanted)
    plan.insert(RUNS, [run_row(one.company_id, one.run) for one in admitted])
    plan.enqueue(_jobs(runtime, admitted))


async def start_scheduled(runtime: Runtime, *, now: datetime) -> int:
    """Start what is due by the clock, once for all times that passed meanwhile; how many runs."""
    workflows = AllWorkflows(runtime.db)
    planned: list[Planned] = []
    due = await workflows.due(now, limit=_DUE_AT_ONCE)
    for company_id, at, workflow in due:
        origin = Origin(type="schedule", scheduled_at=at)
        context = {"scheduledAt": at, "input": {}}
        run_id = derived_id("wfr", _stamp(at), workflow.id)
        run = starting.new_run(workflow, run_id=run_id, at=now, origin=origin, context=context)
        planned.append(Planned(company_id, run_id, _with_job(run)))
    if not planned:
        return 0
    runs = AllRuns(runtime.db)
    await runs.insert_missing([(one.company_id, one.run) for one in planned])
    await runs.insert_jobs(_jobs(runtime, planned))
    runtime.bell.ring("workflow")
    for _, at, workflow in due:
        await workflows.set_next(workflow, was=at, next_at=_next(workflow, now))
    return len(planned)


async def pull_back(runtime: Runtime, *, now: datetime) -> None:
    """Give workflows their next time again where a clock that was ahead put it off for long."""
    workflows = AllWorkflows(runtime.db)
    async for at, workflow in workflows.planned(after=now + SKEW):
        await asyncio.sleep(0)  # there may be many, and a rare time takes a while to find
        latest = _next(workflow, now + SKEW)
        is_behind = now + SKEW < workflow.created_at  # our own clock is the wrong one
        if latest is not None and latest < at and not is_behind:
            await workflows.set_next(workflow, was=at, next_at=_next(workflow, now))
            log.warning("workflow.pulled_back", workflowId=workflow.id)


def _stamp(moment: datetime) -> str:
    """What ids of that time derive from."""
    return f"min_{round(moment.timestamp()):010x}"


def _next(workflow: Workflow, now: datetime) -> datetime | None:
    try:
        return checking.next_time(workflow, after=now)
    except Invalid as error:  # a time zone that this machine does not know
        log.warning("workflow.not_scheduled", workflowId=workflow.id, error=error.detail)
        return None


def _listens(workflow: Workflow, event: EventRow) -> bool:
    """Whether the trigger covers the event; the end of its own run starts no workflow."""
    trigger = workflow.trigger
    if not isinstance(trigger, EventTrigger) or not matches(trigger.event, event.type):
        return False
    return not (event.type.startswith("workflow.") and event.resource_id == workflow.id)


async def _run(workflow: Workflow, event: EventRow, context: Document) -> RunRecord | None:
    """The run by this event, or None if the conditions do not hold."""
    run_id = derived_id("wfr", event.id, workflow.id)
    depth = event.cause.depth + 1 if event.cause else 1
    if workflow.conditions is not None:
        await asyncio.sleep(0)  # many take long together: the leader beats between them
        named = {"id": workflow.id, "name": workflow.name}
        scope = scope_of(context, workflow=named, run={"id": run_id, "depth": depth})
        try:
            if not conditions.holds(workflow.conditions, scope):
                return None
        except Exception:  # one company's workflow must not hold up everybody's events
            log.exception("workflow.not_planned", workflowId=workflow.id, eventId=event.id)
            return None
    origin = Origin(type="event", event_id=event.id, event_type=event.type)
    run = starting.new_run(
        workflow, run_id=run_id, at=event.created_at, origin=origin, context=context, depth=depth
    )
    return _with_job(run)


def _with_job(run: RunRecord) -> RunRecord:
    return msgspec.structs.replace(run, job_id=derived_id("job", run.id))


async def _admitted(runtime: Runtime, wanted: Sequence[Planned]) -> list[Planned]:
    """Those within the guard against loops; of others one a minute and workflow, as skipped."""
    most = runtime.settings.workflows.max_runs_per_minute
    minutes: dict[tuple[str, datetime], list[Planned]] = {}
    for planned in wanted:
        run = planned.run
        minutes.setdefault((run.workflow_id, starting.minute_of(run.created_at)), []).append(
            planned
        )
    admitted: list[Planned] = []
    cut: list[Planned] = []
    for (workflow_id, minute), group in minutes.items():
        deep = [one for one in group if one.run.depth > MAX_DEPTH]
        good = [one for one in group if one.run.depth <= MAX_DEPTH]
        before = await AllRuns(runtime.db).count_in(
            minute,
            workflow_id,
            company_id=group[0].company_id,
            but=[one.run.id for one in good],
            limit=most,
        )
        room = max(0, most - before)
        admitted += good[:room]
        reason = f"more than {MAX_DEPTH} runs came one from the other"
        cut += [_cut(runtime, one, reason=reason) for one in deep[:1]]
        if good[room:]:
            reason = f"more than {most} runs within a minute"
            cut.append(_cut(runtime, good[room], reason=reason))
    if cut:
        told = await AllRuns(runtime.db).known([one.run.id for one in cut])
        admitted += [one for one in cut if one.run.id not in told]
    return admitted


def _cut(runtime: Runtime, planned: Planned, *, reason: str) -> Planned:
    run = planned.run
    log.warning(
        "workflow.cut", workflowId=run.workflow_id, companyId=planned.company_id, reason=reason
    )
    minute, now = starting.minute_of(run.created_at), runtime.clock()
    skipped = msgspec.structs.replace(
        run,
        id=derived_id("wfr", _stamp(minute), run.workflow_id, reason),
        state=RunState.SKIPPED,
        error=reason,
        job_id=None,
        check_at=None,
        finished_at=now,
        expires_at=now + timedelta(days=runtime.settings.workflows.run_keep_days),
    )
    return planned._replace(run=skipped)


def _jobs(runtime: Runtime, planned: Sequence[Planned]) -> list[Document]:
    jobs = [
        NewJob(
            kind="workflow.run",
            payload={"run_id": one.run.id},
            company_id=one.company_id,
            request_id=one.request_id,
            id=one.run.job_id,
            trace=one.trace,
        )
        for one in planned
        if one.run.state is RunState.PENDING
    ]
    return [runtime.job_row(job) for job in jobs]
