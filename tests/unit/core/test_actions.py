"""Actions: declared once, with the input that their handler takes."""

from typing import Any

import msgspec
import pytest

from novapulse.core.actions import ACTIONS, action
from novapulse.core.context import Context


class Greeting(msgspec.Struct):
    name: str


async def greet(ctx: Context, command: Greeting, *, key: str) -> dict[str, Any]:
    return {"greeted": command.name}


def test_an_action_is_found_by_its_name_with_its_input() -> None:
    try:
        action("test_greet", is_remote=True)(greet)
        found = ACTIONS["test_greet"]
        assert (found.input, found.perform, found.is_remote) == (Greeting, greet, True)
        with pytest.raises(ValueError, match="twice"):
            action("test_greet")(greet)
    finally:
        del ACTIONS["test_greet"]
