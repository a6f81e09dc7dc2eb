"""`novapulse upgrade …`: another release in the place of this one."""

import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from novapulse.cli.confirm import Consent, consent_options
from novapulse.cli.listing import as_json_option, print_document
from novapulse.cli.options import Location
from novapulse.cli.talk import say, talk_options

if TYPE_CHECKING:
    from novapulse.processes.finding import Finding

_archive = click.argument("archive", type=click.Path(exists=True, dir_okay=False, path_type=Path))
_without_backup = click.option(
    "--without-backup", is_flag=True, help="Go on without a backup of the last 24 hours."
)
_config = click.option("--config", metavar="FILE", help="Read FILE for the configuration.")


@click.group()
def upgrade() -> None:
    """Put another release in the place of this one, or go back to the former one."""


@upgrade.command()
@_archive
@_without_backup
@as_json_option
@_config
@talk_options
def check(archive: Path, config: str | None, *, without_backup: bool, as_json: bool) -> None:
    """Say whether ARCHIVE can take this release's place; changes nothing.

    Exit 0 when it can, 1 when not.
    """
    from novapulse.processes.upgrade import examine, installation, unpacked

    _require_root()
    here = installation()
    with unpacked(archive, here) as new:
        findings = examine(new, here, _location(config).load())
    is_fine = not _obstacles(findings, without_backup=without_backup)
    if as_json:
        print_document({"ok": is_fine, "findings": [one.as_document() for one in findings]})
    else:
        _print(findings)
    sys.exit(0 if is_fine else 1)


@upgrade.command()
@_archive
@_without_backup
@consent_options
@_config
@talk_options
def apply(archive: Path, config: str | None, *, without_backup: bool, consent: Consent) -> None:
    """Check ARCHIVE, migrate the database, switch to the new release and restart.

    When it does not become ready, the former release is put back. Requests fail or wait
    while it restarts; with novapulse.socket they wait.
    """
    from novapulse.processes import switching
    from novapulse.processes.upgrade import examine, installation, unpacked

    _require_root()
    here = installation()
    with unpacked(archive, here) as new:
        location = _location(config)
        findings = examine(new, here, location.load())
        if _obstacles(findings, without_backup=without_backup):
            _print(findings)
            sys.exit(1)
        version = new.facts().version
        if not consent.to(f"upgrade {here.current.facts().version} to {version}"):
            return
        switching.apply(new, here, say=say, config=location.config)
    click.echo(f"NovaPulse {version} is in use.")


@upgrade.command()
@consent_options
@talk_options
def rollback(consent: Consent) -> None:
    """Go back to the release before this one, as long as the database's schema is the same."""
    from novapulse.processes import switching
    from novapulse.processes.upgrade import installation

    _require_root()
    here = installation()
    previous = switching.require_previous(here)
    version = previous.facts().version
    if consent.to(f"go back from {here.current.facts().version} to {version}"):
        switching.roll_back(previous, here, say)
        click.echo(f"NovaPulse {version} is in use.")


def _require_root() -> None:
    from novapulse.core.errors import Forbidden

    if os.geteuid() != 0:
        raise Forbidden("Only root can exchange what is installed")


def _location(config: str | None) -> Location:
    return Location(root=None, config=Path(config).absolute() if config else None)


def _obstacles(findings: "Sequence[Finding]", *, without_backup: bool) -> "list[Finding]":
    return [
        one
        for one in findings
        if one.verdict == "bad" and not (one.name == "backup" and without_backup)
    ]


def _print(findings: "Sequence[Finding]") -> None:
    for one in findings:
        click.echo(f"{one.verdict:<7} {one.name}: {one.found}")
        for label, text in (("cause", one.cause), ("fix", one.fix)):
            if text:
                click.echo(f"        {label}: {text}")
