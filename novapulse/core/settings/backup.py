"""The section of backups."""

from typing import Annotated, Literal

from novapulse.core.settings.declare import Key, Reload, Section
from novapulse.core.settings.paths import check_path


class Backup(Section, frozen=True, kw_only=True):
    directory: Annotated[
        str,
        Key(
            help="Where backups go, best on another disk; empty means backups in the state "
            "directory.",
            reload=Reload.LIVE,
            check=check_path,
        ),
    ] = ""
    keep: Annotated[
        int,
        Key(
            help="Backups that are kept there, besides the newest one that was verified.",
            reload=Reload.LIVE,
            unit="backups",
            minimum=1,
            maximum=365,
        ),
    ] = 14
    passphrase_file: Annotated[
        str,
        Key(
            help="Path of the recovery passphrase that seals the keys; without it they stay out.",
            reload=Reload.LIVE,
            check=check_path,
        ),
    ] = ""
    encrypt: Annotated[
        Literal["keys", "all"],
        Key(
            help='What the passphrase seals: "keys" and configuration, or "all", the data too.',
            reload=Reload.LIVE,
        ),
    ] = "keys"
