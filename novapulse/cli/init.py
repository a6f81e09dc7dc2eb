"""`novapulse init`."""

from pathlib import Path

import click

from novapulse.cli.talk import say, talk_options


@click.command()
@click.argument("directory", type=click.Path(file_okay=False, path_type=Path))
@talk_options
def init(directory: Path) -> None:
    """Make DIRECTORY a root: private, with a commented config.toml; one that is there stays."""
    from novapulse.processes.appliance import make_root

    root = directory.resolve()
    is_new = not (root / "config.toml").exists()
    make_root(root)
    click.echo(root / "config.toml")
    say("every key is in it with its default" if is_new else "it was there and is unchanged")
    say(f"next: novapulse run --root {root}")
