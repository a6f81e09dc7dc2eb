"""Changes to the running table: one after the other, each wholly or not at all.

An operation plans when its turn comes, then takes its steps one by one. When one of them
fails, those before it are taken back in reverse order, so that the old state is in force
again and the caller hears why.
"""

from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from supervisor.control import ControlError, Reply
from supervisor.reactor import Reactor
from supervisor.roster import Roster
from supervisor.steps import Step, StepFailed, overdue_after

_MOST_WAITING = 16


def _nothing() -> None:
    """For plans that have nothing to do at a point."""


@dataclass(frozen=True, kw_only=True)
class Plan:
    """`steps`, and what the program does around them.

    `commit` before the first step; `abort` before steps are taken back, `keep` after the
    last one went well; `close` at the end in either case. `summary` goes into the answer.
    """

    steps: Sequence[Step]
    commit: Callable[[], None] = _nothing
    abort: Callable[[], None] = _nothing
    keep: Callable[[], None] = _nothing
    close: Callable[[], None] = _nothing
    summary: Mapping[str, object] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Operation:
    """`prepare` raises ControlError to refuse: then nothing was changed."""

    name: str
    prepare: Callable[[], Plan]
    reply: Reply


@dataclass(kw_only=True)
class _Run:
    operation: Operation
    plan: Plan
    ahead: deque[Step]
    begun: list[Step] = field(default_factory=list)
    done: list[str] = field(default_factory=list)
    current: Step | None = None
    overdue_at: float = 0.0
    failure: str = ""
    undone: list[str] = field(default_factory=list)


class Operations:
    """The queue of operations. `look` carries on with the one whose turn it is."""

    def __init__(self, roster: Roster, reactor: Reactor, *, ended: Callable[[str], None]) -> None:
        self._roster = roster
        self._reactor = reactor
        self._ended = ended
        self._waiting: deque[Operation] = deque()
        self._run: _Run | None = None

    @property
    def names(self) -> list[str]:
        """What is under way, then what waits."""
        running = [] if self._run is None else [self._run.operation.name]
        return [*running, *(operation.name for operation in self._waiting)]

    def is_waiting(self, name: str) -> bool:
        """Whether an operation of that name is still to begin."""
        return any(operation.name == name for operation in self._waiting)

    def submit(self, operation: Operation) -> None:
        """Queue it; its reply hears of its end.

        Raises:
            ControlError: too many wait already.
        """
        if len(self._waiting) >= _MOST_WAITING:
            raise ControlError(f"{_MOST_WAITING} operations wait already: try again later")
        self._waiting.append(operation)
        self._roster.touch()

    def cancel(self, reason: str) -> None:
        """End all of them where they are: the whole is about to stop."""
        for operation in self._waiting:
            operation.reply.refuse(ControlError(reason))
        self._waiting.clear()
        if (run := self._run) is not None:
            self._run = None
            self._call(run, run.plan.close)
            run.operation.reply.refuse(ControlError(reason, done=run.done))

    def look(self) -> None:
        """Take as many steps as can be taken now."""
        while self._run is not None or self._waiting:
            if self._run is None:
                self._begin(self._waiting.popleft())
            elif not self._carry_on(self._run):
                return

    def _begin(self, operation: Operation) -> None:
        try:
            plan = operation.prepare()
        except Exception as error:  # the program's own; no fault of it may end the supervisor
            refusal = error if isinstance(error, ControlError) else _bug(error)
            operation.reply.refuse(refusal)
            self._ended(operation.name)
            return
        run = self._run = _Run(operation=operation, plan=plan, ahead=deque(plan.steps))
        try:
            plan.commit()
        except Exception as error:  # a full disk, for one
            run.ahead.clear()
            self._fail(run, f"the new state can not be put in place: {error}")

    def _carry_on(self, run: _Run) -> bool:
        """One step further; False when there is to wait for something."""
        if run.current is None and not run.ahead:
            self._finish(run)
            return True
        try:
            if run.current is None:
                self._take(run, run.ahead.popleft())
                return True
            if not run.current.is_over(self._roster):
                if self._reactor.now() < run.overdue_at:
                    return False
                raise StepFailed(run.current.lateness())
        except StepFailed as failure:
            self._fail(run, str(failure))
            return True
        self._note(run, run.current)
        run.current = None
        return True

    def _take(self, run: _Run, step: Step) -> None:
        run.current = step
        if not run.failure:
            run.begun.append(step)
        step.begin(self._roster)
        seconds = overdue_after(step)
        run.overdue_at = self._reactor.now() + seconds
        self._reactor.call_later(seconds, self._roster.touch)

    def _note(self, run: _Run, step: Step) -> None:
        if text := step.describe():
            (run.undone if run.failure else run.done).append(text)
            run.operation.reply.progress(text + (" (taken back)" if run.failure else ""))

    def _fail(self, run: _Run, reason: str) -> None:
        run.current = None
        if run.failure:
            run.operation.reply.progress(f"could not be taken back: {reason}")
            return
        run.failure = reason
        self._call(run, run.plan.abort)
        inverses = (step.inverse() for step in reversed(run.begun))
        run.ahead = deque(step for step in inverses if step is not None)

    def _call(self, run: _Run, part: Callable[[], None]) -> None:
        """A part of the program's plan; what it raises is told, and costs nothing else."""
        try:
            part()
        except Exception as error:  # a full disk, for one
            run.operation.reply.progress(f"not cleanly done: {type(error).__name__}: {error}")

    def _finish(self, run: _Run) -> None:
        self._run = None
        if not run.failure:
            self._call(run, run.plan.keep)
        self._call(run, run.plan.close)
        facts = {**run.plan.summary, "done": run.done}
        if run.failure:
            facts |= {"undone": run.undone}
            run.operation.reply.refuse(ControlError(run.failure, **facts))
        else:
            run.operation.reply.finish(facts)
        self._ended(run.operation.name)


def _bug(error: Exception) -> ControlError:
    return ControlError(f"a bug: {type(error).__name__}: {error}", code="internal_error", exit=70)
