"""Whether a workflow can be what it says: asked when it is saved, so that a slip shows at once."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from difflib import get_close_matches
from typing import Any

import msgspec

from novapulse.core import wire
from novapulse.core.actions import ACTIONS, Action
from novapulse.core.errors import Error, Invalid, TooLarge
from novapulse.core.events import CATALOGUE, matches
from novapulse.rules import conditions, cron, templates
from novapulse.workflows.model import (
    DELAY,
    MAX_STEPS,
    PARALLEL,
    ActionSpec,
    EventTrigger,
    ScheduleTrigger,
    Trigger,
    Workflow,
)

MAX_CONDITIONS_BYTES = 16 * 1024
MAX_ACTIONS_BYTES = 64 * 1024
MAX_DELAY_SECONDS = 30 * 86_400


class Delay(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The input of a delay: all that is given is added up."""

    seconds: int = 0
    minutes: int = 0
    hours: int = 0
    days: int = 0

    def total_seconds(self) -> int:
        """Raises Invalid unless it lasts between a second and 30 days."""
        given = (self.seconds, self.minutes, self.hours, self.days)
        total = sum(map(int.__mul__, given, (1, 60, 3_600, 86_400)))
        if min(given) < 0 or not 1 <= total <= MAX_DELAY_SECONDS:
            raise Invalid("A delay lasts between one second and 30 days")
        return total


def check(workflow: Workflow, *, now: datetime) -> None:
    """Raises Invalid with the path of what can not be, or TooLarge."""
    _check_trigger(workflow.trigger, now)
    _check_size("conditions", workflow.conditions, most=MAX_CONDITIONS_BYTES)
    _check_size("actions", workflow.actions, most=MAX_ACTIONS_BYTES)
    if workflow.conditions is not None:
        conditions.check(workflow.conditions)
    _check_actions(workflow.actions, "actions")
    steps = [spec for _, _, spec in workflow.placed()]
    if len(steps) > MAX_STEPS:
        raise Invalid.field("actions", f"a workflow has at most {MAX_STEPS} steps")
    names = [spec.name for spec in steps if spec.name is not msgspec.UNSET]
    if len(set(names)) < len(names):
        raise Invalid.field("actions", "two steps have the same name")


def next_time(workflow: Workflow, *, after: datetime) -> datetime | None:
    """When an active workflow with a schedule runs next; None for any other."""
    trigger = workflow.trigger
    if not isinstance(trigger, ScheduleTrigger) or not workflow.is_active:
        return None
    return cron.read_clock(trigger.cron, trigger.time_zone).next_after(after)


def read_delay(given: Any) -> Delay:
    """The input of a delay; raises Invalid."""
    delay = wire.convert(given, Delay)
    delay.total_seconds()
    return delay


def _check_size(name: str, part: Any, *, most: int) -> None:
    if len(wire.encode(part)) > most:
        raise TooLarge(f"The {name} of a workflow are at most {most} bytes as JSON")


def _check_trigger(trigger: Trigger, now: datetime) -> None:
    if isinstance(trigger, EventTrigger):
        if any(matches(trigger.event, event_type) for event_type in CATALOGUE):
            return
        nearest = get_close_matches(trigger.event, CATALOGUE, n=1)
        hint = f"; did you mean {nearest[0]}?" if nearest else ""
        raise Invalid.field("trigger.event", f"there is no event {trigger.event!r}{hint}")
    if isinstance(trigger, ScheduleTrigger):
        try:
            clock = cron.Clock(trigger.cron, trigger.time_zone)
        except Invalid as error:
            raise _within(error, "trigger") from error
        if clock.next_after(now) is None:
            raise Invalid.field("trigger.cron", "never comes")


def _check_actions(specs: Sequence[ActionSpec], path: str, *, is_group: bool = False) -> None:
    for position, spec in enumerate(specs):
        place = f"{path}[{position}]"
        if spec.type == PARALLEL:
            if is_group or spec.input or spec.name is not msgspec.UNSET or not spec.actions:
                reason = "a parallel group has actions and nothing else, and no group inside"
                raise Invalid.field(place, reason)
            _check_actions(spec.actions, f"{place}.actions", is_group=True)
            continue
        if spec.actions:
            raise Invalid.field(f"{place}.actions", "only a parallel group has actions")
        _check_input(spec, place)


def _check_input(spec: ActionSpec, place: str) -> None:
    templates.check(spec.input, f"{place}.input")
    kind = Delay if spec.type == DELAY else _known(spec, place).input
    is_whole = not any(templates.expressions(spec.input))
    try:
        if not is_whole:
            _check_parts(spec.input, kind)
        elif spec.type == DELAY:
            read_delay(spec.input)
        else:
            wire.convert(spec.input, kind)
    except Invalid as error:
        raise _within(error, f"{place}.input") from error


def _known(spec: ActionSpec, place: str) -> Action:
    action = ACTIONS.get(spec.type)
    if action is None:
        names = sorted({*ACTIONS, DELAY, PARALLEL})
        nearest = get_close_matches(spec.type, names, n=1)
        hint = f"did you mean {nearest[0]}?" if nearest else f"there are {', '.join(names)}"
        raise Invalid.field(f"{place}.type", f"there is no action {spec.type!r}; {hint}")
    return action


def _check_parts(given: Mapping[str, Any], kind: type[msgspec.Struct]) -> None:
    """What can be said before the templates are filled in: names, and values without any."""
    fields = {field.encode_name: field for field in msgspec.structs.fields(kind)}
    for name in given:
        if name not in fields:
            raise Invalid.field(name, "Object contains unknown field")
    for name, field in fields.items():
        if name not in given:
            if field.required:
                raise Invalid.field(name, "Object missing required field")
        elif not any(templates.expressions(given[name])):
            try:
                wire.convert(given[name], field.type)
            except Invalid as error:
                raise _within(error, name) from error


def _within(error: Error, path: str) -> Invalid:
    """The same, with where it is put before its own paths."""
    found = error.errors if isinstance(error, Invalid) else ()
    where = found[0].path if found else ""
    message = found[0].message if found else error.detail
    joined = f"{path}{where}" if where.startswith("[") or not where else f"{path}.{where}"
    return Invalid.field(joined, message)
