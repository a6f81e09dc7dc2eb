"""A process that was begun before its supervisor had a table of processes."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from supervisor.procfs import find_stat
from tests.support.supervised import (
    ENVIRONMENT,
    PROGRAMS,
    Appliance,
    descendants_of,
    is_alive,
    run_of,
)

# Signals 32 and 33: its posix_spawn leaves them ignored, for all that descends from there. So
# a head start has them ignored, and the others have, too, where `make` began all of this.
GLIBC_KEEPS = 0b11 << 31
BEGIN = """\
import os, sys
from supervisor.headstart import HeadStart
one = HeadStart("early", argv=(sys.executable, *sys.argv[1:]), env=dict(os.environ))
print(one.pid, flush=True)
sys.stdin.read()
if sys.argv[-1] == "let_go":
    one.let_go()
    assert one.pid is None
"""


def with_head_start(appliance: Appliance, name: str, **fields: object) -> None:
    appliance.add(name, "serve", **fields)
    argv, env = appliance.processes[-1]["argv"], appliance.processes[-1]["env"]
    appliance.options["head_start"] = {"name": name, "argv": argv, "env": env}


def begun(appliance: Appliance) -> int:
    return int(Path(appliance.path("begun")).read_text())


def test_it_is_the_first_incarnation_of_its_name(appliance: Appliance):
    with_head_start(appliance, "early", restart={"base_seconds": 0.05})
    appliance.add("other", "serve")
    appliance.start()
    early = appliance.process("early")
    assert (early["pid"], early["restarts"]) == (begun(appliance), 0)
    stat = find_stat(begun(appliance))
    assert stat is not None
    assert stat.parent == appliance.main.pid
    assert os.getsid(begun(appliance)) == begun(appliance)
    assert run_of(begun(appliance)) == run_of(appliance.pid("other"))
    os.kill(begun(appliance), signal.SIGKILL)
    appliance.wait_until(lambda: appliance.process("early")["pid"] not in (None, early["pid"]))
    appliance.wait_until(lambda: appliance.state() == "ready")
    mine = set(descendants_of(appliance.main.pid))
    assert appliance.stop() == 0
    assert not any(map(is_alive, mine))


def test_it_gets_what_an_executed_one_gets_and_nothing_that_was_open(appliance: Appliance):
    appliance.add("executed", "look_around", appliance.path("executed.json"), ready="exit")
    appliance.add("early", "look_around", appliance.path("early.json"), ready="exit")
    argv, env = appliance.processes[-1]["argv"], appliance.processes[-1]["env"]
    appliance.options["head_start"] = {"name": "early", "argv": argv, "env": env}
    reader, writer = os.pipe()  # as a shell or a service manager hands down
    appliance.start(pass_fds=(writer,))
    os.close(writer)
    os.close(reader)
    found = []
    for name in ("executed", "early"):
        appliance.wait_for(name, "done")
        found.append(look(appliance, name))
    executed, early = found
    assert len(early["fds"]) == len(executed["fds"]) == 4  # three standard ones and the link
    assert early["blocked"] == executed["blocked"]
    assert early["ignored"] | GLIBC_KEEPS == executed["ignored"] | GLIBC_KEEPS
    assert early["session"] == early["group"] == early["pid"]
    assert set(early["environ"]) == set(executed["environ"])


def look(appliance: Appliance, name: str) -> dict[str, object]:
    found: dict[str, object] = json.loads(Path(appliance.path(f"{name}.json")).read_text())
    return found


def test_it_ends_with_a_supervisor_that_is_killed(appliance: Appliance):
    with_head_start(appliance, "early")
    appliance.start()
    appliance.main.kill()
    appliance.main.wait(30)
    assert_ends(begun(appliance))


def begin(*words: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", BEGIN, str(PROGRAMS / "child.py"), "serve", *words],
        env=ENVIRONMENT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


def assert_ends(pid: int) -> None:
    deadline = time.monotonic() + 2
    while is_alive(pid):
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_one_that_nobody_takes_ends_with_who_began_it():
    with begin() as beginner:
        pid = int(beginner.stdout.readline())
        assert is_alive(pid)
        beginner.kill()
    assert_ends(pid)


def test_one_that_is_let_go_ends():
    with begin("let_go") as beginner:
        pid = int(beginner.stdout.readline())
        assert is_alive(pid)
        beginner.stdin.close()
        assert beginner.wait(20) == 0
    assert_ends(pid)
