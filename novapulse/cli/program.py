"""The program's verbs, and how their errors leave it."""

import sys
from collections.abc import Sequence
from importlib import import_module
from typing import NoReturn

import click

from novapulse import __version__

# Verb → module: a verb's module is imported when it is asked for.
VERBS = {
    "audit": "audit",
    "backup": "backup",
    "check": "check",
    "company": "company",
    "completion": "completion",
    "config": "config",
    "demo": "demo",
    "doctor": "doctor",
    "drain": "drain",
    "init": "init",
    "job": "job",
    "keys": "keys",
    "logs": "logs",
    "mail": "mail",
    "metrics": "metrics",
    "migrate": "migrate",
    "process": "process",
    "queue": "queue",
    "reload": "reload",
    "restart": "restart",
    "run": "run",
    "scale": "scale",
    "setup-token": "setup_token",
    "status": "status",
    "stop": "stop",
    "support": "support",
    "token": "token",
    "upgrade": "upgrade",
    "user": "user",
    "verify-install": "verify_install",
    "version": "version",
    "webhook": "webhook",
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


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Run one verb and exit; what went wrong is three lines on stderr, or a problem document."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    from novapulse.cli import outcome

    outcome.ensure_standard_streams()
    try:
        code = program.main(args=words, prog_name="novapulse", standalone_mode=False)
        outcome.flush_result()
    except Exception as error:
        if words[:1] == ["process"] and not isinstance(error, click.ClickException):
            raise  # a child's last words belong into the log whole
        outcome.leave(error, as_json="--json" in words)
    sys.exit(code if isinstance(code, int) else 0)
