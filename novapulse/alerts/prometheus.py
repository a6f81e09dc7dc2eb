"""The rules as a Prometheus rule file."""

import json
from collections.abc import Iterator

from novapulse.alerts.rules import RULES

_RUNBOOK = "docs/operations/runbook.md"


def render() -> str:
    """YAML, of which JSON's strings are a part."""
    return "\n".join(_lines()) + "\n"


def _lines() -> Iterator[str]:
    yield "# Written by: python -m novapulse.alerts > packaging/monitoring/rules.yml"
    yield "groups:"
    yield "  - name: novapulse"
    yield "    rules:"
    for rule in RULES:
        yield f"      - alert: {rule.name}"
        yield f"        expr: {json.dumps(rule.condition.promql())}"
        yield f"        for: {rule.hold_seconds}s"
        yield "        labels:"
        yield f"          severity: {rule.severity}"
        yield "        annotations:"
        yield f"          summary: {json.dumps(rule.summary)}"
        yield f"          runbook: {_RUNBOOK}#{rule.runbook}"
