"""One attempt at a step: fill in, note, do, conclude.

What is ours to do (a task, a mail's job) commits together with the step's end
and the job of what follows: killed anywhere, either all of it happened or none.
What is done elsewhere (a call) may be repeated, with the same key.
"""

import asyncio
import random
from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Any, NoReturn

import msgspec
import structlog

from novapulse.core import errors, wire
from novapulse.core.actions import ACTIONS, Action
from novapulse.core.context import Context
from novapulse.core.jobs.context import JobContext
from novapulse.core.jobs.states import GiveUp, Retry, Snooze
from novapulse.core.repeating import repeated
from novapulse.rules import templates
from novapulse.runs import ending
from novapulse.runs.model import (
    OPEN_STEPS,
    RunRecord,
    RunState,
    StepRecord,
    StepState,
)
from novapulse.runs.store import CHECK_AFTER, RunStore
from novapulse.workflows.checking import read_delay
from novapulse.workflows.model import DELAY, without_headers
from novapulse.workflows.store import WorkflowStore

log = structlog.get_logger("workflows")
_AGAIN_SECONDS = 0.5
# A store that is away is no fault of the step's: the job comes back by itself.
_NOT_NOW = (errors.Unavailable, errors.StorageFull, Snooze)


async def perform(job: JobContext, run_id: str, step_id: str) -> None:
    """Do a step that is still this job's.

    Raises:
        Retry, GiveUp: it failed; after the last attempt the run has, too.
        Unavailable, Snooze: not now.
    """
    runs = RunStore(job.read())
    run, step = await runs.find(run_id), await runs.find_step(step_id)
    if run is None or step is None or not is_open(run, step, job.job.id):
        return
    ctx = ending.acting_for(job.runtime, job.company_id, run)
    attempt = Attempt(ctx, run, step=step, number=job.job.attempt)
    try:
        await attempt.make()
    except _NOT_NOW:
        raise
    except (errors.Error, GiveUp) as error:
        await _give_up(attempt, str(error))
    except Exception as error:  # an action may raise anything; the run keeps it
        if job.job.attempt - job.job.lapses >= job.job.max_attempts:
            await _give_up(attempt, _said(error))
        await runs.change_step(attempt.step, state=str(StepState.PENDING), error=_said(error))
        raise error if isinstance(error, Retry) else Retry(_said(error)) from error


def is_open(run: RunRecord, step: StepRecord, job_id: str) -> bool:
    """Whether the step waits to be done by this job, and not by a later one."""
    return run.state is RunState.RUNNING and step.state in OPEN_STEPS and step.job_id == job_id


async def _give_up(attempt: "Attempt", reason: str) -> NoReturn:
    await _recorded(
        lambda: ending.fail(attempt.ctx, attempt.run, step=attempt.step, reason=reason),
        attempt,
    )
    raise GiveUp(reason)


def _said(error: Exception) -> str:
    """What people may know of an error; of a bug, its class."""
    if isinstance(error, Retry):
        return str(error)
    if isinstance(error, TimeoutError):
        return "it took too long"
    log.error("workflow.step_failed", exc_info=error)
    return f"an internal error ({type(error).__name__})"


async def _recorded(write: Callable[[], Awaitable[None]], attempt: "Attempt") -> None:
    """What was done elsewhere is not done again because nothing can be written: until it can."""
    while True:
        try:
            if await attempt.is_open():
                await write()
            return
        except (errors.Unavailable, errors.StorageFull):
            await asyncio.sleep(random.uniform(0, _AGAIN_SECONDS))  # noqa: S311 - no secret


class Attempt:
    """One attempt at one step, on behalf of its run."""

    def __init__(self, ctx: Context, run: RunRecord, *, step: StepRecord, number: int) -> None:
        self.ctx = ctx
        self.run = run
        self.step = step
        self._number = number

    async def is_open(self) -> bool:
        """Whether the step is still to be concluded by us."""
        step = await RunStore(self.ctx.read()).find_step(self.step.id)
        return step is not None and step.state in OPEN_STEPS and step.job_id == self.step.job_id

    async def make(self) -> None:
        """Raises what the action raises, TimeoutError, or Invalid for an unfit input."""
        if await WorkflowStore(self.ctx.read()).find(self.run.workflow_id) is None:
            raise GiveUp("the workflow was deleted")
        if self.step.state is StepState.WAITING:
            await repeated(self._wake)
            return
        template = msgspec.json.decode(self.step.template)
        given = templates.render(template, await self._scope(template))
        if self.step.action == DELAY:
            await repeated(lambda: self._sleep(given))
            return
        action = ACTIONS.get(self.step.action)
        if action is None:
            raise GiveUp(f"there is no action {self.step.action!r}")
        seconds = self.ctx.runtime.settings.workflows.step_timeout_seconds
        if not await self._note(given, seconds):
            return
        command = wire.convert(given, action.input)
        if action.is_remote:
            async with asyncio.timeout(seconds):
                output = await action.perform(self.ctx, command, key=self.step.id)
            await _recorded(lambda: self._conclude(output), self)
        else:
            async with asyncio.timeout(seconds):
                await repeated(lambda: self._within(action, command))

    async def _scope(self, template: Any) -> dict[str, Any]:
        scope = {**self.run.scope(), "now": wire.to_wire(self.ctx.now())}
        roots = {one.path.partition(".")[0] for one in templates.expressions(template)}
        if "steps" in roots:
            done = await RunStore(self.ctx.read()).steps(self.run.id)
            scope["steps"] = {
                one.name or one.place.replace(".", "_"): {"output": msgspec.json.decode(one.output)}
                for one in done
                if one.output is not None
            }
        return scope

    async def _note(self, given: Any, seconds: float) -> bool:
        """The record before: what is about to be done, since when; False for somebody else's."""
        now = self.ctx.now()
        shown = wire.encode(without_headers(given)).decode()
        fields = {"attempt": self._number, "startedAt": now, "input": shown}
        before, self.step = self.step, msgspec.structs.replace(self.step, started_at=now)
        return await RunStore(self.ctx.read()).change_step(
            before,
            state=str(StepState.RUNNING),
            checkAt=now + timedelta(seconds=seconds) + CHECK_AFTER,
            **fields,
        )

    async def _within(self, action: Action, command: Any) -> None:
        """Do it and conclude, in one commit."""
        async with self.ctx.transaction():
            if not await self.is_open():
                return
            output = await action.perform(self.ctx, command, key=self.step.id)
            await ending.conclude(self.ctx, self.run, step=self.step, output=output)

    async def _conclude(self, output: Any) -> None:
        await ending.conclude(self.ctx, self.run, step=self.step, output=output)

    async def _wake(self) -> None:
        async with self.ctx.transaction():
            if await self.is_open():
                await self._conclude({"wokeAt": wire.to_wire(self.ctx.now())})

    async def _sleep(self, given: Any) -> None:
        """A job of its own wakes the step; nothing waits meanwhile."""
        seconds = read_delay(given).total_seconds()
        now = self.ctx.now()
        due_at = now + timedelta(seconds=seconds)
        async with self.ctx.transaction() as tx:
            if not await self.is_open():
                return
            payload = {"run_id": self.run.id, "step_id": self.step.id}
            job_id = await tx.enqueue("workflow.step", payload, delay=seconds)
            is_ours = await RunStore(tx).change_step(
                self.step,
                state=str(StepState.WAITING),
                attempt=self._number,
                startedAt=now,
                input=wire.encode(given).decode(),
                wakesAt=due_at,
                jobId=job_id,
                checkAt=due_at + CHECK_AFTER,
            )
            if not is_ours:
                raise errors.TransientConflict()
