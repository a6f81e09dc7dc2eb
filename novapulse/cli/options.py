"""Options that many verbs share: where the program's files are."""

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from novapulse.cli.owner import act_as_owner_of
from novapulse.cli.talk import talk_options

if TYPE_CHECKING:
    from novapulse.core.settings import Loaded, Paths


@dataclass(frozen=True, slots=True)
class Location:
    """What `--root` or `--config` named; both None means the system's own places."""

    root: Path | None
    config: Path | None

    def load(self, overrides: Mapping[str, object] | None = None) -> "Loaded":
        """Resolve the settings there; `overrides` are other flags by full key name.

        Raises:
            ConfigurationInvalid: they are not usable.
        """
        from novapulse.core.settings import load

        return load(root=self.root, config=self.config, overrides=overrides)

    def paths(self) -> "Paths":
        """The program's files, also when the configuration is broken: a stop must still work."""
        from novapulse.core.settings.paths import find_paths

        return find_paths(self.root, self.config, os.environ)[0]


def location_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Give a verb `-q` and `-v`, and as `location: Location` what `--root` or `--config` name.

    Called by root it runs as the user whose files are there.
    """

    @talk_options
    @click.option("--root", metavar="DIR", help="Keep everything below DIR.")
    @click.option("--config", metavar="FILE", help="Read FILE for the configuration.")
    @wraps(command)
    def with_location(*args: Any, root: str | None, config: str | None, **kwargs: Any) -> Any:
        location = _location(root, config)
        act_as_owner_of(location.paths().state)
        return command(*args, location=location, **kwargs)

    return with_location


def _location(root: str | None, config: str | None) -> Location:
    if root is not None and config is not None:
        raise click.UsageError("a root has its own config.toml: give --root or --config, not both")
    if "" in (root, config):
        raise click.UsageError("--root and --config need a path")
    return Location(
        root=Path(root).resolve() if root else None,
        config=Path(config).absolute() if config else None,
    )
