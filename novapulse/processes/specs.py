"""The table from settings to process specs: who runs, on what it waits, how it stops."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from novapulse.core.settings import Loaded
from novapulse.processes import places
from novapulse.processes.handoff import HANDOFF, LOG_FORMAT
from novapulse.processes.starting import (
    FORK_SERVER,
    fork_server_program,
    own_program,
    passed_on,
)
from novapulse.stores.find import find_store
from novapulse.stores.mongod import mongod_process
from novapulse.stores.process import StoreProcess
from novapulse.stores.redis import redis_process
from supervisor.spec import (
    Drain,
    ExitReadiness,
    MessageReadiness,
    Probe,
    ProbeReadiness,
    ProcessSpec,
    RestartPolicy,
    StopPolicy,
)

# Lower ranks stop first.
_API, _CONSUMER, _SCHEDULER, _REDIS, _MONGOD = range(5)
_CONFIGURATION, _UNAVAILABLE, _BUG = 78, 69, 70
_FATAL_TO_MIGRATE = frozenset({1, _UNAVAILABLE, _BUG, _CONFIGURATION})
# Queues whose job kinds exist; a consumer without any would only cost memory.
QUEUES = ("email", "webhook", "workflow", "report")
STORE_STOP_SECONDS = 5.0
# Of an appliance without a scheduler, which would do the same beside its own.
CARETAKER = "caretaker"


def build_table(loaded: Loaded, *, handoff: Path, log_format: str) -> list[ProcessSpec]:
    """Every process that these settings ask for, whatever the roles of this appliance.

    Raises:
        Unavailable: an embedded store's program is missing.
    """
    table = _Table(loaded, _environment(handoff, log_format))
    return [
        *(table.fork_server(), *table.stores(), table.migrate()),
        *(table.scheduler(), table.caretaker(), *table.consumers(), *table.api()),
    ]


def _environment(handoff: Path, log_format: str) -> dict[str, str]:
    metrics = str(handoff.with_name("metrics"))
    return {
        **passed_on(),
        HANDOFF: str(handoff),
        LOG_FORMAT: log_format,
        "PROMETHEUS_MULTIPROC_DIR": metrics,
    }


class _Table:
    def __init__(self, loaded: Loaded, environment: Mapping[str, str]) -> None:
        self._loaded = loaded
        self._settings = loaded.settings
        self._environment = environment
        self._restart = RestartPolicy(
            quarantine_exits=loaded.settings.supervisor.quarantine_exits,
            fatal_first_exit_codes=frozenset({_CONFIGURATION, _UNAVAILABLE}),
        )
        self._needs_stores: set[str] = set()

    def fork_server(self) -> ProcessSpec:
        """Spares the others loading the program; they do it themselves when it is away."""
        start = self._settings.supervisor.start_seconds
        return ProcessSpec(
            name=FORK_SERVER,
            role=FORK_SERVER,
            argv=fork_server_program(),
            env=self._environment,
            readiness=MessageReadiness(start_timeout_seconds=start),
            required=False,
            stop=StopPolicy(deadline_seconds=1.0, rank=_API),
            restart=replace(self._restart, fatal_first_exit_codes=frozenset()),
        )

    def stores(self) -> list[ProcessSpec]:
        layout = places.layout(self._loaded)
        stores = self._settings.stores
        specs = []
        if self._settings.redis.is_embedded:
            program = find_store("redis-server", stores.redis_server)
            redis = redis_process(layout, program)
            # Through a child of ours that puts a damaged log aside, then becomes redis-server.
            argv = (*own_program("process", "redis_server"), str(program))
            specs.append(self._store("redis", redis, argv=argv, rank=_REDIS, env=self._environment))
        if self._settings.mongo.is_embedded:
            program = find_store("mongod", stores.mongod)
            mongod = mongod_process(layout, program, cache_gb=stores.mongod_cache_gb)
            specs.append(
                self._store("mongod", mongod, argv=mongod.argv, rank=_MONGOD, env=mongod.env)
            )
        self._needs_stores = {spec.role for spec in specs}
        return specs

    def _store(
        self,
        name: str,
        process: StoreProcess,
        *,
        argv: tuple[str, ...],
        rank: int,
        env: Mapping[str, str],
    ) -> ProcessSpec:
        probe = Probe(
            path=process.socket_path, request=process.probe_request, verdict=process.probe_verdict
        )
        start = self._settings.supervisor.start_seconds
        return ProcessSpec(
            name=name,
            role=name,
            argv=argv,
            env=env,
            cwd=process.cwd,
            readiness=ProbeReadiness(probe=probe, start_timeout_seconds=start),
            stop=StopPolicy(deadline_seconds=STORE_STOP_SECONDS, rank=rank),
            restart=self._restart,
        )

    def migrate(self) -> ProcessSpec:
        return ProcessSpec(
            name="migrate",
            role="migrate",
            argv=own_program("process", "migrate"),
            env=self._environment,
            needs=frozenset(self._needs_stores),
            fork_server=FORK_SERVER,
            readiness=ExitReadiness(),
            stop=StopPolicy(deadline_seconds=2.0, rank=_SCHEDULER),
            # Whatever stops it at the first start is for an admin to read, not to loop over.
            restart=replace(self._restart, fatal_first_exit_codes=_FATAL_TO_MIGRATE),
        )

    def scheduler(self) -> ProcessSpec:
        return self._child("scheduler", "scheduler", rank=_SCHEDULER, drain_seconds=1.0)

    def caretaker(self) -> ProcessSpec:
        return self._child(CARETAKER, CARETAKER, rank=_SCHEDULER, drain_seconds=1.0)

    def consumers(self) -> list[ProcessSpec]:
        drain = self._settings.server.drain_seconds
        return [
            self._child(
                f"consumer:{queue}",
                f"{queue}-{slot}",
                rank=_CONSUMER,
                drain_seconds=drain,
                drain=Drain.STOP,
            )
            for queue in QUEUES
            for slot in range(1, self._settings.queues.named(queue).processes + 1)
        ]

    def api(self) -> list[ProcessSpec]:
        drain = self._settings.server.drain_seconds
        return [
            self._child(
                "api",
                f"api-{slot}",
                rank=_API,
                drain_seconds=drain,
                sockets=("http",),
                drain=Drain.BE_TOLD,
            )
            for slot in range(1, self._settings.server.processes + 1)
        ]

    def _child(
        self,
        role: str,
        name: str,
        *,
        rank: int,
        drain_seconds: float,
        sockets: tuple[str, ...] = (),
        drain: Drain = Drain.SERVE_ON,
    ) -> ProcessSpec:
        """A Python process of ours; it gets a second more than its own drain takes."""
        start = self._settings.supervisor.start_seconds
        return ProcessSpec(
            name=name,
            role=role,
            argv=own_program("process", *role.split(":")),
            env=self._environment,
            needs=frozenset({"migrate", *self._needs_stores}),
            sockets=sockets,
            fork_server=FORK_SERVER,
            drain=drain,
            readiness=MessageReadiness(start_timeout_seconds=start),
            stop=StopPolicy(deadline_seconds=drain_seconds + 1.0, rank=rank),
            restart=self._restart,
        )
