"""For scripts beside a running appliance: inside `connected`, calling a task enqueues a job.

from novapulse.mail.jobs import send
from novapulse.processes.scripting import connected

with connected(root=Path("var")):
    send(to="ada@example.com", subject="Hello", text="From a script.")
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import novapulse.processes.features  # noqa: F401 - declares the job kinds
from novapulse.core.clock import system_clock
from novapulse.core.crypto import load_key_ring
from novapulse.core.jobs.kinds import get_kind
from novapulse.core.jobs.rows import NewJob, queue_policy, to_row
from novapulse.core.jobs.sync import SyncLedger
from novapulse.core.mongo import Document
from novapulse.core.settings import Loaded, load
from novapulse.processes import places
from novapulse.stores.layout import MongoRole


@contextmanager
def connected(
    *, root: Path | None = None, config: Path | None = None, company_id: str | None = None
) -> Iterator[SyncLedger]:
    """Take calls of tasks to the ledger of the appliance at `root` or `config`.

    Raises:
        ConfigurationInvalid: its settings or keys are not usable.
    """
    loaded = load(root=root, config=config)
    ledger = SyncLedger(
        mongo_uri=places.mongo_uri(loaded, MongoRole.API),
        database=loaded.settings.mongo.database,
        redis_url=places.redis_url(loaded),
        make_row=_row_maker(loaded),
        timeout_seconds=loaded.settings.mongo.timeout_seconds,
        company_id=company_id,
    )
    with ledger:
        yield ledger


def _row_maker(loaded: Loaded) -> Callable[[NewJob], Document]:
    keys = load_key_ring(places.secrets_directory(loaded) / "data-keys.json")

    def make_row(job: NewJob) -> Document:
        policy = queue_policy(loaded.settings.queues.named(get_kind(job.kind).queue))
        return to_row(job, now=system_clock(), queue_policy=policy, keys=keys)

    return make_row
