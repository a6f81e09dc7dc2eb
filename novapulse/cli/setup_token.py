"""`novapulse setup-token`."""

import click

from novapulse.cli.listing import as_json_option, print_document
from novapulse.cli.options import Location, location_options


@click.command(name="setup-token")
@as_json_option
@location_options
def setup_token(location: Location, as_json: bool) -> None:
    """Print the token that founding the first company needs; exit 66 once it is used."""
    from novapulse.core.errors import NotFound
    from novapulse.processes import places

    try:
        token = places.setup_token_file(location.load()).read_text(encoding="ascii").strip()
    except FileNotFoundError as error:
        raise NotFound(
            "There is no setup token: it was used, or NovaPulse was never started here"
        ) from error
    if as_json:
        print_document({"setupToken": token})
    else:
        click.echo(token)
