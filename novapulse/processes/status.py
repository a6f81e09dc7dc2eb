"""What `novapulse status` shows: the supervisor's view, the stores and the queues."""

from typing import Any

from novapulse import __version__
from novapulse.alerts.store import AlertStore
from novapulse.audit.store import AuditStore
from novapulse.core import wire
from novapulse.core.errors import Error, Unavailable
from novapulse.core.health import Health, disk
from novapulse.core.jobs import stats
from novapulse.core.jobs.kinds import Queue
from novapulse.core.settings import Loaded, Paths, read_handoff
from novapulse.core.tasks import run
from novapulse.processes import places
from novapulse.processes.diagnosis import conclude
from novapulse.processes.runtime import open_runtime
from novapulse.stores.layout import MongoRole
from supervisor.control import ControlClient, ControlError

_SHOWN = (
    *("name", "role", "part", "state", "pid", "restarts", "uptimeSeconds", "rssBytes"),
    *("reason", "retryInSeconds", "isPaused"),
)


def read_status(paths: Paths) -> dict[str, Any]:
    """The document of `status --json`; raises Unavailable when nothing runs here.

    As what runs was configured, which is not always what the file says now.
    """
    answer = ask_supervisor(paths)
    running = read_running(paths)
    rows = answer["processes"]
    is_migrated = any(row["role"] == "migrate" and row["state"] == "done" for row in rows)
    reading = _stores_and_contents(running, is_migrated=is_migrated)
    stores, queues, unsealed, alerts = run(reading)
    is_well = all(check["status"] == "ok" for check in stores.values())
    state = answer["state"] if is_well or answer["state"] != "ready" else "degraded"
    document = {
        "state": state,
        "url": running.settings.server.base_url,
        "version": __version__,
        "pid": answer["pid"],
        "uptimeSeconds": answer["uptimeSeconds"],
        "operations": answer["operations"],
        "isDrained": answer["isDrained"],
        **answer["program"],
        "processes": [{name: one.get(name) for name in _SHOWN} for one in answer["processes"]],
        "stores": stores,
        "queues": queues,
        "audit": {"unsealed": unsealed},
        "alerts": alerts,
        "disk": disk(running.paths.state),
    }
    return {"schema": 1, **conclude(document), **document}


def ask_supervisor(paths: Paths) -> dict[str, Any]:
    """Its status; raises Unavailable when nothing runs here."""
    try:
        return ControlClient(places.control_socket(paths.run)).status()
    except ControlError as error:
        raise Unavailable(f"NovaPulse is not running here: {error}") from error


def read_running(paths: Paths) -> Loaded:
    """The settings of what runs."""
    return read_handoff(paths.run / "settings.json")


async def _stores_and_contents(
    loaded: Loaded, *, is_migrated: bool
) -> tuple[dict[str, Any], dict[str, Any], int | None, list[dict[str, Any]]]:
    """How many audit lines are not sealed, and which alerts fire, is not known without MongoDB.

    Before the migrations there is no index yet that these questions could use.
    """
    try:
        async with open_runtime(loaded, role=MongoRole.API) as runtime:
            stores = await Health(runtime, state_directory=loaded.paths.state).stores()
            if stores["mongodb"]["status"] != "ok" or not is_migrated:
                return stores, {}, None, []
            counts = await stats.counts(runtime.db)
            unsealed = await AuditStore(runtime.db).count_unsealed()
            alerts = [wire.to_wire(one) for one in await AlertStore(runtime.db).firing()]
            return stores, {queue.public_name: counts[queue] for queue in Queue}, unsealed, alerts
    except Error as error:
        return {"mongodb": {"status": "down", "detail": error.detail}}, {}, None, []
