"""Which of the program's roles this appliance fills: all, or those of `run --roles`.

Embedded stores, the migrations before everything else and the fork server belong to whatever runs,
and so does the caretaker, in the scheduler's place.
"""

from dataclasses import dataclass
from pathlib import Path

from novapulse.core.errors import Invalid
from novapulse.core.settings import Loaded
from novapulse.processes.specs import CARETAKER, QUEUES, build_table
from novapulse.processes.starting import FORK_SERVER
from supervisor.spec import ProcessSpec

LISTENER = "http"
_ALWAYS = frozenset({FORK_SERVER, "redis", "mongod", "migrate"})
CHOICES = ("api", "scheduler", "consumer", *(f"consumer:{queue}" for queue in QUEUES))


@dataclass(frozen=True, slots=True)
class Roles:
    """`names` of CHOICES; None is all of them."""

    names: frozenset[str] | None = None

    @classmethod
    def parse(cls, text: str | None) -> "Roles":
        """`api,consumer:webhook`; raises Invalid with the ones there are."""
        if text is None:
            return cls()
        names = frozenset(name.strip() for name in text.split(",") if name.strip())
        unknown = sorted(names - set(CHOICES))
        if unknown or not names:
            what = f"There is no role {unknown[0]!r}" if unknown else "No role is given"
            raise Invalid(f"{what}; there are {', '.join(CHOICES)}")
        return cls(names)

    def has(self, role: str) -> bool:
        if role == CARETAKER:
            return not self.has("scheduler")
        if self.names is None or role in _ALWAYS:
            return True
        return role in self.names or role.partition(":")[0] in self.names


def build_specs(
    loaded: Loaded, *, handoff: Path, log_format: str, roles: Roles
) -> list[ProcessSpec]:
    """Every process that this appliance runs.

    Raises:
        Unavailable: an embedded store's program is missing.
    """
    table = build_table(loaded, handoff=handoff, log_format=log_format)
    return [spec for spec in table if roles.has(spec.role)]


def count_key(role: str) -> str:
    """The setting that says how many processes a role has; raises Invalid for other roles."""
    if role == "api":
        return "server.processes"
    queue = role.removeprefix("consumer:")
    if queue not in QUEUES:
        scalable = ("api", *(f"consumer:{one}" for one in QUEUES))
        raise Invalid(f"{role!r} can not be scaled; there are {', '.join(scalable)}")
    return f"queues.{queue}.processes"
