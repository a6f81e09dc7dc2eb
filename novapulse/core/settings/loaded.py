"""The result of loading: the tree, where every value came from, and the paths."""

import msgspec

from novapulse.core.settings.paths import Paths
from novapulse.core.settings.sections import Settings


class Loaded(msgspec.Struct, frozen=True, kw_only=True):
    """What a process starts with; the supervisor resolves it once for all its children.

    `origins` maps full key names to `default`, `/path/config.toml:12`,
    `environment NAME` or `flag --name`. `jwt_access_secret` is the operator's
    own signing secret, if there is one.
    """

    settings: Settings
    origins: dict[str, str]
    paths: Paths
    warnings: tuple[str, ...] = ()
    jwt_access_secret: bytes | None = None

    def __repr__(self) -> str:
        return f"<Loaded {self.paths.config_file}>"
