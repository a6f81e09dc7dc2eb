"""A supervisor lives as long as the machine; what it imports stays in memory so long."""

import subprocess
import sys

HEAVY = ("asyncio", "ssl", "hashlib", "logging", "tempfile", "multiprocessing", "http", "email")


def imported_by(module: str) -> set[str]:
    code = f"import sys; import {module}; print(*sys.modules)"
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return set(said.stdout.split())


def test_the_supervisor_imports_only_light_parts_of_the_standard_library():
    modules = {name.partition(".")[0] for name in imported_by("supervisor.loop")}
    assert not modules.intersection(HEAVY)
    ours = modules - {name.partition(".")[0] for name in imported_by("site")}
    assert ours - sys.stdlib_module_names - {"supervisor"} == set()


def test_a_child_without_an_event_loop_does_not_get_one_imported():
    assert "asyncio" not in imported_by("supervisor.child")
