"""The program's verbs, and how their errors leave it."""

import sys
from collections.abc import Sequence
from importlib import import_module
from typing import NoReturn

import click

from novapulse import __version__
from novapulse.cli import outcome
from novapulse.cli.verbs import ABOUT, VERBS


class Program(click.Group):
    def list_commands(self, ctx: click.Context) -> list[str]:
        return sorted(VERBS)

    def get_command(self, ctx: click.Context, name: str) -> click.Command | None:
        if name not in VERBS:
            return None
        module = VERBS[name][0]
        command: click.Command = getattr(import_module(f"novapulse.cli.{module}"), module)
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        try:
            return super().resolve_command(ctx, args)
        except click.NoSuchCommand as error:  # click looks among loaded ones for the nearest
            raise click.NoSuchCommand(
                error.command_name, possibilities=self.list_commands(ctx), ctx=ctx
            ) from error

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """The list of verbs, for which none of their modules is imported."""
        with formatter.section("Commands"):
            formatter.write_dl([(verb, text) for verb, (_, text) in VERBS.items() if text])


@click.group(cls=Program)
@click.version_option(__version__, prog_name="novapulse")
def program() -> None:
    pass


program.help = ABOUT


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Run one verb and exit; what went wrong is three lines on stderr, or a problem document."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    try:
        code = program.main(args=words, prog_name="novapulse", standalone_mode=False)
        outcome.flush_result()
    except KeyboardInterrupt:
        sys.exit(outcome.INTERRUPTED)
    except Exception as error:
        if words[:1] == ["process"] and not isinstance(error, click.ClickException):
            raise  # a child's last words belong into the log whole
        outcome.leave(error, as_json="--json" in words)
    sys.exit(code if isinstance(code, int) else 0)
