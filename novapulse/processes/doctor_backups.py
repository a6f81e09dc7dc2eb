"""What the doctor says about backups: are there some, how old, tried, and with their keys?"""

import os
from collections.abc import Iterator
from datetime import datetime

from novapulse.backup.model import Backup
from novapulse.backup.shelf import Shelf
from novapulse.core.clock import system_clock
from novapulse.core.errors import Error
from novapulse.core.rights import acting_user
from novapulse.core.settings import Loaded
from novapulse.processes import places
from novapulse.processes.attach import has_data
from novapulse.processes.finding import Finding, bad, ok, skipped, warn

# As the alerts have them.
STALE_HOURS = 36.0
UNTRIED_DAYS = 40.0
_NAME = "backups"


def backups(loaded: Loaded) -> Iterator[Finding]:
    """Of the configured directory."""
    directory = places.backup_directory(loaded)
    if not has_data(loaded):
        yield skipped(_NAME, "there is no data yet")
        return
    if directory.exists() and not os.access(directory, os.W_OK | os.X_OK):
        fix = f"chown {os.geteuid()} {directory}; chmod 700 {directory}"
        yield bad(_NAME, f"{directory} can not be written", cause="its rights", fix=fix)
        return
    try:
        found = Shelf(directory).backups()
    except Error as error:
        yield skipped(_NAME, error.detail)
        return
    if not found:
        cause = "none was made, or they go elsewhere than to backup.directory"
        fix = "novapulse backup create; the timer novapulse-backup makes one each night"
        yield warn(_NAME, f"there is none in {directory}", cause=cause, fix=fix)
        return
    yield _age(found[0])
    yield _trial(found)
    if found[0].label is not None and found[0].label.secrets == "left out":
        cause = "no backup.passphrase_file is configured"
        file = f"a file of mode 0600 that belongs to {acting_user()}"
        fix = f"write a passphrase to {file} and name it there; keep it elsewhere too"
        yield warn("keys in backups", "they are left out", cause=cause, fix=fix)


def _age(newest: Backup) -> Finding:
    hours = _hours_since(newest.created_at)
    found = f"the newest is {hours:.0f} h old: {newest.name}"
    if hours > STALE_HOURS:
        fix = "novapulse backup create says what is wrong; systemctl status novapulse-backup.timer"
        return bad(_NAME, found, cause="nothing made one since", fix=fix)
    return ok(_NAME, found)


def _trial(found: list[Backup]) -> Finding:
    name = "trial of backups"
    tried = [one.label.verified_at for one in found if one.label and one.label.verified_at]
    if not tried:
        fix = "novapulse backup drill"
        return warn(name, "none was ever verified", cause="a drill is due each month", fix=fix)
    days = _hours_since(max(tried)) / 24
    if days > UNTRIED_DAYS:
        fix = "novapulse backup drill"
        text = f"the last one was {days:.0f} days ago"
        return warn(name, text, cause="a drill is due each month", fix=fix)
    return ok(name, f"the last one was {days:.0f} days ago")


def _hours_since(moment: datetime) -> float:
    return (system_clock() - moment).total_seconds() / 3600
