"""What the supervisor knows, as Prometheus text in a file that `/metrics` adds to its own.

The supervisor's process must not load prometheus_client for it, and has to be able to say
something while no API process lives: `novapulse metrics` reads the same file.
"""

import os
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from supervisor.machine import State

FILE_NAME = "supervisor.prom"
STATE = "novapulse_process_state"
RESTARTS = "novapulse_process_restarts_total"
RELOAD_WELL = "novapulse_config_last_reload_successful"
RELOAD_TIME = "novapulse_config_last_reload_timestamp_seconds"
HELP = {
    STATE: ("gauge", "1 for the state that a process is in, 0 for the others."),
    RESTARTS: ("counter", "Starts of a process after it ended unasked; rolls do not count."),
    RELOAD_WELL: ("gauge", "Whether the last reload (or the start) was successful."),
    RELOAD_TIME: ("gauge", "When that was, as a Unix time."),
}


class Gauges:
    """Writes the file anew at every change; one that can not be written costs nothing else."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._processes: Sequence[Mapping[str, Any]] = ()
        self._is_well = True
        self._reloaded_at = time.time()
        self._written = ""

    def reloaded(self, *, well: bool) -> None:
        self._is_well, self._reloaded_at = well, time.time()
        self._write()

    def update(self, status: Mapping[str, Any]) -> None:
        """Take the supervisor's status."""
        self._processes = [row for row in status["processes"] if row["part"] == "serving"]
        self._write()

    def _write(self) -> None:
        text = self._render()
        if text == self._written:
            return
        self._written = text
        unfinished = self._path.with_name(f".{self._path.name}.{os.getpid()}")
        try:
            unfinished.write_text(text, encoding="utf-8")
            unfinished.replace(self._path)
        except OSError:
            pass  # a full disk: shown by whoever looks at the disk

    def _render(self) -> str:
        rows = self._processes
        samples = {
            STATE: [
                (f'{{process="{row["name"]}",state="{state}"}}', int(row["state"] == state))
                for row in rows
                for state in State
            ],
            RESTARTS: [(f'{{process="{row["name"]}"}}', row["restarts"]) for row in rows],
            RELOAD_WELL: [("", int(self._is_well))],
            RELOAD_TIME: [("", round(self._reloaded_at, 3))],
        }
        lines = []
        for name, values in samples.items():
            kind, text = HELP[name]
            lines += [f"# HELP {name} {text}", f"# TYPE {name} {kind}"]
            lines += [f"{name}{labels} {value}" for labels, value in values]
        return "\n".join(lines) + "\n"
