"""`novapulse logs`."""

import click

from novapulse.cli.listing import as_json_option, print_document
from novapulse.cli.options import Location, location_options


@click.command()
@click.argument("name", metavar="[NAME|ROLE]", required=False)
@click.option("-f", "--follow", is_flag=True, help="Go on with what is written from now on.")
@click.option(
    *("-n", "--lines", "limit"),
    type=click.IntRange(min=1),
    default=100,
    show_default=True,
    help="How many at most.",
)
@click.option("--request", metavar="ID", help="Only the story of this request, job or delivery.")
@as_json_option
@location_options
def logs(
    location: Location,
    name: str | None,
    *,
    follow: bool,
    limit: int,
    request: str | None,
    as_json: bool,
) -> None:
    """Show what the processes wrote, oldest first; with --request all of it that has the id."""
    from novapulse.core.errors import NotFound
    from novapulse.processes.logfiles import LogFiles

    if follow and as_json:
        raise click.UsageError("a document has an end: give --follow or --json, not both")
    if location.root is None:
        raise JournalHasIt(name, request)
    files = LogFiles(location.paths().log)
    names = files.matching(name)
    if not names:
        known = ", ".join(files.names())
        if not known:
            raise NotFound(f"Nothing was ever logged in {location.paths().log}")
        raise NotFound(f"There is no log of {name}; there are: {known}")
    found = files.read(names, limit=None if request else limit, holding=request or "")
    if as_json:
        print_document({"lines": [{"name": one.name, "line": one.text} for one in found]})
        return
    is_alone = len(names) == 1
    for line in found:
        click.echo(line.text if is_alone else f"{line.name} | {line.text}")
    if follow:
        for line in files.follow(lambda: files.matching(name), holding=request or ""):
            click.echo(line.text if is_alone else f"{line.name} | {line.text}")


class JournalHasIt(click.ClickException):
    """Without a root, the journal keeps the lines."""

    exit_code = 69

    def __init__(self, name: str | None, request: str | None) -> None:
        wanted = request or (f'"process":"{name}' if name else "")
        command = "journalctl -u novapulse -o cat" + (f" -g '{wanted}'" if wanted else "")
        super().__init__(
            f"log files are kept with --root DIR only; the journal has them:\n  try: {command}"
        )
