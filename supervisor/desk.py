"""Where changes to the table are asked for: control verbs, SIGHUP, a child's own wish."""

from collections.abc import Callable, Mapping
from dataclasses import replace

from supervisor.control import ControlError, Frame, Reply, Verb
from supervisor.machine import State
from supervisor.operations import Operation, Operations, Plan
from supervisor.roster import Roster
from supervisor.seat import Seat
from supervisor.spec import Drain, MessageReadiness
from supervisor.steps import PauseStep, RollStep, Step, TellStep

# From a request to what is to be done; raises ControlError to refuse.
Planner = Callable[[Mapping[str, object]], Plan]
Say = Callable[..., None]


class Desk:
    """`restart`, `drain` and the program's own planners, each as one operation."""

    def __init__(
        self,
        roster: Roster,
        operations: Operations,
        *,
        planners: Mapping[str, Planner],
        say: Say,
    ) -> None:
        self._roster = roster
        self._operations = operations
        self._planners = {"restart": self._plan_restart, "drain": self._plan_drain, **planners}
        self._say = say

    @property
    def can_reload(self) -> bool:
        return "reload" in self._planners

    def verbs(self) -> dict[str, Verb]:
        """Each answers when its operation has ended."""
        return {name: self._verb(name) for name in self._planners}

    def reload(self) -> None:
        """A reload that nobody waits for; one that has not begun yet does for two."""
        if not self._operations.is_waiting("reload"):
            reply = _Logged("reload", self._say)
            self._try(self._operation("reload", {}, reply))

    def replace(self, seat: Seat, reason: str) -> None:
        """The child in `seat` asks to be replaced."""
        name = seat.spec.name
        title = f"replace {name}"
        if title in self._operations.names:
            return
        self._say("info", "process asks to be replaced", name=name, reason=reason)
        plan = Plan(steps=(RollStep(name),))
        reply = _Logged(title, self._say)
        self._try(Operation(name=title, prepare=lambda: plan, reply=reply))

    def _try(self, operation: Operation) -> None:
        """For what nobody waits for: too many operations at once are only logged."""
        try:
            self._operations.submit(operation)
        except ControlError as refusal:
            operation.reply.refuse(refusal)

    def _verb(self, name: str) -> Verb:
        def serve(request: Mapping[str, object], reply: Reply) -> Frame | None:
            both = _Both(reply, _Logged(name, self._say))
            self._operations.submit(self._operation(name, request, both))
            return None

        return serve

    def _operation(self, name: str, request: Mapping[str, object], reply: Reply) -> Operation:
        planner = self._planners[name]

        def prepare() -> Plan:
            plan = planner(request)
            return self._with_new_code(self._with_forgiveness(plan) if name == "reload" else plan)

        return Operation(name=name, prepare=prepare, reply=reply)

    def _with_forgiveness(self, plan: Plan) -> Plan:
        """Another configuration is what a process with exit 78 has been waiting for."""
        rolled = {step.name for step in plan.steps if isinstance(step, RollStep)}
        stuck = [
            RollStep(seat.spec.name)
            for seat in self._roster.seats
            if seat.slot.state is State.CONFIG_ERROR and seat.spec.name not in rolled
        ]
        return replace(plan, steps=(*plan.steps, *stuck))

    def _plan_restart(self, request: Mapping[str, object]) -> Plan:
        """`target` is a name or a role; without one everything that can be rolled."""
        target = request.get("target")
        seats = [
            seat
            for seat in (self._roster.seats if target is None else self._roster.find(str(target)))
            if target is not None or isinstance(seat.spec.readiness, MessageReadiness)
        ]
        if not seats:
            known = sorted({one for s in self._roster.seats for one in (s.spec.name, s.spec.role)})
            raise ControlError(
                f"there is no process or role {target!r}; there are {', '.join(known)}",
                code="not_found",
            )
        return Plan(steps=[RollStep(seat.spec.name) for seat in seats])

    def _with_new_code(self, plan: Plan) -> Plan:
        """A fork server begins anew before its children do: they get the program as it is now."""
        rolled = {step.name for step in plan.steps if isinstance(step, RollStep)}
        seats = self._roster.seats
        roles = {seat.spec.fork_server for seat in seats if seat.spec.name in rolled}
        servers = [RollStep(seat.spec.name) for seat in seats if seat.spec.role in roles]
        others = (step for step in plan.steps if step not in servers)
        return replace(plan, steps=(*servers, *others))

    def _plan_drain(self, request: Mapping[str, object]) -> Plan:
        is_undo = request.get("undo") is True
        seats = self._roster.seats
        told = frozenset(s.spec.name for s in seats if s.spec.drain is Drain.BE_TOLD)
        text = "told to " + ("serve" if is_undo else "drain") + ": " + ", ".join(sorted(told))
        tell = TellStep({"drain": not is_undo}, told, text if told else "")
        pauses: list[Step] = [
            PauseStep(seat.spec.name, undo=is_undo)
            for seat in seats
            if seat.spec.drain is Drain.STOP and seat.is_paused is is_undo
        ]

        def mark(is_drained: bool) -> None:
            self._roster.is_drained = is_drained

        return Plan(
            steps=[*pauses, tell] if is_undo else [tell, *pauses],
            commit=lambda: mark(not is_undo),
            abort=lambda: mark(is_undo),
        )


class _Logged:
    """A reply to nobody: into the log."""

    def __init__(self, name: str, say: Say) -> None:
        self._name = name
        self._say = say

    def progress(self, text: str) -> None:
        self._say("info", f"{self._name}: {text}")

    def finish(self, answer: Mapping[str, object]) -> None:
        self._say("info", f"{self._name} done", done=answer.get("done", []))

    def refuse(self, refusal: ControlError) -> None:
        self._say("error", f"{self._name} failed", reason=str(refusal))


class _Both:
    def __init__(self, *replies: Reply) -> None:
        self._replies = replies

    def progress(self, text: str) -> None:
        for reply in self._replies:
            reply.progress(text)

    def finish(self, answer: Mapping[str, object]) -> None:
        for reply in self._replies:
            reply.finish(answer)

    def refuse(self, refusal: ControlError) -> None:
        for reply in self._replies:
            reply.refuse(refusal)
