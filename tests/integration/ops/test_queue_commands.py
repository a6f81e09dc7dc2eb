"""`novapulse queue`, `job` and `mail` from a shell, and calls of tasks from a script."""

import asyncio
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import structlog
from pymongo import MongoClient

from novapulse.cli import main
from novapulse.core.migrate import migrate
from novapulse.core.settings import load
from novapulse.mail.compose import Sender, compose
from novapulse.mail.jobs import send
from novapulse.mail.model import Message
from novapulse.mail.spool import Spool
from novapulse.migrations.order import MIGRATIONS
from novapulse.ops import queues
from novapulse.processes import places
from novapulse.processes.features import INDEXES
from novapulse.processes.runtime import open_runtime
from novapulse.processes.scripting import connected
from novapulse.stores.layout import MongoRole
from tests.support.stores import RunningStores

MAIL = {"to": "ada@example.com", "subject": "Hello", "text": "from a script"}


@dataclass
class Said:
    code: int
    out: str
    err: str

    def json(self) -> Any:
        return json.loads(self.out)


@dataclass
class Shell:
    """A root directory whose stores are those of the tests."""

    root: Path
    database: Any
    capture: pytest.CaptureFixture[str]

    def __call__(self, *words: str) -> Said:
        self.capture.readouterr()
        with pytest.raises(SystemExit) as ended:
            main([*words, "--root", str(self.root)])
        out, err = self.capture.readouterr()
        code = ended.value.code
        return Said(code if isinstance(code, int) else 0, out, err)

    def add(self, number: int = 1, *, state: str = "available") -> list[str]:
        """Mails that a script enqueued, oldest first; then as if they were in `state`."""
        before = {row["_id"] for row in self.database.jobs.find({}, {"_id": 1})}
        with connected(root=self.root):
            for _ in range(number):
                send(**MAIL)
        ids = sorted({row["_id"] for row in self.database.jobs.find({}, {"_id": 1})} - before)
        if state == "dead":
            errors = [{"attempt": 5, "at": "$$NOW", "message": "SMTPError: no"}]
            change = {"state": "dead", "finishedAt": "$$NOW", "errors": errors}
            self.database.jobs.update_many(
                {"_id": {"$in": ids}}, [{"$set": change}, {"$unset": "dueAt"}]
            )
        return ids

    def states(self) -> dict[str, str]:
        return {row["_id"]: row["state"] for row in self.database.jobs.find()}


