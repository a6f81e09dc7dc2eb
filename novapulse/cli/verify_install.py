"""`novapulse verify-install`."""

import sys

import click

from novapulse.cli.listing import as_json_option, print_document


@click.command()
@as_json_option
def verify_install(as_json: bool) -> None:
    """Compare every installed file with the list that came with it; needs no network.

    Exit 0 when all are as they were packed, 1 when some are not. Whoever may change the
    files may change the list too: `sha256sum -c SHA256SUMS` on the archive comes first.
    """
    from novapulse.processes.release import own_release

    release = own_release()
    faults = release.faults()
    if as_json:
        rows = [{"path": one.path, "what": one.what} for one in faults]
        files = release.files()
        print_document(
            {
                "ok": not faults,
                "release": str(release.directory),
                "version": release.facts().version,
                "files": files,
                "faults": rows,
            }
        )
    else:
        for one in faults:
            click.echo(f"{one.what}: {release.directory / one.path}")
        if not faults:
            click.echo(f"{release.files()} files in {release.directory} are as they were packed")
    sys.exit(1 if faults else 0)
