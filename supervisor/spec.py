"""What a process is, before any exists: command, needs, readiness, stop and restart rules.

Only values and their checks live here; nothing starts, waits or reads a clock.
"""

import signal
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum, auto
from graphlib import CycleError, TopologicalSorter
from pathlib import Path


@dataclass(frozen=True, kw_only=True, slots=True)
class MessageReadiness:
    """The child says over its link that it is ready, then beats from its own event loop.

    `missed` beats in a row make it unhealthy, and it is replaced.
    """

    start_timeout_seconds: float
    heartbeat_seconds: float = 1.0
    missed: int = 5


@dataclass(frozen=True, kw_only=True, slots=True)
class Probe:
    """How to ask a foreign child whether it serves: one request on its unix socket.

    `verdict` gets every byte of the reply so far: True serves, False does not,
    None wants more bytes. The connection is kept, so the request is repeated on it.
    """

    path: Path
    request: bytes
    verdict: Callable[[bytes], bool | None]


@dataclass(frozen=True, kw_only=True, slots=True)
class ProbeReadiness:
    """The child knows nothing of us; it is ready when it, and nobody else, answers the probe.

    `start_interval_seconds` paces the first probes so that a fast start is not slowed down;
    `replace_after_seconds` without a good answer from a living child has it replaced.
    """

    probe: Probe
    start_timeout_seconds: float
    start_interval_seconds: float = 0.1
    interval_seconds: float = 2.0
    timeout_seconds: float = 1.0
    replace_after_seconds: float = 20.0


@dataclass(frozen=True, kw_only=True, slots=True)
class ExitReadiness:
    """A one-shot: exit 0 is its readiness, and it is not started again after it."""


Readiness = MessageReadiness | ProbeReadiness | ExitReadiness


@dataclass(frozen=True, kw_only=True, slots=True)
class StopPolicy:
    """`signal` to the child, after `deadline_seconds` SIGKILL to its process group.

    A child that is replaced because it hangs gets `hung_seconds` instead.
    Lower ranks stop first, equal ranks together.
    """

    signal: int = signal.SIGTERM
    deadline_seconds: float = 10.0
    hung_seconds: float = 2.0
    rank: int = 0


@dataclass(frozen=True, kw_only=True, slots=True)
class RestartPolicy:
    """When a child that ended starts again.

    An exit before it had been ready for `ready_after_seconds` counts: each doubles the
    delay, more than `quarantine_exits` of them in one window leave one try a window.
    `starts_per_window` bounds every loop, also one of exits that do not count: those while
    a need is away, or up to `forgiven_seconds` before that was seen.
    `fatal_first_exit_codes` end the whole supervisor with that code as long as not
    everything was ready once: an admin must see the message instead of a loop.
    """

    ready_after_seconds: float = 5.0
    base_seconds: float = 0.5
    cap_seconds: float = 30.0
    jitter: float = 0.2
    quarantine_exits: int = 5
    window_seconds: float = 60.0
    starts_per_window: int = 10
    forgiven_seconds: float = 25.0  # a store that hangs is seen to after 20
    config_exit_code: int = 78
    fatal_first_exit_codes: frozenset[int] = frozenset({78})


class Drain(Enum):
    """What a process does while the whole is taken out of service."""

    SERVE_ON = auto()
    BE_TOLD = auto()  # it gets `{"drain": true}` on its link and runs on
    STOP = auto()


@dataclass(frozen=True, kw_only=True, slots=True)
class ProcessSpec:
    """One process to keep running.

    `env` is complete: nothing is inherited, the supervisor adds only SUPERVISOR_*.
    `needs` are roles: a role is ready when one of its processes is (a one-shot: exited 0).
    `sockets` are names of listeners that the child inherits. A process that is not
    `required` does not hold back the readiness of the whole. `fork_server` is the role of a
    process that can be forked into this one (`supervisor.forkserver`), which spares it
    loading the program; without one, or when that can not, `argv` is executed.
    """

    name: str
    role: str
    argv: tuple[str, ...]
    env: Mapping[str, str]
    readiness: Readiness
    cwd: Path | None = None
    needs: frozenset[str] = frozenset()
    sockets: tuple[str, ...] = ()
    fork_server: str = ""
    required: bool = True
    drain: Drain = Drain.SERVE_ON
    stop: StopPolicy = field(default_factory=StopPolicy)
    restart: RestartPolicy = field(default_factory=RestartPolicy)


def check_specs(specs: Sequence[ProcessSpec], listeners: Collection[str]) -> None:
    """Refuse a set of processes that could never start.

    Raises:
        ValueError: no or doubled names, a need or listener that nobody provides, a circle of needs.
    """
    names = [spec.name for spec in specs]
    doubled = {name for name in names if names.count(name) > 1}
    if not specs or doubled:
        raise ValueError(f"process names must be unique and at least one: {sorted(doubled)}")
    roles = {spec.role for spec in specs}
    for spec in specs:
        _refuse_unknown(f"{spec.name} needs the role", spec.needs - roles)
        _refuse_unknown(f"{spec.name} needs the listener", set(spec.sockets) - set(listeners))
        _refuse_unknown(f"{spec.name} is forked from the role", {spec.fork_server} - roles - {""})
    graph: dict[str, set[str]] = {}
    for spec in specs:
        graph.setdefault(spec.role, set()).update(spec.needs)
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        raise ValueError(f"roles need one another in a circle: {error.args[1]}") from None


def _refuse_unknown(what: str, unknown: Iterable[str]) -> None:
    if names := ", ".join(sorted(unknown)):
        raise ValueError(f"{what} {names}, which nobody provides")
