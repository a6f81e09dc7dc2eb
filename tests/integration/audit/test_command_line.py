"""`novapulse audit …` against the running program, whose scheduler seals."""

import csv
import io
import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from novapulse.cli.verbs import VERBS
from tests.support.appliance import PROGRAM, SharedAppliance

SEALED_WITHIN_SECONDS = 5.0


def verify(shared: SharedAppliance, *arguments: str) -> dict[str, Any]:
    done = shared.appliance.cli("audit", "verify", "--json", *arguments)
    assert done.returncode == 0, done.stderr
    document: dict[str, Any] = json.loads(done.stdout)
    return document


def test_what_happens_is_sealed_within_seconds(shared_appliance: SharedAppliance) -> None:
    admin = shared_appliance.admin
    task = admin.create_task("to be sealed")
    asked = time.monotonic()
    while True:
        (line,) = admin.get(f"/audit?resource={task['id']}").must(200)["data"]
        if line["sealed"]:
            break
        assert time.monotonic() - asked < SEALED_WITHIN_SECONDS
        time.sleep(0.1)
    document = verify(shared_appliance)
    chains = {chain["companyId"]: chain for chain in document["chains"]}
    assert document["ok"] is True
    assert chains[line["companyId"]]["lines"] >= line["chain"]["seq"]
    only = verify(shared_appliance, "--company", line["companyId"])
    assert [chain["companyId"] for chain in only["chains"]] == [line["companyId"]]


def test_people_read_a_line_a_chain(shared_appliance: SharedAppliance) -> None:
    done = shared_appliance.appliance.cli("audit", "verify")
    assert done.returncode == 0
    assert all(row.startswith("ok ") for row in done.stdout.splitlines())
    unknown = shared_appliance.appliance.cli("audit", "verify", "--company", "0" * 24)
    assert unknown.returncode == 66


def test_the_metric_and_the_status_count_what_waits(shared_appliance: SharedAppliance) -> None:
    shared_appliance.admin.create_task("one more")
    status = shared_appliance.appliance.status()
    assert isinstance(status["audit"]["unsealed"], int)
    text = shared_appliance.admin.get("/metrics").body.decode()
    assert "\nnovapulse_audit_unsealed " in text


def test_the_log_is_taken_away_as_json_and_as_csv(shared_appliance: SharedAppliance) -> None:
    cli, admin = shared_appliance.appliance.cli, shared_appliance.admin
    task = admin.create_task("=cmd|' /C calc'!A0")
    chosen = ("--resource", task["id"])
    told = cli("audit", "export", *chosen)
    assert told.returncode == 0, told.stderr
    (line,) = map(json.loads, told.stdout.splitlines())
    assert (line["action"], line["data"]["task"]["title"]) == ("task.created", task["title"])
    table = cli("audit", "export", "--format", "csv", *chosen, "--from", "2020-01-01")
    (row,) = csv.DictReader(io.StringIO(table.stdout))
    assert (row["id"], row["resourceId"], row["via"]) == (line["id"], task["id"], "api")
    everything = cli("audit", "export", "--company", "platform").stdout.splitlines()
    exported = [one for one in map(json.loads, everything) if one["action"] == "audit.exported"]
    assert exported[-1]["actor"]["via"] == "cli"
    assert {"id", "format", "filter"} == set(exported[-1]["data"]["audit"])


def test_who_reads_only_the_first_line_gets_it(shared_appliance: SharedAppliance) -> None:
    command = [PROGRAM, "audit", "export", "--root", shared_appliance.appliance.root]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as export:
        assert export.stdout is not None
        assert export.stderr is not None
        assert json.loads(export.stdout.readline())["id"].startswith("evt_")
        export.stdout.close()
        talk = export.stderr.read()
    assert b"Traceback" not in talk


def test_a_filter_that_is_none_is_refused(shared_appliance: SharedAppliance) -> None:
    done = shared_appliance.appliance.cli("audit", "export", "--action", "everything")
    assert (done.returncode, done.stdout) == (65, "")


def test_help_imports_no_service() -> None:
    assert {"audit", "keys"} <= set(VERBS)
    script = (
        "import sys; from novapulse.cli import audit, keys; "
        "print(sorted(m for m in sys.modules if m.startswith(('pymongo', 'novapulse.core'))))"
    )
    done = subprocess.run(
        [sys.executable, "-c", script],
        capture_output=True,
        text=True,
        timeout=30,
        check=True,
        cwd=Path(__file__).parents[3],
    )
    assert done.stdout.strip() == "[]"
