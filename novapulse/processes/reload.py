"""The configuration in force, and how the running table gets to the next one.

A reload validates the whole new file first. What then has to be done follows from the
classes that the changed keys declare; when a step of it fails, all of it is taken back.
"""

import socket
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import msgspec

from novapulse.core.errors import ConfigurationInvalid, Error, Malformed
from novapulse.core.exitcodes import exit_code_of
from novapulse.core.settings import Loaded, SettingsInvalid, write_handoff
from novapulse.core.settings.declare import Reload
from novapulse.core.settings.tree import DECLARATIONS, Change, changes, with_values
from novapulse.processes.binding import bind_address, with_address
from novapulse.processes.difference import described
from novapulse.processes.gauges import Gauges
from novapulse.processes.referenced import Digests, digests, rewritten
from novapulse.processes.roles import LISTENER, Roles, build_specs, count_key
from novapulse.processes.specs import CARETAKER
from supervisor.control import ControlError
from supervisor.operations import Plan
from supervisor.spec import ProcessSpec
from supervisor.steps import AddStep, RemoveStep, RollStep, Step, SwapStep, TellStep

# Which processes a class of keys rolls; the scheduler and who is in its place go with the
# consumers, because they work on the same queues.
_BACKGROUND = frozenset({"consumer", "scheduler", CARETAKER})
_ROLLS: dict[Reload, frozenset[str]] = {
    Reload.API: frozenset({"api"}),
    Reload.REBIND: frozenset({"api"}),
    Reload.CONSUMERS: _BACKGROUND,
    Reload.BOTH: _BACKGROUND | {"api"},
}


