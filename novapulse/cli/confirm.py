"""What verbs that take something away ask first."""

import sys
from collections.abc import Callable
from functools import wraps
from typing import Any

import click


class Consent:
    """Whether to go on: given by `--yes`, asked for on a terminal, never with `--dry-run`."""

    def __init__(self, *, is_given: bool, is_dry_run: bool) -> None:
        self._is_given = is_given
        self._is_dry_run = is_dry_run

    def to(self, deed: str) -> bool:
        """Ask about `deed` ("disable ann@example.com"); leaves the program when refused."""
        if self._is_dry_run:
            click.echo(f"would {deed}")
            return False
        if not self._is_given:
            if not sys.stdin.isatty():
                raise click.UsageError(f"--yes is needed to {deed} without a terminal")
            click.confirm(f"{deed[0].upper()}{deed[1:]}?", abort=True)
        return True


def consent_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Give a verb `--yes` and `--dry-run`; it receives them as `consent: Consent`."""

    @click.option("--yes", is_flag=True, help="Do not ask.")
    @click.option("--dry-run", is_flag=True, help="Say what would be done, and do nothing.")
    @wraps(command)
    def with_consent(*args: Any, yes: bool, dry_run: bool, **kwargs: Any) -> Any:
        return command(*args, consent=Consent(is_given=yes, is_dry_run=dry_run), **kwargs)

    return with_consent
