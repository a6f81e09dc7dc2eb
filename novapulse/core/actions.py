"""Actions: what a workflow can have done, by name.

A feature declares what it can do (`novapulse.work.actions`), a workflow names it
(`create_task`): neither imports the other. An action runs inside of the
transaction in which its step is recorded, and so exactly once. One that is
remote (an HTTP call) runs outside of any and may be repeated after a crash,
always with the same key.
"""

import inspect
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, TypeVar, get_type_hints

import msgspec

Perform = Callable[..., Awaitable[dict[str, Any]]]
Handler = TypeVar("Handler", bound=Perform)


@dataclass(frozen=True, slots=True)
class Action:
    """`perform(ctx, command, key=…)`, with `command` an `input`; what it returns is the output."""

    name: str
    input: type[msgspec.Struct]
    perform: Perform
    is_remote: bool


ACTIONS: dict[str, Action] = {}


def action(name: str, *, is_remote: bool = False) -> Callable[[Handler], Handler]:
    """Declare `async def perform(ctx, command, *, key)`; the annotation of `command` is its input.

    The key is the step's and the same at every attempt. An error of
    `core.errors` fails the step for good, but for one of a store that is away;
    `Retry`, `Snooze` and `GiveUp` mean what they mean in jobs; any other error is retried.
    """

    def declare(perform: Handler) -> Handler:
        if name in ACTIONS:
            raise ValueError(f"action {name} is declared twice")
        command = list(inspect.signature(perform).parameters)[1]
        kind = get_type_hints(perform)[command]
        ACTIONS[name] = Action(name=name, input=kind, perform=perform, is_remote=is_remote)
        return perform

    return declare
