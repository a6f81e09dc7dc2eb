"""`novapulse backup …`: make, list, verify, try and restore backups."""

import re
import sys
from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from novapulse.cli.confirm import Consent, consent_options
from novapulse.cli.listing import as_json_option, print_document, print_table
from novapulse.cli.options import Location, location_options
from novapulse.cli.progress import Counter
from novapulse.cli.talk import say

if TYPE_CHECKING:
    from novapulse.backup.model import Backup, Manifest
    from novapulse.core.settings import Loaded

_AGE = re.compile(r"([0-9]{1,5})([hd])")
_HOURS = {"h": 1, "d": 24}


class Age(click.ParamType[float]):
    """`20h` or `30d`, as hours."""

    name = "age"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> float:
        match = _AGE.fullmatch(str(value))
        if match is None:
            self.fail(f"{value} is not an age such as 20h or 30d", param, ctx)
        return float(int(match[1]) * _HOURS[match[2]])


_older_option = click.option(
    "--if-older-than",
    "hours",
    type=Age(),
    metavar="AGE",
    help="Only when the last one is older than this, such as 20h or 30d.",
)


def _passphrase_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Give a verb what opens a backup; it receives a function `secret(loaded)`."""

    @click.option(
        "--passphrase-file",
        type=click.Path(dir_okay=False, path_type=Path),
        help="The recovery passphrase, instead of backup.passphrase_file.",
    )
    @click.option(
        "--without-passphrase",
        is_flag=True,
        help="Do not use any: keys are left out, or stay closed.",
    )
    @wraps(command)
    def with_secret(
        *args: Any, passphrase_file: Path | None, without_passphrase: bool, **kwargs: Any
    ) -> Any:
        from novapulse.processes.backups import passphrase, read_passphrase

        given = None
        if passphrase_file is not None and not without_passphrase:
            # At once: root, who named it, is about to become the program's user.
            given = read_passphrase(passphrase_file)

        def secret(loaded: "Loaded") -> bytes | None:
            if given is not None or without_passphrase:
                return given
            return passphrase(loaded)

        return command(*args, secret=secret, **kwargs)

    return with_secret


@click.group()
def backup() -> None:
    """Backups: one moment of the database, with the keys and the configuration."""


@backup.command()
@click.option(
    "--to",
    "directory",
    type=click.Path(file_okay=False, path_type=Path),
    help="Another directory than backup.directory; nothing is removed there.",
)
@_older_option
@_passphrase_options
@as_json_option
@location_options
def create(
    location: Location,
    *,
    directory: Path | None,
    hours: float | None,
    secret: Callable[["Loaded"], bytes | None],
    as_json: bool,
) -> None:
    """Make a backup while the program runs, or while it does not, and print its path."""
    from novapulse.cli.session import keep_stdout_for_the_result
    from novapulse.processes import backups

    keep_stdout_for_the_result()
    loaded = location.load()
    directory = directory.absolute() if directory else None
    if hours is not None:
        newest = backups.age_of_newest(loaded, directory)
        if newest is not None and newest.hours < hours:
            say(f"{newest.name} is {newest.hours:.0f} h old: none is made")
            if as_json:
                print_document({"made": None})
            return
    with Counter("written") as counter:
        made = backups.create(loaded, directory=directory, secret=secret(loaded), progress=counter)
    if made.manifest.secrets == "left out":
        say("THE KEYS ARE NOT IN THIS BACKUP: without state/secrets of this installation nobody")
        say("can use second factors or webhook secrets. Name a backup.passphrase_file.")
    for name in made.trimmed:
        say(f"removed {name}")
    if as_json:
        print_document(
            {"made": {"path": str(made.path), **_facts(made.manifest)}, "removed": made.trimmed}
        )
    else:
        click.echo(made.path)


@backup.command("list")
@as_json_option
@location_options
def list_(location: Location, as_json: bool) -> None:
    """The backups in the directory, the newest first."""
    from novapulse.backup.shelf import Shelf
    from novapulse.processes import places

    rows = Shelf(places.backup_directory(location.load())).backups()
    if as_json:
        print_document({"backups": rows})
        return
    columns = ("name", "size", "documents", "keys", "verified", "drilled")
    print_table(columns, [_row(row) for row in rows])


@backup.command()
@click.argument("name", required=False)
@_passphrase_options
@as_json_option
@location_options
def verify(
    location: Location,
    *,
    name: str | None,
    secret: Callable[["Loaded"], bytes | None],
    as_json: bool,
) -> None:
    """Restore a backup into a database to throw away, compare, and mark it as verified.

    NAME is one of the list, or a path; without one it is the newest. Exit 0 when it is
    whole, 65 when it is not.
    """
    from novapulse.cli.session import keep_stdout_for_the_result
    from novapulse.processes import backups

    keep_stdout_for_the_result()
    loaded = location.load()
    path = backups.find(loaded, name)
    with Counter("restored") as counter:
        examined = backups.verify(loaded, path, secret=secret(loaded), progress=counter)
    if as_json:
        print_document({"ok": True, "backup": {"path": str(path), **_facts(examined.manifest)}})
    else:
        click.echo(f"{path.name} is whole: {examined.manifest.documents} documents")
    if examined.manifest.secrets == "sealed" and examined.keys is None:
        say("its keys were not looked at: that needs the passphrase file")


@backup.command()
@click.argument("name", required=False)
@_older_option
@_passphrase_options
@as_json_option
@location_options
def drill(
    location: Location,
    *,
    name: str | None,
    hours: float | None,
    secret: Callable[["Loaded"], bytes | None],
    as_json: bool,
) -> None:
    """Rehearse the disaster: verify a backup, migrate it, open all that is sealed in it, and
    walk its audit chains. Without NAME it is the newest.

    Exit 0 when all is well, 1 when something does not open or fit, 65 when it is not whole.
    """
    from novapulse.cli.session import keep_stdout_for_the_result
    from novapulse.processes import backups

    keep_stdout_for_the_result()
    loaded = location.load()
    last = backups.hours_since_drill(loaded)
    if hours is not None and last is not None and last < hours:
        say(f"the last drill was {last:.0f} h ago: none is done")
        return
    path = backups.find(loaded, name)
    with Counter("restored") as counter:
        outcome = backups.drill(loaded, path, secret=secret(loaded), progress=counter)
    if as_json:
        print_document({"ok": outcome.is_well, "backup": path.name, "drill": outcome})
    else:
        for problem in outcome.problems:
            click.echo(problem)
        click.echo(
            f"{path.name}: {outcome.documents} documents, schema {outcome.schema_number}, "
            f"{outcome.sealed_values} sealed values, {outcome.audit_chains} audit chains: "
            + ("all is well" if outcome.is_well else f"{len(outcome.problems)} problems")
        )
    sys.exit(0 if outcome.is_well else 1)


@backup.command()
@click.argument("name")
@click.option("--database", metavar="NAME", help="Into this other, empty database, to look into.")
@click.option("--without-keys", is_flag=True, help="Also when what is sealed will not open.")
@_passphrase_options
@consent_options
@as_json_option
@location_options
def restore(
    location: Location,
    consent: Consent,
    *,
    name: str,
    database: str | None,
    without_keys: bool,
    secret: Callable[["Loaded"], bytes | None],
    as_json: bool,
) -> None:
    """Fill an empty installation, or an empty database, from a backup; the program must not run.

    NAME is one of the list, or a path. It is read through before anything is touched.
    """
    from novapulse.cli.session import keep_stdout_for_the_result
    from novapulse.processes import backups
    from novapulse.processes.restoring import Wanted
    from novapulse.processes.restoring import restore as fill

    keep_stdout_for_the_result()
    loaded = location.load()
    wanted = Wanted(
        path=backups.find(loaded, name),
        passphrase=secret(loaded),
        database=database,
        without_keys=without_keys,
    )
    with Counter("restored") as counter:
        done = fill(location.load, wanted, agree=consent.to, progress=counter)
    if done is None:
        return
    if as_json:
        facts = {"database": done.database, "configWritten": done.config_written}
        print_document({"restored": {**_facts(done.manifest), **facts}})
    else:
        click.echo(f"restored {done.manifest.documents} documents into {done.database}")
    if database is None:
        say("everybody has to sign in again; novapulse run starts it")


def _facts(manifest: "Manifest") -> dict[str, Any]:
    return {
        "id": manifest.id,
        "createdAt": manifest.created_at,
        "documents": manifest.documents,
        "secrets": manifest.secrets,
        "collections": {rows.name: rows.documents for rows in manifest.collections},
    }


def _row(one: "Backup") -> tuple[object, ...]:
    label = one.label
    size = f"{one.bytes / 2**20:.1f} MiB"
    if label is None:
        return one.name, size, "?", "?", "?", "?"
    return (
        one.name,
        size,
        label.documents,
        "encrypted" if one.is_encrypted else label.secrets,
        _day(label.verified_at),
        _day(label.drilled_at),
    )


def _day(moment: Any) -> str:
    return f"{moment:%Y-%m-%d %H:%M}" if moment is not None else "no"
