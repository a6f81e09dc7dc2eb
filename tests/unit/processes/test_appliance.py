"""The supervisor's own lines, by their importance."""

from types import SimpleNamespace
from typing import Any

import pytest

from novapulse.core.settings import Settings
from novapulse.core.settings.sections import Logging
from novapulse.processes.appliance import _describe
from supervisor.report import json_line, record


@pytest.mark.parametrize(
    ("wanted", "written"),
    [("debug", 3), ("info", 3), ("warning", 2), ("error", 1)],
)
def test_the_supervisor_writes_what_the_log_level_wants(wanted: Any, written: int):
    bound = SimpleNamespace(settings=Settings(logging=Logging(level=wanted)))
    configuration: Any = SimpleNamespace(bound=bound)
    describe = _describe(configuration, json_line)
    lines = [describe(record(level, "x")) for level in ("info", "warning", "error")]
    assert sum(map(bool, lines)) == written


def test_a_reload_changes_what_is_written():
    configuration: Any = SimpleNamespace(bound=SimpleNamespace(settings=Settings()))
    describe = _describe(configuration, json_line)
    assert describe(record("info", "x"))
    configuration.bound = SimpleNamespace(settings=Settings(logging=Logging(level="error")))
    assert not describe(record("info", "x"))
