"""A fault in a running appliance, judged by both: the built-in evaluator and Prometheus.

What the rules wait for is not waited for: a scrape from before a fault and one from after it are
played on, minute by minute at the same pace, to the one and to the other.
"""

import json
import shutil
import subprocess
from pathlib import Path

import pytest

from novapulse.alerts.rules import RULES
from novapulse.alerts.service import Watch, names_of
from novapulse.core.telemetry import scrape
from novapulse.core.telemetry.scrape import Labels, Sample
from tests.support.appliance import Appliance

ROOT = Path(__file__).parents[2]
MINUTES = 35  # longer than any rule's window and wait
Numbers = dict[tuple[str, Labels], float]
_COUNTED = ("_total", "_bucket", "_count", "_sum")


class Watched:
    """An appliance whose scrapes are read from its files: that needs no API process."""

    def __init__(self, appliance: Appliance) -> None:
        self.appliance = appliance

    def scrape(self) -> Numbers:
        """What the rules look at."""
        names = names_of(RULES)
        found = scrape.samples(self.appliance.root / "run" / "metrics")
        ours = (one for one in found if one.name.removesuffix("_bucket") in names)
        return {(one.name, one.labels): one.value for one in ours}

    def wait_for(
        self, name: str, *, above: float = -1.0, below: float = 1e18, **labels: str
    ) -> Numbers:
        """The scrape in which one of these samples is within the limits."""

        def is_there() -> bool:
            values = [
                value
                for (known, given), value in self.scrape().items()
                if known == name and labels.items() <= dict(given).items()
            ]
            return any(above < value < below for value in values)

        self.appliance.wait_for(is_there, seconds=30)
        return self.scrape()

    def calm(self, name: str, *, above: float) -> Numbers:
        """The same, when nothing fires: a probe that a busy machine held up is made again."""
        calm: list[Numbers] = []

        def is_calm() -> bool:
            found = self.wait_for(name, above=above)
            if not firing(played(found, found)):
                calm.append(found)
            return bool(calm)

        self.appliance.wait_for(is_calm, seconds=60)
        return calm[0]

    def check(self, before: Numbers, wanted: set[str], directory: Path) -> None:
        """These alerts fire, here and there; and there the same ones as here."""
        series = played(before, self.scrape())
        fired = firing(series)
        assert wanted <= fired
        check_prometheus(series, fired, directory)


def played(before: Numbers, after: Numbers) -> dict[tuple[str, Labels], list[float]]:
    """Counters go on growing by what they grew; of a gauge the last value stays."""
    found = {}
    for key, value in after.items():
        former = before.get(key, 0.0)
        step = value - former if key[0].endswith(_COUNTED) else 0.0
        first = former if step or key[0].endswith(_COUNTED) else value
        found[key] = [first + step * minute for minute in range(MINUTES + 1)]
    return found


def firing(series: dict[tuple[str, Labels], list[float]]) -> set[str]:
    """What the built-in evaluator says at the end of it."""
    watch, found = Watch(), set[str]()
    for minute in range(MINUTES + 1):
        rows = [Sample(name, labels, row[minute]) for (name, labels), row in series.items()]
        found = {rule.name for rule, _, _ in watch.judge(60.0 * minute, rows).values()}
    return found


def check_prometheus(
    series: dict[tuple[str, Labels], list[float]], fired: set[str], directory: Path
) -> None:
    """`promtool` runs the rule file over the same numbers, and has the same alerts."""
    if shutil.which("promtool") is None:
        pytest.skip("NOT TESTED: the same in Prometheus needs promtool, not here")
    rows = [
        {"series": _selector(*key), "values": " ".join(f"{value:.9g}" for value in row)}
        for key, row in series.items()
    ]
    rows.append({"series": 'up{job="novapulse"}', "values": f"1x{MINUTES}"})
    expression = 'count by (alertname) (ALERTS{alertstate="firing"}) > bool 0'
    samples = [{"labels": f'{{alertname="{name}"}}', "value": 1} for name in sorted(fired)]
    test = {
        "interval": "1m",
        "input_series": rows,
        "promql_expr_test": [
            {"expr": expression, "eval_time": f"{MINUTES}m", "exp_samples": samples}
        ],
    }
    rules = ROOT / "packaging" / "monitoring" / "rules.yml"
    whole = {"rule_files": [str(rules)], "evaluation_interval": "1m", "tests": [test]}
    file = directory / "live.yml"
    file.write_text(json.dumps(whole))  # JSON is YAML
    done = subprocess.run(
        ["promtool", "test", "rules", str(file)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]


def _selector(name: str, labels: Labels) -> str:
    pairs = ",".join(f"{label}={json.dumps(value)}" for label, value in labels)
    return f"{name}{{{pairs}}}"
