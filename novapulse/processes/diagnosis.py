"""From a status document to one sentence: what is wrong, and what to do next. Pure."""

from collections.abc import Callable, Iterator, Mapping
from typing import Any

Report = Mapping[str, Any]
# What is wrong and what to do; nothing to do is "".
Conclusion = tuple[str, str]


def conclude(report: Report) -> dict[str, str]:
    """`headline` and `next`: the gravest finding, or that all is well."""
    for look in _LOOKS:
        if (found := look(report)) is not None:
            return {"headline": found[0], "next": found[1]}
    return {"headline": f"NovaPulse is ready at {report['url']}.", "next": ""}


def _stopping(report: Report) -> Conclusion | None:
    if report["state"] != "stopping":
        return None
    left = ", ".join(one["name"] for one in report["processes"] if one["pid"])
    return f"NovaPulse is stopping; it waits for {left or 'nothing more'}.", ""


def _refused_configuration(report: Report) -> Conclusion | None:
    for one in _in_state(report, "config_error"):
        name = one["name"]
        return (
            f"{name} does not accept its configuration ({one['reason']}).",
            f"novapulse logs {name} says why; correct it, then novapulse reload",
        )
    return None


def _absent_store(report: Report) -> Conclusion | None:
    """Before the processes that suffer from it."""
    for role, product, check in (("mongod", "MongoDB", "mongodb"), ("redis", "Redis", "redis")):
        process = next((one for one in _serving(report) if one["role"] == role), None)
        if process is not None and process["state"] != "ready":
            if report["state"] == "starting" and process["state"] == "starting":
                continue
            why = process["reason"] or "it was never ready"
            return (
                f"{product} is {process['state']} ({why}).",
                f"novapulse logs {role} says why; novapulse doctor looks for the cause",
            )
        answer = report["stores"].get(check, {"status": "unknown"})
        if answer["status"] == "down" and report["state"] != "starting":
            return (
                f"{product} does not answer: {answer.get('detail', 'no reason is known')}.",
                "novapulse doctor looks for the cause",
            )
    return None


def _crashing(report: Report) -> Conclusion | None:
    for state, what in (
        ("quarantined", "keeps crashing and is tried once a minute only"),
        ("backoff", "crashed and is about to be tried again"),
        ("unhealthy", "hangs and is being replaced"),
    ):
        for one in _in_state(report, state):
            name = one["name"]
            return (
                f"{name} {what} ({one['reason']}).",
                f"novapulse logs {name} says why; novapulse restart {name} tries it at once",
            )
    return None


def _full_disk(report: Report) -> Conclusion | None:
    if report["disk"]["status"] == "ok":
        return None
    free = report["disk"]["freeBytes"] / 2**20
    return (
        f"The disk is nearly full: {free:.0f} MiB are left.",
        "make room on the disk of the state directory; MongoDB stops writing when it is full",
    )


def _starting(report: Report) -> Conclusion | None:
    if report["state"] != "starting":
        return None
    waiting = [f"{one['name']} {one['state']}" for one in _serving(report) if not _is_well(one)]
    return f"NovaPulse is starting: {', '.join(waiting) or 'nearly there'}.", "wait some seconds"


def _blocked(report: Report) -> Conclusion | None:
    for one in _serving(report):
        if not _is_well(one) and not one["isPaused"]:
            name = one["name"]
            return f"{name} is {one['state']}.", f"novapulse logs {name} says more"
    return None


def _drained(report: Report) -> Conclusion | None:
    if not report["isDrained"]:
        return None
    return (
        "NovaPulse is drained: it tells load balancers to go away and takes no jobs.",
        "novapulse drain --undo puts it back into service",
    )


def _failed_reload(report: Report) -> Conclusion | None:
    last = report["lastReload"]
    if last["successful"]:
        return None
    return (
        f"NovaPulse runs with its old configuration; the last reload failed: {last['detail']}",
        "novapulse config check, then novapulse reload",
    )


def _alerting(report: Report) -> Conclusion | None:
    for alert in sorted(report["alerts"], key=lambda one: str(one["severity"])):
        what = f"{alert['name']}: {alert['summary']}"
        return f"NovaPulse is ready at {report['url']}; {what}.", f"read {alert['runbook']}"
    return None


def _dead_jobs(report: Report) -> Conclusion | None:
    dead = {name: queue.get("dead", 0) for name, queue in report["queues"].items()}
    for name, number in dead.items():
        if number:
            jobs = "job has" if number == 1 else "jobs have"
            what = f"{number} {jobs} used up all attempts in {name}"
            return (
                f"NovaPulse is ready at {report['url']}; {what}.",
                f"novapulse queue retry {name} once the cause is gone",
            )
    return None


def _serving(report: Report) -> Iterator[Mapping[str, Any]]:
    return (one for one in report["processes"] if one["part"] == "serving")


def _in_state(report: Report, state: str) -> Iterator[Mapping[str, Any]]:
    return (one for one in _serving(report) if one["state"] == state)


def _is_well(one: Mapping[str, Any]) -> bool:
    return one["state"] in ("ready", "done")


# The gravest first: what causes others before what it causes.
_LOOKS: tuple[Callable[[Report], Conclusion | None], ...] = (
    _stopping,
    _refused_configuration,
    _absent_store,
    _crashing,
    _full_disk,
    _starting,
    _blocked,
    _drained,
    _failed_reload,
    _alerting,
    _dead_jobs,
)
