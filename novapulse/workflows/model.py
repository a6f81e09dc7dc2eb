"""Workflows as people write them: trigger → conditions → actions; how they run is in `runs`."""

from collections.abc import Iterator
from datetime import datetime
from typing import Annotated, Any

import msgspec
from msgspec import UNSET, UnsetType

from novapulse.core import paging
from novapulse.core.documents import given_fields
from novapulse.core.errors import Conflict
from novapulse.core.events import Event, event
from novapulse.core.fields import NO_CONTROL, NO_NUL
from novapulse.identity.model import Command
from novapulse.people.model import Cursor, Limit
from novapulse.rules.conditions import Condition

MAX_WORKFLOWS = 200
MAX_STEPS = 100
PARALLEL = "parallel"
DELAY = "delay"
# What readers who may not run workflows get instead of a value that may be a secret.
HIDDEN = "[hidden]"

Name = Annotated[str, msgspec.Meta(min_length=1, max_length=200, pattern=NO_CONTROL)]
Text = Annotated[str, msgspec.Meta(max_length=2_000, pattern=NO_NUL)]
EventPattern = Annotated[
    str, msgspec.Meta(pattern=r"^(\*|[a-z_]+\.(\*|[a-z_]+))(?!\n)$", max_length=100)
]
StepName = Annotated[str, msgspec.Meta(max_length=50, pattern=r"^[A-Za-z_][A-Za-z0-9_]*(?!\n)$")]


class TooManyWorkflows(Conflict):
    code = "too_many_workflows"
    title = f"A company has at most {MAX_WORKFLOWS} workflows"


class EventTrigger(
    msgspec.Struct, frozen=True, tag="event", tag_field="type", forbid_unknown_fields=True
):
    """Whenever an event of this type, of `resource.*`, or any (`*`) happened."""

    event: EventPattern


class ScheduleTrigger(
    msgspec.Struct,
    frozen=True,
    tag="schedule",
    tag_field="type",
    rename="camel",
    forbid_unknown_fields=True,
):
    """At the times of a crontab, by the clock of an IANA time zone."""

    cron: Annotated[str, msgspec.Meta(max_length=100)]
    time_zone: Annotated[str, msgspec.Meta(min_length=1, max_length=60)] = "UTC"


class ManualTrigger(
    msgspec.Struct, frozen=True, tag="manual", tag_field="type", forbid_unknown_fields=True
):
    """When somebody, or another workflow, runs it."""


Trigger = EventTrigger | ScheduleTrigger | ManualTrigger


class ActionSpec(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One thing to do: an action's `type` with its `input`, or a group that is done in parallel.

    Under its `name`, later steps find what it gave: `{{ steps.NAME.output.id }}`.
    """

    type: Annotated[str, msgspec.Meta(max_length=50)]
    name: StepName | UnsetType = UNSET
    input: dict[str, Any] = {}
    actions: "Annotated[tuple[ActionSpec, ...], msgspec.Meta(max_length=100)]" = ()

    def hidden(self) -> "ActionSpec":
        """The action without what may be a secret: where a call goes, and its headers."""
        given = without_headers(self.input)
        if "url" in given:
            given["url"] = HIDDEN
        inner = tuple(one.hidden() for one in self.actions)
        return msgspec.structs.replace(self, input=given, actions=inner)


def without_headers(given: dict[str, Any]) -> dict[str, Any]:
    """An input with the values of its headers hidden."""
    headers = given.get("headers")
    return (
        {**given, "headers": dict.fromkeys(headers, HIDDEN)}
        if isinstance(headers, dict)
        else {**given}
    )


Actions = Annotated[tuple[ActionSpec, ...], msgspec.Meta(min_length=1, max_length=MAX_STEPS)]


class Workflow(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    id: str
    name: str
    description: str | None = None
    trigger: Trigger
    conditions: Condition | None = None
    actions: tuple[ActionSpec, ...]
    is_active: bool
    created_by: str
    created_at: datetime
    updated_at: datetime
    version: int = 1

    def changed(self, change: "ChangeWorkflow", *, at: datetime) -> "Workflow":
        """The workflow after `change`, one version on."""
        given = given_fields(change)
        return msgspec.structs.replace(self, **given, updated_at=at, version=self.version + 1)

    def hidden(self) -> "Workflow":
        actions = tuple(one.hidden() for one in self.actions)
        return msgspec.structs.replace(self, actions=actions)

    def placed(self) -> Iterator[tuple[int, int, ActionSpec]]:
        """Every step with its stage and its place in it; a stage waits for all of the one before.

        A group in parallel is one stage, any other action a stage of its own.
        """
        for stage, spec in enumerate(self.actions):
            for branch, one in enumerate(spec.actions if spec.type == PARALLEL else (spec,)):
                yield stage, branch, one


class NewWorkflow(Command, frozen=True, kw_only=True):
    name: Name
    description: Text | None = None
    trigger: Trigger
    conditions: Condition | None = None
    actions: Actions
    is_active: bool = True


class ChangeWorkflow(Command, frozen=True, kw_only=True):
    """A merge patch: fields that are left out stay as they are."""

    name: Name | UnsetType = UNSET
    description: Text | UnsetType | None = UNSET
    trigger: Trigger | UnsetType = UNSET
    conditions: Condition | UnsetType | None = UNSET
    actions: Actions | UnsetType = UNSET
    is_active: bool | UnsetType = UNSET


class WorkflowQuery(Command, frozen=True, kw_only=True):
    limit: Limit = paging.DEFAULT_LIMIT
    cursor: Cursor | None = None
    is_active: bool | None = None


@event("workflow.created", is_public=False)
class WorkflowCreated(Event, frozen=True, kw_only=True):
    workflow: Workflow


@event("workflow.updated", is_public=False)
class WorkflowUpdated(Event, frozen=True, kw_only=True):
    workflow: Workflow


@event("workflow.deleted", is_public=False)
class WorkflowDeleted(Event, frozen=True, kw_only=True):
    workflow: Workflow
