"""The dashboards: Grafana can read them, and they name metrics that there are."""

import json
import re
from pathlib import Path
from typing import Any

import pytest

from novapulse.alerts.rules import RULES
from novapulse.alerts.service import names_of
from tests.support.monitoring import DASHBOARDS, declared, metrics_in


@pytest.mark.parametrize("page", DASHBOARDS, ids=lambda page: page.stem)
def test_a_dashboard_is_whole(page: Path):
    board: dict[str, Any] = json.loads(page.read_text())
    panels = board["panels"]
    assert board["uid"] == f"novapulse-{page.stem}"
    assert len({panel["id"] for panel in panels}) == len(panels)
    places = [tuple(panel["gridPos"][name] for name in "xywh") for panel in panels]
    assert len(set(places)) == len(places)
    assert all(target["expr"] for panel in panels for target in panel["targets"])


def test_there_are_four():
    assert [page.stem for page in DASHBOARDS] == ["overview", "processes", "queues", "webhooks"]


@pytest.mark.parametrize("page", DASHBOARDS, ids=lambda page: page.stem)
def test_a_dashboard_shows_metrics_that_there_are(page: Path):
    assert metrics_in(page) - declared() == set()


def test_rules_judge_metrics_that_there_are():
    words = {
        name for name in names_of(RULES) if re.match(r"(http|queue|db|redis|novapulse)_", name)
    }
    labels = {"status_code", "config_error"}
    assert words - labels - declared() == set()
