"""The built-in evaluator: the leading scheduler judges the program's own scrape by the rules."""

import asyncio
import os
import time
from pathlib import Path

import structlog

from novapulse.alerts.history import Group, History, is_of
from novapulse.alerts.model import Alert, Rule
from novapulse.alerts.rules import LONGEST_WINDOW_SECONDS, RULES
from novapulse.alerts.store import AlertStore
from novapulse.core.access import SYSTEM
from novapulse.core.context import Context, Runtime
from novapulse.core.errors import TransientConflict
from novapulse.core.events import PLATFORM
from novapulse.core.ids import new_id
from novapulse.core.mongo import Duplicate
from novapulse.core.telemetry import metrics, scrape

log = structlog.get_logger("alerts")
EVALUATE_SECONDS = 10.0
_RUNBOOK = "docs/operations/runbook.md"


class Watch:
    """What one scheduler remembers: former scrapes, and since when what is not well."""

    def __init__(self) -> None:
        self.history = History(names_of(RULES), seconds=LONGEST_WINDOW_SECONDS)
        self._since: dict[str, float] = {}

    def judge(
        self, at: float, samples: list[scrape.Sample]
    ) -> dict[str, tuple[Rule, Group, float]]:
        """Take in a scrape; by their id, what has held long enough to fire."""
        self.history.add(at, samples)
        held = {
            alert_id(rule, group): (rule, group, value)
            for rule in RULES
            for group, value in rule.condition.measure(self.history).items()
        }
        self._since = {key: self._since.get(key, at) for key in held}
        return {
            key: found
            for key, found in held.items()
            if at - self._since[key] >= found[0].hold_seconds
        }

    def is_over(self, key: str) -> bool:
        """Whether it does not hold any more: known once the rule's whole window was seen."""
        if key in self._since:
            return False
        rule = next((rule for rule in RULES if key.partition(":")[0] == rule.name), None)
        return rule is None or self.history.span_seconds >= rule.condition.window_seconds


def names_of(rules: tuple[Rule, ...]) -> set[str]:
    """Every word of the conditions; what is no metric is found in no scrape."""
    words = (rule.condition.promql() for rule in rules)
    return {name for text in words for name in _words(text)}


def _words(text: str) -> set[str]:
    cleaned = "".join(one if one.isalnum() or one in "_:" else " " for one in text)
    return {word.removesuffix("_bucket") for word in cleaned.split() if "_" in word}


def alert_id(rule: Rule, group: Group) -> str:
    return ":".join((rule.name, *group))


async def evaluate(runtime: Runtime) -> None:
    """One look; for the leading scheduler, every EVALUATE_SECONDS."""
    directory = os.environ.get("PROMETHEUS_MULTIPROC_DIR")
    if directory is None:
        return
    store = AlertStore(runtime.db)
    known = {alert.id: alert for alert in await store.all()}
    if not runtime.settings.alerts.enabled:
        for key in known:
            await store.remove(key)
        metrics.alerts_firing.set(0)
        return
    watch = runtime.find_feature(Watch)
    if watch is None:
        runtime.add(watch := Watch())
    samples = await asyncio.to_thread(scrape.samples, Path(directory))
    wanted = [one for one in samples if is_of(one.name, watch.history.names)]
    firing = watch.judge(time.monotonic(), wanted)
    for key, (rule, group, value) in firing.items():
        alert = _alert(runtime, key, rule=rule, group=group, value=value)
        await (store.see(alert) if key in known else _fire(runtime, store, alert))
    over = [key for key in known if key not in firing and watch.is_over(key)]
    for key in over:
        await store.remove(key)
        log.info("alert.over", alert=key)
    for key in set(known) - set(firing) - set(over):
        await store.see(_seen_again(runtime, known[key]))
    metrics.alerts_firing.set(len(known.keys() | firing.keys()) - len(over))


def _alert(runtime: Runtime, key: str, *, rule: Rule, group: Group, value: float) -> Alert:
    now = runtime.clock()
    return Alert(
        id=key,
        name=rule.name,
        severity=rule.severity,
        summary=rule.summary_of(group),
        runbook=f"{_RUNBOOK}#{rule.runbook}",
        value=round(value, 6),
        since=now,
        seen_at=now,
    )


def _seen_again(runtime: Runtime, alert: Alert) -> Alert:
    """Not judged yet by this leader: what the former one said stands."""
    return Alert(
        **{name: getattr(alert, name) for name in alert.__struct_fields__ if name != "seen_at"},
        seen_at=runtime.clock(),
    )


async def _fire(runtime: Runtime, store: AlertStore, alert: Alert) -> None:
    """The row and the mails in one commit: whoever adds it again adds nothing, and mails nobody."""
    ctx = Context(runtime, SYSTEM, request_id=new_id("run"), via="job")
    recipients = runtime.settings.alerts.recipients or tuple(await store.operators())
    try:
        async with ctx.transaction(company_id=PLATFORM) as tx:
            await store.add(tx, alert)
            for address in recipients:
                await tx.enqueue("mail.send", _message(runtime, alert, address))
    except (Duplicate, TransientConflict):  # another leader tells of it
        return
    log.warning("alert.fired", alert=alert.id, severity=alert.severity, value=alert.value)


def _message(runtime: Runtime, alert: Alert, address: str) -> dict[str, object]:
    text = (
        f"{alert.summary}.\n\n"
        f"Where: {runtime.settings.server.base_url}\n"
        f"Since: {alert.since:%Y-%m-%d %H:%M} UTC\n"
        f"What to do: {alert.runbook}\n\n"
        "novapulse status shows it for as long as it lasts."
    )
    return {
        "to": address,
        "template": "system_alert",
        "data": {"title": f"{alert.severity}: {alert.name}", "text": text},
    }
