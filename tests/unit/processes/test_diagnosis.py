"""The first sentence of `status`: the gravest thing, and what to do about it."""

from typing import Any

import pytest

from novapulse.processes.diagnosis import conclude

NAMES = {"redis": "redis", "mongod": "mongod", "api-1": "api", "webhook-1": "consumer:webhook"}


def report(state: str = "ready", /, **states: str) -> dict[str, Any]:
    """All is well, but for the processes that are named (`api_1="backoff"`)."""
    given = {name.replace("_", "-"): value for name, value in states.items()}
    processes = [
        {
            "name": name,
            "role": role,
            "part": "serving",
            "state": given.get(name, "ready"),
            "pid": 7,
            "reason": "exit 1" if name in given else "",
            "isPaused": False,
        }
        for name, role in NAMES.items()
    ]
    return {
        "state": state,
        "url": "http://127.0.0.1:5000",
        "isDrained": False,
        "lastReload": {"successful": True, "detail": None},
        "processes": processes,
        "stores": {"mongodb": {"status": "ok"}, "redis": {"status": "ok"}},
        "queues": {"nova:webhook": {"dead": 0}},
        "alerts": [],
        "disk": {"status": "ok", "freeBytes": 1 << 40},
    }


def test_a_well_appliance_says_where_it_is_and_asks_for_nothing():
    assert conclude(report()) == {
        "headline": "NovaPulse is ready at http://127.0.0.1:5000.",
        "next": "",
    }


@pytest.mark.parametrize(
    ("state", "words", "verb"),
    [
        ("config_error", "does not accept its configuration", "novapulse reload"),
        ("quarantined", "keeps crashing", "novapulse restart api-1"),
        ("backoff", "crashed", "novapulse logs api-1"),
        ("unhealthy", "hangs", "novapulse logs api-1"),
    ],
)
def test_a_broken_process_is_named_with_its_reason_and_the_next_verb(
    state: str, words: str, verb: str
):
    found = conclude(report("degraded", api_1=state))
    assert found["headline"].startswith("api-1 ")
    assert words in found["headline"]
    assert "exit 1" in found["headline"]
    assert verb in found["next"]


def test_a_cause_comes_before_what_it_causes():
    found = conclude(report("degraded", mongod="quarantined", api_1="backoff"))
    assert found["headline"].startswith("MongoDB is quarantined")
    assert "novapulse logs mongod" in found["next"]


def test_an_external_store_that_is_away_is_told_with_its_reason():
    away = report("degraded")
    away["processes"] = [one for one in away["processes"] if one["role"] != "mongod"]
    away["stores"]["mongodb"] = {"status": "down", "detail": "no primary"}
    found = conclude(away)
    assert found["headline"] == "MongoDB does not answer: no primary."
    assert "doctor" in found["next"]


def test_a_start_says_what_it_waits_for():
    found = conclude(report("starting", mongod="starting", api_1="blocked"))
    assert found["headline"] == "NovaPulse is starting: mongod starting, api-1 blocked."


def test_a_full_disk_a_failed_reload_a_drain_and_dead_jobs_are_told():
    full = report()
    full["disk"] = {"status": "degraded", "freeBytes": 5 << 20}
    assert conclude(full)["headline"] == "The disk is nearly full: 5 MiB are left."
    failed = report()
    failed["lastReload"] = {"successful": False, "detail": "server.lisen is not a setting"}
    assert "server.lisen is not a setting" in conclude(failed)["headline"]
    assert "config check" in conclude(failed)["next"]
    drained = report("drained")
    drained["isDrained"] = True
    drained["processes"][-1] |= {"state": "stopped", "isPaused": True}
    assert "drain --undo" in conclude(drained)["next"]
    dead = report()
    dead["queues"]["nova:webhook"]["dead"] = 3
    assert "3 jobs have used up all attempts in nova:webhook" in conclude(dead)["headline"]
    assert conclude(report("stopping"))["headline"].startswith("NovaPulse is stopping")


def test_a_successor_that_is_being_raised_is_no_trouble():
    rolling = report()
    rolling["processes"].append(
        {**rolling["processes"][2], "part": "rising", "state": "starting", "reason": ""}
    )
    assert conclude(rolling)["next"] == ""
