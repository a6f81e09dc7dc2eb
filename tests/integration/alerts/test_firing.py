"""The built-in evaluator: what fires is shown, mailed once whoever leads, and ends."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from novapulse.alerts import certificates, service
from novapulse.alerts.service import Watch
from novapulse.alerts.store import AlertStore
from novapulse.core.jobs.rows import JOBS
from novapulse.core.settings.alerts import Alerts
from novapulse.core.telemetry.scrape import SUPERVISORS_FILE
from tests.support.api import Api, open_api
from tests.support.stores import RunningStores


class Scene:
    """An application whose supervisor says that a process crashes, or that all is well."""

    def __init__(self, api: Api, directory: Path) -> None:
        self.api = api
        self._file = directory / SUPERVISORS_FILE

    def crashes(self, *processes: str) -> None:
        state = 'novapulse_process_state{{process="{}",state="quarantined"}} {}'
        lines = [state.format(name, int(name in processes)) for name in ("api-1", "api-2")]
        self._file.write_text("\n".join([*lines, ""]))

    async def evaluate(self) -> list[str]:
        """What fires after one more look."""
        await service.evaluate(self.api.runtime)
        return [alert.id for alert in await AlertStore(self.api.runtime.db).firing()]

    async def mails(self) -> list[dict[str, Any]]:
        rows = self.api.runtime.db.platform(JOBS)
        return await rows.find({"payload.template": "system_alert"}, limit=10)

    def change_leader(self) -> None:
        self.api.runtime.add(Watch())


@pytest.fixture
async def scene(
    stores: RunningStores, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Scene]:
    directory = tmp_path / "metrics"
    directory.mkdir()
    monkeypatch.setenv("PROMETHEUS_MULTIPROC_DIR", str(directory))
    async with open_api(stores, tmp_path, label="alerts") as api:
        yield Scene(api, tmp_path)


async def test_an_alert_fires_once_and_ends_with_its_cause(scene: Scene):
    operator = await scene.api.add_operator()
    await scene.api.found_company()
    scene.crashes()
    assert await scene.evaluate() == []
    scene.crashes("api-2")
    assert await scene.evaluate() == ["ProcessCrashes:api-2"]
    assert await scene.evaluate() == ["ProcessCrashes:api-2"]
    (mail,) = await scene.mails()
    assert mail["payload"]["to"] == operator.email
    assert mail["payload"]["template"] == "system_alert"
    (alert,) = await AlertStore(scene.api.runtime.db).firing()
    assert alert.summary == "The process api-2 keeps ending"
    assert alert.runbook == "docs/operations/runbook.md#a-process-keeps-restarting"
    scene.crashes("api-1", "api-2")
    assert await scene.evaluate() == ["ProcessCrashes:api-1", "ProcessCrashes:api-2"]
    assert len(await scene.mails()) == 2


async def test_another_leader_mails_nobody_again(scene: Scene):
    await scene.api.add_operator()
    scene.crashes("api-1")
    await scene.evaluate()
    scene.change_leader()
    assert await scene.evaluate() == ["ProcessCrashes:api-1"]
    assert len(await scene.mails()) == 1


async def test_leaders_at_the_same_time_mail_once(scene: Scene):
    await scene.api.add_operator()
    scene.crashes("api-1")
    await asyncio.gather(*(service.evaluate(scene.api.runtime) for _ in range(4)))
    assert len(await scene.mails()) == 1


async def test_named_recipients_get_the_mail_and_no_operator(scene: Scene):
    await scene.api.add_operator()
    settings = scene.api.runtime.settings
    chosen = Alerts(recipients=("ops@example.com", "boss@example.com"))
    scene.api.runtime.adopt(type(settings)(**_with(settings, alerts=chosen)))
    scene.crashes("api-1")
    await scene.evaluate()
    mails = await scene.mails()
    assert {mail["payload"]["to"] for mail in mails} == set(chosen.recipients)


async def test_nothing_fires_where_it_is_turned_off(scene: Scene):
    scene.crashes("api-1")
    await scene.evaluate()
    settings = scene.api.runtime.settings
    scene.api.runtime.adopt(type(settings)(**_with(settings, alerts=Alerts(enabled=False))))
    assert await scene.evaluate() == []


def _with(settings: Any, **sections: Any) -> dict[str, Any]:
    return {name: getattr(settings, name) for name in settings.__struct_fields__} | sections


async def test_a_certificate_that_can_not_be_seen_is_no_error(scene: Scene):
    await certificates.look(scene.api.runtime)
