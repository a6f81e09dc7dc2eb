"""An order to a fork server, and the start line that a forked child shows."""

import json
import os
import subprocess
import sys

from supervisor.child import descriptor_variables
from supervisor.forkserver import Order

RENAME = """\
import sys
from pathlib import Path
from supervisor.prctl import set_command_line
set_command_line(sys.argv[1].split())
print(Path("/proc/self/cmdline").read_bytes().rstrip(bytes(1)).decode().replace(chr(0), "|"))
print("MARK=kept" in Path("/proc/self/environ").read_bytes().decode().split(chr(0)))
"""


def order(*, link: int | None = 8, **listeners: int) -> Order:
    return Order(
        argv=("novapulse", "api"),
        env={"A": "b"},
        cwd=None,
        output=7,
        link=link,
        listeners=listeners,
    )


def test_an_order_tells_in_which_order_its_descriptors_come():
    given = order(http=9, admin=10)
    assert given.descriptors == [7, 8, 9, 10]
    assert json.loads(given.frame())["fork"] == {
        "argv": ["novapulse", "api"],
        "env": {"A": "b"},
        "cwd": None,
        "supervisor": os.getpid(),
        "hasLink": True,
        "listeners": ["http", "admin"],
    }


def test_a_child_without_a_link_gets_none():
    assert order(link=None).descriptors == [7]
    assert json.loads(order(link=None).frame())["fork"]["hasLink"] is False
    assert descriptor_variables(None, {}) == {}


def test_what_a_child_was_handed_stands_in_its_environment():
    assert descriptor_variables(4, {"http": 5, "admin": 6}) == {
        "SUPERVISOR_LINK_FD": "4",
        "SUPERVISOR_LISTEN_FDS": "http=5,admin=6",
    }


def shown(words: str) -> list[str]:
    command = [sys.executable, "-c", RENAME, words]
    environment = {**os.environ, "MARK": "kept"}
    done = subprocess.run(
        command, env=environment, capture_output=True, text=True, timeout=30, check=True
    )
    return done.stdout.splitlines()


def test_a_process_shows_another_start_line():
    assert shown("novapulse process api") == ["novapulse|process|api", "True"]


def test_a_start_line_that_is_too_long_is_cut_and_leaves_the_environment_alone():
    long = "x" * 100 + " " + "y" * 4000
    line, is_kept = shown(long)
    assert line.startswith("x" * 100 + "|y")
    assert is_kept == "True"
