"""The program's verbs, and how their errors leave it."""

import sys
from collections.abc import Sequence
from importlib import import_module
from typing import Any

import click

from novapulse import __version__

# Verb → module: a verb's module is imported when it is asked for.
VERBS = {
    "config": "config",
    "process": "process",
    "run": "run",
    "setup-token": "setup_token",
    "status": "status",
    "stop": "stop",
    "user": "user",
    "version": "version",
}


class Program(click.Group):
    def list_commands(self, ctx: click.Context) -> list[str]:
        return sorted(VERBS)

    def get_command(self, ctx: click.Context, name: str) -> click.Command | None:
        if name not in VERBS:
            return None
        module = import_module(f"novapulse.cli.{VERBS[name]}")
        command: click.Command = getattr(module, VERBS[name])
        return command


@click.group(cls=Program)
@click.version_option(__version__, prog_name="novapulse")
def program() -> None:
    """NovaPulse: a self-hosted work-and-webhook platform in one program."""


def main(arguments: Sequence[str] | None = None) -> Any:
    """Run one verb and exit; an error of ours is three lines on stderr and its exit code."""
    from novapulse.cli.outcome import explain
    from novapulse.core.errors import Error
    from novapulse.core.exitcodes import exit_code_of

    try:
        program.main(args=list(arguments) if arguments is not None else None, prog_name="novapulse")
    except Error as error:
        click.echo(explain(error), err=True)
        sys.exit(exit_code_of(error))
