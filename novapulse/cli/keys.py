"""`novapulse keys …`: what seals secrets in the database, and what signs access tokens."""

import sys
from typing import TYPE_CHECKING

import click

from novapulse.cli.confirm import Consent, consent_options
from novapulse.cli.listing import as_json_option, print_document, print_table
from novapulse.cli.options import Location, location_options
from novapulse.cli.talk import say

if TYPE_CHECKING:
    from collections.abc import Sequence

    from novapulse.ops.keys import BadValue


@click.group()
def keys() -> None:
    """Keys that seal secrets in the database (data) and that sign access tokens (jwt)."""


@keys.command()
@as_json_option
@location_options
def check(location: Location, as_json: bool) -> None:
    """Open everything that is sealed: exit 0 when all of it opens, 1 when something does not."""
    from novapulse.cli.session import with_context
    from novapulse.ops import keys as service
    from novapulse.processes.features import SEALED

    found = with_context(location, lambda ctx: service.check(ctx, SEALED))
    is_well = not any(one.bad_values for one in found)
    if as_json:
        print_document({"ok": is_well, "collections": found})
    else:
        columns = ("collection", "values", "do not open", "by key")
        shown = [", ".join(f"{key} {n}" for key, n in one.by_key.items()) for one in found]
        rows = [(one.collection, one.values, one.bad_values) for one in found]
        print_table(columns, [(*row, text) for row, text in zip(rows, shown, strict=True)])
        _print_bad([bad for one in found for bad in one.bad])
    sys.exit(0 if is_well else 1)


@keys.group()
def rotate() -> None:
    """Make a new key, and let the former one go when it is not needed any more."""


@rotate.command()
@click.option("--keep-old", is_flag=True, help="Leave the former keys in the file.")
@as_json_option
@location_options
def data(location: Location, keep_old: bool, as_json: bool) -> None:
    """Seal everything by a new key while the program runs; takes more than a minute.

    Interrupted, it goes on where it was when it is called again. Exit 1 when something
    does not open: the former keys are kept then.
    """
    from novapulse.cli.session import with_context
    from novapulse.ops import keys as service
    from novapulse.processes import places
    from novapulse.processes.features import SEALED

    path = places.data_key_file(location.load())
    done = with_context(
        location,
        lambda ctx: service.rotate_data(ctx, path, fields=SEALED, keep_old=keep_old, say=say),
    )
    if as_json:
        print_document({"ok": not done.left, "rotation": done})
    else:
        retired = f"; gone: {', '.join(done.retired)}" if done.retired else ""
        click.echo(f"{done.renewed} values are sealed by {done.current} now{retired}")
        _print_bad(done.left)
    sys.exit(1 if done.left else 0)


@rotate.command()
@as_json_option
@location_options
def jwt(location: Location, as_json: bool) -> None:
    """Sign access tokens by a new key; nobody is signed out.

    The former key verifies until the last token that it signed has expired.
    """
    from novapulse.cli.session import with_context
    from novapulse.ops import keys as service
    from novapulse.processes import places

    loaded = location.load()
    path = places.token_key_file(loaded)
    is_given = loaded.jwt_access_secret is not None
    key_id = with_context(location, lambda ctx: service.rotate_jwt(ctx, path, is_given=is_given))
    if as_json:
        print_document({"current": key_id})
    else:
        click.echo(f"access tokens are signed by {key_id} now")


@keys.command()
@consent_options
@location_options
def adopt(location: Location, consent: Consent) -> None:
    """Make this appliance's keys those of all who share its database: others do not start any more.

    For when the former ones are lost: what they sealed stays closed.
    """
    from novapulse.cli.session import with_context
    from novapulse.ops import keys as service
    from novapulse.processes.same_keys import marks

    loaded = location.load()
    if consent.to("let the keys of this appliance be the right ones"):
        with_context(location, lambda ctx: service.adopt(ctx, marks(loaded)))
        click.echo("the keys of this appliance are the right ones now")


def _print_bad(values: "Sequence[BadValue]") -> None:
    for bad in values:
        click.echo(f"{bad.id} {bad.path}: {bad.problem}")