class NeedsRestart(ConfigurationInvalid):
    """A changed key can not be changed while the program runs."""

    code = "needs_restart"
    title = "This change needs a restart"


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What does not change while the program runs."""

    load: Callable[[], Loaded]
    roles: Roles
    handoff: Path
    log_format: str
    is_inherited: bool = False  # the listener: a socket unit decides about the address


class Configuration:
    """`listeners` is the table that the supervisor hands sockets from; a rebind changes it."""

    def __init__(
        self,
        loaded: Loaded,
        surroundings: Surroundings,
        *,
        listeners: dict[str, socket.socket],
        gauges: Gauges,
    ) -> None:
        self._around = surroundings
        self._listeners = listeners
        self._gauges = gauges
        self._file = loaded
        self._digests = digests(loaded.settings)
        self._scaled: dict[str, int] = {}
        self._reload = _reload_facts("")
        self.bound = with_address(loaded, listeners.get(LISTENER))
        self.specs = self._build(self.bound)
        write_handoff(self.bound, surroundings.handoff)

    def plan_reload(self, request: Mapping[str, object]) -> Plan:
        """With `dryRun` nothing is to be done, and only the summary says what would be.

        Raises ControlError: the new configuration is not usable; nothing was changed.
        """
        is_dry = request.get("dryRun") is True
        try:
            new = self._around.load()
            settled = {change.key for change in changes(self._file.settings, new.settings)}
            scaled = {key: count for key, count in self._scaled.items() if key not in settled}
            plan = self._plan(new, scaled, is_reload=True)
        except Error as error:
            if not is_dry:
                self.report(error.detail)
            raise refusal(error) from error
        if is_dry:
            plan.close()
            return Plan(steps=(), summary=plan.summary)
        return plan

    def plan_scale(self, request: Mapping[str, object]) -> Plan:
        """`counts`: role to the number of its processes, until the next start."""
        try:
            counts = request.get("counts")
            if not isinstance(counts, dict) or not counts:
                raise Malformed("Say how many, such as api=3")
            scaled = {count_key(str(role)): int(number) for role, number in counts.items()}
            for key, number in scaled.items():
                _check_count(key, number)
            return self._plan(self._file, self._scaled | scaled, is_reload=False)
        except Error as error:
            raise refusal(error) from error

    def _plan(self, file: Loaded, scaled: dict[str, int], *, is_reload: bool) -> Plan:
        settings = with_values(file.settings, dict(scaled))
        new = msgspec.structs.replace(file, settings=settings)
        changed = _without_address(changes(self._wanted().settings, new.settings))
        _refuse_restarts(changed, new)
        is_moved = (
            not self._around.is_inherited
            and self._file.settings.server.listen != file.settings.server.listen
        )
        old_listener = self._listeners.get(LISTENER)
        listener = bind_address(new) if is_moved and old_listener is not None else old_listener
        try:
            transition = _Transition(self, file=file, scaled=scaled, listener=listener)
            transition.digests = self._digests
            transition.bound = with_address(new, listener)
            transition.specs = self._build(transition.bound)
        except BaseException:
            if listener is not None and listener is not old_listener:
                listener.close()
            raise
        if is_moved:
            changed = (*changed, Change("server.listen", Reload.REBIND))
        if is_reload:
            transition.digests = digests(new.settings)
            changed += rewritten(self._digests, transition.digests, changed=changed)
        transition.is_reload = is_reload
        return Plan(
            steps=_steps(self.specs, transition.specs, changed),
            commit=transition.commit,
            abort=transition.abort,
            keep=transition.keep,
            close=transition.close,
            summary={"changes": described(changed, self.bound, transition.bound)},
        )

    def _wanted(self) -> Loaded:
        """As the file says it, with what was scaled since."""
        settings = with_values(self._file.settings, dict(self._scaled))
        return msgspec.structs.replace(self._file, settings=settings)

    def _build(self, bound: Loaded) -> list[ProcessSpec]:
        around = self._around
        return build_specs(
            bound, handoff=around.handoff, log_format=around.log_format, roles=around.roles
        )

    def adopt(self, transition: "_Transition") -> None:
        self._file, self._scaled = transition.file, transition.scaled
        self.bound, self.specs = transition.bound, transition.specs
        self._digests = transition.digests

    def put_in_place(self, bound: Loaded, listener: socket.socket | None) -> None:
        """What children that start from now on find."""
        if listener is not None:
            self._listeners[LISTENER] = listener
        write_handoff(bound, self._around.handoff)

    def report(self, failure: str) -> None:
        """How a reload ended: with a failure, or with none."""
        self._reload = _reload_facts(failure)
        self._gauges.reloaded(well=not failure)

    def facts(self) -> dict[str, object]:
        """For the status."""
        return {"configFile": str(self.bound.paths.config_file), "lastReload": self._reload}

    @property
    def listener(self) -> socket.socket | None:
        return self._listeners.get(LISTENER)


class _Transition:
    """From one configuration to the next, or back."""

    def __init__(
        self,
        configuration: Configuration,
        *,
        file: Loaded,
        scaled: dict[str, int],
        listener: socket.socket | None,
    ) -> None:
        self.file = file
        self.scaled = scaled
        self.bound = configuration.bound
        self.specs = configuration.specs
        self.is_reload = True
        self.digests: Digests = {}
        self._configuration = configuration
        self._listener = listener
        self._old_bound = configuration.bound
        self._old_listener = configuration.listener

    def commit(self) -> None:
        self._configuration.put_in_place(self.bound, self._listener)

    def abort(self) -> None:
        self._configuration.put_in_place(self._old_bound, self._old_listener)
        if self.is_reload:
            self._configuration.report("a process did not take the new configuration")

    def keep(self) -> None:
        self._configuration.adopt(self)
        if self.is_reload:
            self._configuration.report("")

    def close(self) -> None:
        """Let go of the listener that nobody is handed any more."""
        kept = self._configuration.listener
        for listener in {self._listener, self._old_listener} - {kept, None}:
            if listener is not None:
                listener.close()


def _reload_facts(failure: str) -> dict[str, object]:
    stamp = datetime.now(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
    return {"successful": not failure, "at": stamp, "detail": failure or None}


def refusal(error: Error) -> ControlError:
    """An error of ours as the control socket carries it."""
    facts: dict[str, object] = {
        "code": error.code,
        "title": error.title,
        "exit": exit_code_of(error),
        "where": getattr(error, "where", ""),
        "hint": getattr(error, "hint", ""),
    }
    if isinstance(error, SettingsInvalid):
        facts["problems"] = [
            {"key": one.key, "detail": one.detail, "where": one.where, "hint": one.hint}
            for one in error.problems
        ]
    return ControlError(error.detail, **facts)


def _refuse_restarts(changed: Iterable[Change], new: Loaded) -> None:
    stuck = [change.key for change in changed if change.reload is Reload.RESTART]
    if stuck:
        raise NeedsRestart(
            f"{', '.join(stuck)}: can not be changed while the program runs",
            where=new.origins[stuck[0]],
            hint="undo the change, or stop the program and start it again",
        )


def _without_address(changed: tuple[Change, ...]) -> tuple[Change, ...]:
    return tuple(change for change in changed if change.key != "server.listen")


def _check_count(key: str, number: int) -> None:
    least, most = DECLARATIONS[key].key.minimum, DECLARATIONS[key].key.maximum
    if least is None or most is None or not least <= number <= most:
        raise Malformed(f"{key}: must be {DECLARATIONS[key].range}, got {number}")


def _steps(
    old: Iterable[ProcessSpec], new: list[ProcessSpec], changed: tuple[Change, ...]
) -> list[Step]:
    """Rules first, then word to who stays, then more, other and fewer processes."""
    if not changed:
        return []
    before = {spec.name: spec for spec in old}
    after = {spec.name: spec for spec in new}
    rolled = frozenset[str]().union(*(_ROLLS.get(change.reload, ()) for change in changed))
    stays = [spec for spec in new if spec.name in before]
    rolls = [spec for spec in stays if spec.role.partition(":")[0] in rolled]
    swaps = [spec for spec in stays if spec not in rolls and spec != before[spec.name]]
    live = [change.key for change in changed if change.reload is Reload.LIVE]
    return [
        *(SwapStep(spec.name, spec) for spec in swaps),
        TellStep({"settings": True}, text=f"in force: {', '.join(live)}" if live else ""),
        *(AddStep(spec, place) for place, spec in enumerate(new) if spec.name not in before),
        *(RollStep(spec.name, spec) for spec in rolls),
        *(RemoveStep(name) for name in reversed(before) if name not in after),
    ]
