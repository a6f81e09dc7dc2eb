"""Colour: for people at a terminal who have not said that they want none."""

import os
import sys

import click


def is_wanted() -> bool:
    """As no-color.org has it; a dumb terminal would show the codes themselves."""
    if os.environ.get("NO_COLOR") or os.environ.get("TERM") == "dumb":
        return False
    return sys.stdout is not None and sys.stdout.isatty()


def painted(text: str, colour: str | None) -> str:
    """`text` in a colour of click's; None leaves it as it is."""
    return click.style(text, fg=colour) if colour and is_wanted() else text
