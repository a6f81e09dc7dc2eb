"""What is monitored: the dashboards' metrics and the declared ones."""

import json
import re
from pathlib import Path

from prometheus_client.metrics import MetricWrapperBase

from novapulse.core.telemetry import metrics
from novapulse.processes import gauges

ROOT = Path(__file__).parents[2]
DASHBOARDS = sorted((ROOT / "packaging" / "monitoring" / "dashboards").glob("*.json"))
_METRIC = re.compile(r"\b(?:http|queue|db|redis|novapulse)_[a-z_]+")
_LABELS = re.compile(r"\{[^}]*\}|by \([^)]*\)")


def metrics_in(dashboard: Path) -> set[str]:
    """Every metric that one of its panels asks for, without the ends of a histogram's series."""
    found: set[str] = set()
    for panel in json.loads(dashboard.read_text())["panels"]:
        for target in panel["targets"]:
            found |= set(_METRIC.findall(_LABELS.sub("", target["expr"])))
    return {name.removesuffix("_bucket") for name in found}


def declared() -> set[str]:
    own = [one for one in vars(metrics).values() if isinstance(one, MetricWrapperBase)]
    names = {f"{one._name}_total" if one._type == "counter" else one._name for one in own}
    return names | set(gauges.HELP)