@pytest.fixture
def shell(
    stores: RunningStores, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> Iterator[Shell]:
    name = stores.database_name("cli")
    (tmp_path / "config.toml").write_text(
        f'[mongo]\nuri = "{stores.mongo_uri}"\ndatabase = "{name}"\n'
        f'[redis]\nurl = "{stores.redis_url}"\n'
    )
    loaded = load(root=tmp_path)
    loaded.paths.state.mkdir(mode=0o700, parents=True, exist_ok=True)

    async def prepare() -> None:
        async with open_runtime(loaded, role=MongoRole.ADMIN) as runtime:
            await migrate(runtime.db, MIGRATIONS, indexes=INDEXES, owner="tests")

    asyncio.run(prepare())
    with MongoClient(stores.mongo_uri, tz_aware=True) as client:
        yield Shell(tmp_path, client[name], capsys)
    structlog.reset_defaults()  # the command line keeps its log to warnings


def test_a_script_enqueues_by_calling_a_task(shell: Shell) -> None:
    (job_id,) = shell.add()
    row = shell.database.jobs.find_one({"_id": job_id})
    assert (row["kind"], row["queue"], row["state"]) == ("mail.send", "email", "available")
    assert row["payload"]["to"] == MAIL["to"]
    assert MAIL["text"] not in str(row)


def test_queues_are_listed_for_people_and_for_scripts(shell: Shell) -> None:
    shell.add(3)
    shell.add(2, state="dead")
    said = shell("queue", "list")
    (line,) = [line for line in said.out.splitlines() if line.startswith("nova:email")]
    assert line.split()[1:7] == ["3", "0", "0", "0", "0", "2"]
    table = shell("queue", "list", "--json").json()
    assert table["schema"] == 1
    (row,) = [row for row in table["queues"] if row["queue"] == "nova:email"]
    assert (row["available"], row["dead"], row["paused"]) == (3, 2, False)


def test_a_job_is_shown_retried_and_cancelled(shell: Shell) -> None:
    (job_id,) = shell.add(state="dead")
    said = shell("job", "show", job_id)
    assert "attempt 5 at " in said.out
    assert "SMTPError: no" in said.out
    assert MAIL["text"] not in said.out
    assert shell("job", "show", job_id, "--json").json()["job"]["state"] == "dead"
    assert shell("job", "retry", job_id).code == 0
    assert shell.states() == {job_id: "available"}
    assert shell("job", "cancel", job_id).code == 0
    assert shell.states() == {job_id: "cancelled"}
    actors = {row["actor"]["via"] for row in shell.database.events.find({"type": "job.retried"})}
    assert actors == {"cli"}


@pytest.mark.parametrize("verb", ["show", "retry", "cancel"])
def test_a_job_that_is_not_there_is_exit_code_66(shell: Shell, verb: str) -> None:
    said = shell("job", verb, "job_0000000000000000000000000")
    assert said.code == 66
    assert "no such job" in said.err


@pytest.mark.parametrize("verb", ["clear", "retry"])
def test_a_bulk_verb_without_consent_ends_with_2_and_changes_nothing(
    shell: Shell, verb: str
) -> None:
    shell.add(3, state="dead")
    before = shell.states()
    said = shell("queue", verb, "email", "--state", "dead")
    assert said.code == 2
    assert "3 dead jobs of nova:email" in said.err
    assert "--yes" in said.err
    assert shell.states() == before
    said = shell("queue", verb, "email", "--state", "dead", "--dry-run")
    assert said.code == 0
    assert "3 dead jobs of nova:email" in said.out
    assert shell.states() == before


def test_clearing_dead_jobs_leaves_the_others(shell: Shell) -> None:
    shell.add(3, state="dead")
    kept = shell.add(2)
    assert shell("queue", "clear", "nova:email", "--state", "dead", "--yes").code == 0
    assert shell.states() == dict.fromkeys(kept, "available")
    (row,) = shell.database.events.find({"type": "queue.cleared"})
    assert (row["companyId"], row["data"]["queue"]["count"]) == ("platform", 3)


@pytest.mark.parametrize(("verb", "name"), [("clear", "cleared"), ("retry", "retried")])
def test_a_verb_goes_on_until_it_is_done_with_a_line_a_batch(
    shell: Shell, monkeypatch: pytest.MonkeyPatch, *, verb: str, name: str
) -> None:
    monkeypatch.setattr(queues, "BATCHES", (3, 2, 1))
    shell.add(7, state="dead")
    said = shell("queue", verb, "email", "--state", "dead", "--yes")
    assert (said.code, said.out.split(" jobs")[0]) == (0, "7")
    assert "dead" not in shell.states().values()
    lines = shell.database.events.find({"type": f"queue.{name}"})
    assert [row["data"]["queue"]["count"] for row in lines] == [3, 3, 1]


def test_retrying_takes_the_dead_ones_unless_told_otherwise(shell: Shell) -> None:
    ids = shell.add(3, state="dead")
    assert shell("queue", "retry", "email", "--yes").code == 0
    assert shell.states() == dict.fromkeys(ids, "available")


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (("queue", "clear", "email"), 2),
        (("queue", "clear", "email", "--state", "failed"), 2),
        (("queue", "clear", "email", "--state", "running", "--yes"), 2),
        (("queue", "clear", "email", "--state", "dead", "--since", "yesterday"), 2),
        (("queue", "clear", "nothing", "--state", "dead", "--yes"), 66),
        (("queue", "retry", "email", "--state", "completed", "--yes"), 2),
        (("queue", "pause", "nothing"), 66),
    ],
)
def test_what_makes_no_sense_has_its_exit_code_and_changes_nothing(
    shell: Shell, words: tuple[str, ...], code: int
) -> None:
    shell.add(1, state="dead")
    before = shell.states()
    said = shell(*words)
    assert said.code == code, said
    assert said.err
    assert shell.states() == before


def test_a_queue_is_paused_and_resumed(shell: Shell) -> None:
    def paused() -> set[str]:
        table = shell("queue", "list", "--json").json()["queues"]
        return {row["queue"] for row in table if row["paused"]}

    assert shell("queue", "pause", "webhook").code == 0
    assert paused() == {"nova:webhook"}
    assert shell("queue", "resume", "nova:webhook").code == 0
    assert paused() == set()


def test_without_its_stores_a_verb_ends_with_69(tmp_path: Path, shell: Shell) -> None:
    root = tmp_path / "nobody"
    root.mkdir()
    nobody = Shell(root, shell.database, shell.capture)
    assert nobody("queue", "list").code == 69


@pytest.fixture
def spooled(shell: Shell) -> Callable[..., str]:
    spool = Spool(places.mail_spool(load(root=shell.root)))

    def put(number: int, **fields: Any) -> str:
        from datetime import UTC, datetime

        at = datetime(2026, 11, 23, 10, number, tzinfo=UTC)
        message_id = f"job_{number:026}"
        message = Message(id=message_id, created_at=at, to="ada@example.com", **fields)
        spool.put(message_id, compose(message, Sender()))
        return message_id

    return put


def test_spooled_mail_is_listed_newest_first_and_shown(
    shell: Shell, spooled: Callable[..., str]
) -> None:
    assert shell("mail", "list").code == 0
    first = spooled(1, subject="Ünicode", text="hello\n")
    alert = {"title": "Look", "text": "https://example.com/i/1"}
    second = spooled(2, template="system_alert", data=alert)
    messages = shell("mail", "list", "--json").json()["messages"]
    assert [(one["id"], one["to"]) for one in messages] == [
        (second, "ada@example.com"),
        (first, "ada@example.com"),
    ]
    assert messages[1]["subject"] == "Ünicode"
    said = shell("mail", "show", second)
    assert "https://example.com/i/1" in said.out
    assert f"Message-ID: <{second}@localhost>" in said.out


@pytest.mark.parametrize("name", ["job_nothing", "../config", "job_" + "0" * 26])
def test_mail_that_is_not_there_is_exit_code_66(shell: Shell, name: str) -> None:
    assert shell("mail", "show", name).code == 66
