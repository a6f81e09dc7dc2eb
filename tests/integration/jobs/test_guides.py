"""The samples of the guides, run as they are printed."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from novapulse.core.jobs.kinds import Queue, find_kind, hueys
from tests.support.engine import Engine

GUIDES = Path(__file__).resolve().parents[3] / "docs" / "guides"
PYTHON = re.compile(r"^```python\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def code_of(page: str) -> list[str]:
    return PYTHON.findall((GUIDES / page).read_text())


@pytest.fixture
def writing() -> Iterator[dict[str, Any]]:
    """What the guide on writing a job declares, in one module."""
    names: dict[str, Any] = {"__name__": "guide"}
    exec("\n".join(code_of("writing-a-job.md")), names)  # noqa: S102 - it is our own page
    yield names
    for name in ("greet", "tidy"):
        names[name].unregister()


async def test_the_job_of_the_guide_works_as_its_test_says(
    engine: Engine, writing: dict[str, Any]
) -> None:
    await writing["test_somebody_is_greeted"](engine)


async def test_the_job_of_the_guide_gives_up_where_it_says(
    engine: Engine, writing: dict[str, Any]
) -> None:
    async with engine.working():
        job_id = await engine.add_one("guide.greet", {"name": "Ada", "language": "xx"})
        row = await engine.until_state(job_id, "dead")
    assert row["errors"][-1]["message"] == "nobody here speaks xx"


def test_the_periodic_job_of_the_guide_is_due_at_half_past_three(writing: dict[str, Any]) -> None:
    from datetime import UTC, datetime

    night = datetime(2026, 11, 23, 3, 30, tzinfo=UTC)
    assert find_kind("guide.tidy") is writing["tidy"].task_class
    assert hueys[Queue.REPORT].due_periodic(night) == ["guide.tidy"]
    assert hueys[Queue.REPORT].due_periodic(night.replace(minute=31)) == []


def test_the_samples_for_huey_users_are_python_that_fits() -> None:
    script, immediate = code_of("jobs-for-huey-users.md")
    compile(script, "script", "exec")
    called: list[dict[str, Any]] = []
    names: dict[str, Any] = {"greet": lambda **payload: called.append(payload)}
    exec(immediate, names)  # noqa: S102 - it is our own page
    names["test_it_greets"]()
    assert called == [{"name": "Ada"}]
    assert not hueys[Queue.EMAIL].immediate
