"""Every setting, declared once; loaded from file, environment and flags into one frozen tree."""

from novapulse.core.settings.handoff import dump, read_handoff, restore, write_handoff
from novapulse.core.settings.load import load
from novapulse.core.settings.loaded import Loaded
from novapulse.core.settings.paths import Paths, socket_dir
from novapulse.core.settings.problems import Problem, SettingsInvalid
from novapulse.core.settings.sections import Settings

__all__ = [
    "Loaded",
    "Paths",
    "Problem",
    "Settings",
    "SettingsInvalid",
    "dump",
    "load",
    "read_handoff",
    "restore",
    "socket_dir",
    "write_handoff",
]
