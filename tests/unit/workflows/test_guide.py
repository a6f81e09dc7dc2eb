"""The guide's tables against the code."""

import re
from pathlib import Path

from novapulse.core.actions import ACTIONS
from novapulse.processes.features import ACTION_MODULES
from novapulse.rules.conditions import Operator
from novapulse.rules.templates import FILTERS
from novapulse.runs.model import RunState
from novapulse.workflows.model import DELAY, PARALLEL

GUIDE = (Path(__file__).resolve().parents[3] / "docs/guides/workflows.md").read_text()


def named_in_first_column(heading: str) -> set[str]:
    """The names in the first column of the first table below a heading."""
    part = re.split(rf"^## {heading}$", GUIDE, flags=re.MULTILINE)[1]
    rows = re.search(r"^\|(?:.*\n\|)*.*$", part, re.MULTILINE)
    assert rows is not None
    return {
        name
        for row in rows[0].splitlines()[2:]
        for name in re.findall("`([^`]+)`", row.split("|")[1])
    }


def test_the_guide_has_every_operator() -> None:
    assert named_in_first_column("Conditions") == set(Operator)


def test_the_guide_has_every_action() -> None:
    assert ACTION_MODULES
    assert named_in_first_column("Actions") == {*ACTIONS, DELAY, PARALLEL}


def test_the_guide_has_every_filter() -> None:
    sentence = GUIDE.partition("Filters: ")[2].partition("There is nothing else")[0]
    assert set(re.findall("`([a-z]+)", sentence)) == set(FILTERS)


def test_the_guide_has_every_state() -> None:
    assert named_in_first_column("Runs") == set(RunState) - {RunState.DRY_RUN}
