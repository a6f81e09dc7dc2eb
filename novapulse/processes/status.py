"""What `novapulse status` shows: the supervisor's view, the stores and the queues."""

import asyncio
from typing import Any

from novapulse.core.errors import Error, Unavailable
from novapulse.core.health import Health
from novapulse.core.jobs import ledger
from novapulse.core.jobs.kinds import Queue
from novapulse.core.settings import Loaded, read_handoff
from novapulse.processes import places
from novapulse.processes.runtime import open_runtime
from novapulse.stores.layout import MongoRole
from supervisor.control import ControlClient, ControlError

_SHOWN = ("name", "role", "state", "pid", "restarts", "uptimeSeconds", "rssBytes", "reason")


def read_status(loaded: Loaded) -> dict[str, Any]:
    """The document of `status --json`; raises Unavailable when nothing runs here."""
    try:
        answer = ControlClient(places.control_socket(loaded.paths.run)).status()
    except ControlError as error:
        raise Unavailable(f"NovaPulse is not running here: {error}") from error
    running = read_handoff(loaded.paths.run / "settings.json")
    stores, queues = asyncio.run(_stores_and_queues(running))
    processes = [{name: one.get(name) for name in _SHOWN} for one in answer["processes"]]
    is_well = all(check["status"] == "ok" for check in stores.values())
    state = answer["state"] if is_well or answer["state"] != "ready" else "degraded"
    return {
        "schema": 1,
        "state": state,
        "url": running.settings.server.base_url,
        "processes": processes,
        "stores": stores,
        "queues": queues,
    }


async def _stores_and_queues(loaded: Loaded) -> tuple[dict[str, Any], dict[str, Any]]:
    try:
        async with open_runtime(loaded, role=MongoRole.API) as runtime:
            health = Health(runtime, state_directory=loaded.paths.state)
            checks = await health.checks()
            stores = {name: checks[name] for name in ("mongodb", "redis")}
            if stores["mongodb"]["status"] != "ok":
                return stores, {}
            counts = await ledger.counts(runtime.db)
            return stores, {queue.public_name: counts[queue] for queue in Queue}
    except Error as error:
        return {"mongodb": {"status": "down", "detail": error.detail}}, {}
