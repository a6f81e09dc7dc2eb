"""Runs of workflows and their steps: documents, what may be asked, and the events at their end."""

from datetime import datetime
from enum import StrEnum
from typing import Annotated, Any, Literal

import msgspec

from novapulse.core import paging
from novapulse.core.errors import Conflict, TooManyRequests
from novapulse.core.events import Cause, Event, event
from novapulse.identity.model import Command
from novapulse.people.model import Cursor, Limit

# How many runs may come one from the other, through events or `run_workflow`.
MAX_DEPTH = 5
MAX_ERROR_CHARACTERS = 500
Fields = dict[str, Any]


class NotRetryable(Conflict):
    code = "run_not_failed"
    title = "Only a failed run can be retried"


class TooManyRuns(TooManyRequests):
    code = "too_many_runs"
    title = "This workflow ran too often within a minute"

    def __init__(self) -> None:
        super().__init__(retry_after_seconds=60)


class TooDeep(Conflict):
    code = "workflow_loop"
    title = f"More than {MAX_DEPTH} runs came one from the other"


class RunState(StrEnum):
    PENDING = "pending"
    RUNNING = "running"
    COMPLETED = "completed"
    FAILED = "failed"
    SKIPPED = "skipped"  # it was not to run: its conditions, or the guard against loops
    DRY_RUN = "dry_run"  # shown, never kept


class StepState(StrEnum):
    PENDING = "pending"
    RUNNING = "running"
    WAITING = "waiting"
    COMPLETED = "completed"
    FAILED = "failed"


OPEN_STEPS = (StepState.PENDING, StepState.RUNNING, StepState.WAITING)


class Origin(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """Why a run was started: the event, the time, the person or the run that did it."""

    type: Literal["event", "schedule", "manual", "workflow"]
    event_id: str | None = None
    event_type: str | None = None
    scheduled_at: datetime | None = None
    user_id: str | None = None
    run_id: str | None = None


class Run(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """`depth` counts the runs that came one from the other up to this one."""

    id: str
    workflow_id: str
    workflow_name: str
    workflow_version: int
    state: RunState
    origin: Origin
    depth: int = 1
    retries: int = 0
    error: str | None = None
    created_at: datetime
    started_at: datetime | None = None
    finished_at: datetime | None = None
    duration_ms: int | None = None


class RunRecord(Run, frozen=True, kw_only=True, rename="camel"):
    """As it is kept: `context` (JSON) feeds the templates; `open` and `failed` name the
    steps of the present stage; `check_at` is there while a job has to start it,
    `expires_at` once it has ended.
    """

    context: str = "{}"
    open: tuple[str, ...] = ()
    failed: tuple[str, ...] = ()
    job_id: str | None = None
    check_at: datetime | None = None
    expires_at: datetime | None = None

    def scope(self) -> dict[str, Any]:
        """What its templates and conditions see, but for the steps."""
        context = msgspec.json.decode(self.context)
        workflow = {"id": self.workflow_id, "name": self.workflow_name}
        return scope_of(context, workflow=workflow, run={"id": self.id, "depth": self.depth})

    def cause(self) -> Cause:
        """What the events and jobs that come from it carry."""
        return Cause(run_id=self.id, depth=self.depth)


def scope_of(context: Fields, *, workflow: Fields, run: Fields) -> Fields:
    """What templates and conditions see: `data` has the fields of an event's resource, too."""
    scope = {**context, "workflow": workflow, "run": run}
    if event := scope.get("event"):
        resource = event["data"].get(event["type"].partition(".")[0])
        fields = resource if isinstance(resource, dict) else {}
        scope["event"] = {**event, "data": {**fields, **event["data"]}}
    return scope


class Step(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """One action of a run; `duration_ms` is of its last attempt."""

    id: str
    stage: int
    branch: int
    action: str
    name: str | None = None
    state: StepState = StepState.PENDING
    attempt: int = 0
    input: Any = None
    output: Any = None
    error: str | None = None
    started_at: datetime | None = None
    finished_at: datetime | None = None
    wakes_at: datetime | None = None
    duration_ms: int | None = None


class StepRecord(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """As it is kept: JSON as text, because what others answer may not be valid as a document."""

    id: str
    run_id: str
    stage: int
    branch: int
    action: str
    name: str | None = None
    state: StepState = StepState.PENDING
    attempt: int = 0
    template: str
    input: str | None = None
    output: str | None = None
    error: str | None = None
    started_at: datetime | None = None
    finished_at: datetime | None = None
    wakes_at: datetime | None = None
    duration_ms: int | None = None
    job_id: str | None = None
    check_at: datetime | None = None
    expires_at: datetime | None = None

    @property
    def place(self) -> str:
        """`2.0`: the stage, and the place in it."""
        return f"{self.stage}.{self.branch}"

    def shown(self, *, is_open: bool) -> Step:
        """As the API shows it; what went through it only to those for whom it `is_open`."""
        fields = {name: getattr(self, name) for name in Step.__struct_fields__}
        for name in ("input", "output"):
            text = fields[name] if is_open else None
            fields[name] = None if text is None else msgspec.json.decode(text)
        return Step(**fields)


class RunDetail(Run, frozen=True, kw_only=True, rename="camel"):
    """A run with its steps, in their order."""

    steps: tuple[Step, ...] = ()


class StartRun(Command, frozen=True, kw_only=True):
    """`input` is what templates find as `input`; `event_id` runs it as if that event came now.

    A dry run shows what would happen, and nothing happens.
    """

    input: dict[str, Any] = msgspec.field(default_factory=dict)
    event_id: Annotated[str, msgspec.Meta(pattern=r"^evt_[0-9a-z]{26}(?!\n)$")] | None = None
    dry_run: bool = False


class RunQuery(Command, frozen=True, kw_only=True):
    limit: Limit = paging.DEFAULT_LIMIT
    cursor: Cursor | None = None
    state: RunState | None = None


class EndedRun(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """What the events tell of a run; nothing that went through it."""

    id: str
    state: RunState
    origin: Origin
    depth: int
    error: str | None
    started_at: datetime | None
    finished_at: datetime | None
    duration_ms: int | None


class RunWorkflow(msgspec.Struct, frozen=True):
    """Which workflow it was that ran."""

    id: str
    name: str


@event("workflow.executed")
class WorkflowExecuted(Event, frozen=True, kw_only=True):
    workflow: RunWorkflow
    run: EndedRun


@event("workflow.failed")
class WorkflowFailed(Event, frozen=True, kw_only=True):
    workflow: RunWorkflow
    run: EndedRun
