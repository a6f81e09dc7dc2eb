"""What holds for every setting: it is explained, bounded, and the generated files are current."""

from pathlib import Path

import pytest

from novapulse.core.settings import Settings, load
from novapulse.core.settings.declare import Declaration, Reload
from novapulse.core.settings.rates import Rate
from novapulse.core.settings.render import render_example, render_reference
from novapulse.core.settings.tree import DECLARATIONS, DEFAULTS, changes, values_of, with_values
from novapulse.core.settings.values import from_toml

CHECKOUT = Path(__file__).parents[4]
EVERY = pytest.mark.parametrize("declaration", DECLARATIONS.values(), ids=list(DECLARATIONS))


@EVERY
def test_every_setting_has_help_and_a_reload_class(declaration: Declaration) -> None:
    assert declaration.key.help.endswith(".")
    assert len(declaration.key.help) <= 98
    assert isinstance(declaration.key.reload, Reload)


@EVERY
def test_every_default_passes_its_own_check(declaration: Declaration) -> None:
    default = declaration.default
    raw = str(default) if isinstance(default, Rate) else default
    raw = list(raw) if isinstance(raw, tuple) else raw
    assert from_toml(declaration, raw) == default


@EVERY
def test_every_number_has_a_range(declaration: Declaration) -> None:
    if declaration.type in (int, float):
        assert declaration.range


@EVERY
def test_a_unit_in_a_name_is_the_declared_unit(declaration: Declaration) -> None:
    for unit in ("seconds", "bytes", "hours", "days"):
        if declaration.name.endswith("_" + unit):
            assert declaration.key.unit == unit


def test_the_example_file_is_current() -> None:
    assert (CHECKOUT / "config.toml.example").read_text() == render_example()


def test_the_reference_page_is_current() -> None:
    assert (CHECKOUT / "docs/reference/configuration.md").read_text() == render_reference()


def test_the_example_file_loads_as_the_defaults_without_a_warning(tmp_path: Path) -> None:
    file = tmp_path / "config.toml"
    file.write_text(render_example())
    loaded = load(config=file, environ={})
    assert loaded.settings == Settings()
    assert loaded.warnings == ()


def test_the_example_file_and_the_reference_name_every_key() -> None:
    example, reference = render_example(), render_reference()
    for name in DECLARATIONS:
        short = name.rpartition(".")[2]
        assert f"{short} = " in example
        assert f"| `{short}` |" in reference


def test_queue_defaults_are_the_documented_policies() -> None:
    queues = DEFAULTS.queues
    policies = {
        name: (q.attempts, q.backoff, q.backoff_seconds, q.processes, q.concurrency)
        for name, q in queues.each().items()
    }
    assert policies["email"] == (5, "exponential", 2, 1, 5)
    assert policies["workflow"] == (3, "exponential", 2, 1, 3)
    assert policies["report"] == (2, "fixed", 5, 1, 2)
    assert policies["webhook"][3:] == (1, 200)


def test_one_concurrency_for_all_queues_wins_over_their_own() -> None:
    queues = with_values(DEFAULTS, {"queues.concurrency": 7}).queues
    assert queues.concurrency_of("report") == 7
    assert DEFAULTS.queues.concurrency_of("report") == 2


def test_a_webhook_lease_outlasts_the_longest_attempt_and_its_record() -> None:
    assert DEFAULTS.queues.lease_seconds_of("webhook") == 45
    assert DEFAULTS.queues.lease_seconds_of("email") == DEFAULTS.queues.lease_seconds


def test_changes_name_the_keys_that_differ_and_what_a_reload_does() -> None:
    new = with_values(DEFAULTS, {"logging.level": "debug", "server.processes": 3})
    found = {change.key: change.reload for change in changes(DEFAULTS, new)}
    assert found == {"server.processes": Reload.SLOTS, "logging.level": Reload.LIVE}
    assert changes(DEFAULTS, Settings()) == ()


def test_the_flat_table_and_the_tree_are_the_same_thing() -> None:
    assert with_values(DEFAULTS, values_of(DEFAULTS)) == DEFAULTS
    assert list(values_of(DEFAULTS)) == list(DECLARATIONS)


def test_the_tree_never_shows_its_values() -> None:
    settings = with_values(DEFAULTS, {"redis.url": "redis://:canary@h"})
    assert "canary" not in repr(settings) + str(settings.redis)
