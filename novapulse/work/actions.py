"""What workflows can have done with tasks."""

from typing import Any

from novapulse.core import wire
from novapulse.core.actions import action
from novapulse.core.context import Context
from novapulse.core.fields import ObjectId
from novapulse.identity.model import Command
from novapulse.work import service
from novapulse.work.model import ChangeTask, NewTask, Task


class UpdateTask(ChangeTask, frozen=True, kw_only=True):
    """A merge patch of the task `task_id`."""

    task_id: ObjectId


class AssignTask(Command, frozen=True, kw_only=True):
    task_id: ObjectId
    assignee_id: ObjectId | None


@action("create_task")
async def create_task(ctx: Context, command: NewTask, *, key: str) -> dict[str, Any]:
    """Create a task; the output is the task."""
    return _shown(await service.create_task(ctx, command))


@action("update_task")
async def update_task(ctx: Context, command: UpdateTask, *, key: str) -> dict[str, Any]:
    """Change some fields of a task; the output is the task."""
    fields = {name: getattr(command, name) for name in ChangeTask.__struct_fields__}
    change = ChangeTask(**fields)
    return _shown(await service.change_task(ctx, command.task_id, change=change))


@action("assign_task")
async def assign_task(ctx: Context, command: AssignTask, *, key: str) -> dict[str, Any]:
    """Give a task to somebody, or to nobody; the output is the task."""
    change = ChangeTask(assignee_id=command.assignee_id)
    return _shown(await service.change_task(ctx, command.task_id, change=change))


def _shown(task: Task) -> dict[str, Any]:
    shown: dict[str, Any] = wire.to_wire(task)
    return shown
