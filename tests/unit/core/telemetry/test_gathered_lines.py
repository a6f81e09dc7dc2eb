"""Lines of the hot paths are written together, and none is lost or out of order."""

import json
import subprocess
import sys

_BEGIN = """
import asyncio, os
import structlog
from novapulse.core.telemetry import logs
logs.configure("api-1", level="info", style="json")
"""


def lines_of(program: str) -> list[str]:
    """The events that a process running this program logs."""
    done = subprocess.run(
        [sys.executable, "-c", _BEGIN + program], capture_output=True, check=True, timeout=30
    )
    return [json.loads(line)["event"] for line in done.stderr.splitlines()]


def test_lines_are_written_a_moment_later_while_the_process_goes_on() -> None:
    program = """
async def main():
    logs.write("first"), logs.write("second")
    await asyncio.sleep(10 * logs.GATHER_SECONDS)
    os._exit(0)  # without writing what is left
asyncio.run(main())
"""
    assert lines_of(program) == ["first", "second"]


def test_the_end_of_a_process_loses_none() -> None:
    program = """
async def main():
    for _ in range(3):
        logs.write("line")
asyncio.run(main())
"""
    assert lines_of(program) == ["line"] * 3


def test_any_other_line_writes_those_before_it() -> None:
    program = """
async def main():
    logs.write("before")
    structlog.get_logger().error("failed")
    logs.write("after")
asyncio.run(main())
"""
    assert lines_of(program) == ["before", "failed", "after"]


def test_a_second_loop_writes_its_lines_too() -> None:
    program = """
async def one():
    logs.write("one")
async def two():
    logs.write("two")
    await asyncio.sleep(10 * logs.GATHER_SECONDS)
asyncio.run(one())
asyncio.run(two())
os._exit(0)
"""
    assert lines_of(program) == ["one", "two"]


def test_many_lines_do_not_wait() -> None:
    program = """
async def main():
    for _ in range(logs.MAX_GATHERED_LINES):
        logs.write("line")
    os._exit(0)
asyncio.run(main())
"""
    assert len(lines_of(program)) == 500
