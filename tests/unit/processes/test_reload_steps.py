"""What a reload does about each key, whatever it is: the class that the key declares, no more."""

from pathlib import Path

import pytest

from novapulse.core.settings import load
from novapulse.core.settings.declare import Reload
from novapulse.core.settings.tree import DECLARATIONS, Change
from novapulse.processes import referenced, reload
from novapulse.processes.specs import build_table
from supervisor.steps import RollStep, TellStep

API = {"api-1", "api-2"}
BACKGROUND = {"scheduler", "caretaker", "email-1", "webhook-1", "workflow-1", "report-1"}
ROLLED = {
    Reload.LIVE: set(),
    Reload.SLOTS: set(),
    Reload.API: API,
    Reload.REBIND: API,
    Reload.CONSUMERS: BACKGROUND,
    Reload.BOTH: API | BACKGROUND,
}
# As the table of the documents has them; what is not here may be of any class.
PROMISED = {
    Reload.LIVE: (
        *("logging.level", "rate_limits.general", "rate_limits.login", "rate_limits.register"),
        *("queues.email.backoff", "queues.webhook.backoff_seconds"),
        *("queues.report.timeout_seconds", "webhooks.timeout_seconds", "webhooks.max_in_flight"),
    ),
    Reload.SLOTS: ("server.processes", "queues.email.processes", "queues.webhook.processes"),
    Reload.API: ("server.trusted_proxies", "registration.mode", "auth.access_token_seconds"),
    Reload.CONSUMERS: ("queues.webhook.concurrency", "queues.email.attempts", "mail.ca_file"),
    Reload.BOTH: ("mongo.timeout_seconds", "server.public_url", "tracing.endpoint"),
    Reload.REBIND: ("server.listen",),
    Reload.RESTART: ("mongo.uri", "redis.url", "mongo.database"),
}


@pytest.fixture(scope="module")
def specs(tmp_path_factory: pytest.TempPathFactory):
    root = tmp_path_factory.mktemp("root")
    stores = '[mongo]\nuri = "mongodb://u:p@db/"\n\n[redis]\nurl = "redis://:p@cache/0"\n'
    (root / "config.toml").write_text(stores)
    return build_table(load(root=root, environ={}), handoff=root / "run.json", log_format="json")


@pytest.mark.parametrize("key", [*DECLARATIONS])
def test_each_key_rolls_what_its_class_says_and_everybody_is_told(specs, key: str):
    declared = DECLARATIONS[key].key.reload
    if declared is Reload.RESTART:
        return  # refused before there are steps
    steps = reload._steps(specs, specs, (Change(key, declared),))
    assert {step.name for step in steps if isinstance(step, RollStep)} == ROLLED[declared]
    (told,) = (step for step in steps if isinstance(step, TellStep))
    assert told.text == (f"in force: {key}" if declared is Reload.LIVE else "")


@pytest.mark.parametrize("promised", PROMISED, ids=str)
def test_keys_have_the_class_that_they_are_promised_to_have(promised: Reload):
    assert {DECLARATIONS[key].key.reload for key in PROMISED[promised]} == {promised}


def test_every_class_is_in_the_example_file_beside_each_key():
    example = Path("config.toml.example").read_text()
    for name, one in DECLARATIONS.items():
        lines = example.splitlines()
        short = name.rpartition(".")[2]
        facts = f"reload: {one.key.reload}"
        places = [n for n, line in enumerate(lines) if line.startswith(f"{short} = ")]
        assert any(lines[n - 1].endswith(facts) for n in places), name


def test_a_file_that_is_named_counts_by_what_is_in_it(tmp_path: Path):
    secret = tmp_path / "password"
    (tmp_path / "config.toml").write_text(f'[mail]\npassword_file = "{secret}"\n')

    def look() -> referenced.Digests:
        return referenced.digests(load(root=tmp_path, environ={}).settings)

    missing = look()
    secret.write_text("one")
    first = look()
    assert referenced.rewritten(first, look(), changed=()) == ()
    secret.write_text("two")
    other = Change("mail.password_file", Reload.CONSUMERS)
    assert referenced.rewritten(missing, first, changed=()) == (other,)
    assert referenced.rewritten(first, look(), changed=()) == (other,)
    assert referenced.rewritten(first, look(), changed=(other,)) == ()
