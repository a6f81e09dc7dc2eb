"""`novapulse scale`."""

import click

from novapulse.cli.listing import as_json_option, print_document
from novapulse.cli.options import Location, location_options
from novapulse.cli.remote import ask
from novapulse.cli.talk import say


@click.command()
@click.argument("counts", metavar="ROLE=N...", nargs=-1, required=True)
@as_json_option
@location_options
def scale(location: Location, counts: tuple[str, ...], as_json: bool) -> None:
    """Have so many processes of a role: api=3, consumer:webhook=2.

    Holds until the next start, or until a reload finds another number in the
    configuration. Processes that are too many finish their work first.
    """
    answer = ask(location, "scale", progress=say, counts=dict(map(_count, counts)))
    if as_json:
        print_document(answer)
        return
    for change in answer["changes"]:
        click.echo(f"{change['key']}: {change['before']} → {change['after']}")
        say(f"to keep it: {change['key']} = {change['after']} in the configuration")


def _count(text: str) -> tuple[str, int]:
    role, _, number = text.rpartition("=")
    if not role or not number.isascii() or not number.isdigit():
        raise click.BadParameter(f"{text!r} is not like api=3", param_hint="ROLE=N")
    return role, int(number)
