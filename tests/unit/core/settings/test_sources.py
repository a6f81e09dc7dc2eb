"""Environment and flags: their types, their precedence, and the origin of every value."""

from pathlib import Path

import pytest

from novapulse.core.settings import SettingsInvalid, load
from novapulse.core.settings.rates import Rate
from novapulse.core.settings.tree import DECLARATIONS, values_of

FILE = (
    "[server]\n# how many\nprocesses = 3\nlisten = '0.0.0.0:1'\n[queues]\nemail = {attempts = 9}\n"
)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "config.toml").write_text(FILE)
    (tmp_path / "config.toml").chmod(0o600)
    return tmp_path


TYPED = [
    ("SERVER__PROCESSES", "4", "server.processes", 4),
    ("SERVER__MAX_BODY_BYTES", "2_097_152", "server.max_body_bytes", 2_097_152),
    ("MONGO__TIMEOUT_SECONDS", "2", "mongo.timeout_seconds", 2.0),
    ("REDIS__TIMEOUT_SECONDS", "0.5", "redis.timeout_seconds", 0.5),
    ("WEBHOOKS__HTTPS_ONLY", "true", "webhooks.https_only", True),
    ("WEBHOOKS__HTTPS_ONLY", "1", "webhooks.https_only", True),
    ("WEBHOOKS__HTTPS_ONLY", "On", "webhooks.https_only", True),
    ("RATE_LIMITS__ENABLED", "no", "rate_limits.enabled", False),
    ("RATE_LIMITS__LOGIN", "9/hour", "rate_limits.login", Rate(9, 3600)),
    ("REGISTRATION__MODE", "open", "registration.mode", "open"),
    ("SERVER__LISTEN", "[::1]:0", "server.listen", "[::1]:0"),
    ("SERVER__TRUSTED_PROXIES", "", "server.trusted_proxies", ()),
    (
        "SERVER__TRUSTED_PROXIES",
        "10.0.0.0/8, 192.168.1.1",
        "server.trusted_proxies",
        ("10.0.0.0/8", "192.168.1.1/32"),
    ),
    (
        "SERVER__TRUSTED_PROXIES",
        '["10.0.0.0/8", "fd00::/8"]',
        "server.trusted_proxies",
        ("10.0.0.0/8", "fd00::/8"),
    ),
    ("QUEUES__EMAIL__CONCURRENCY", "12", "queues.email.concurrency", 12),
    ("MAIL__FROM", "Nova <n@example.com>", "mail.from", "Nova <n@example.com>"),
]


@pytest.mark.parametrize(("variable", "text", "key", "value"), TYPED)
def test_a_variable_is_read_as_its_setting_is_declared(
    variable: str, text: str, key: str, value: object, tmp_path: Path
) -> None:
    loaded = load(root=tmp_path, environ={f"NOVAPULSE__{variable}": text})
    found = values_of(loaded.settings)[key]
    assert found == value
    assert type(found) is type(value)
    assert loaded.origins[key] == f"environment NOVAPULSE__{variable}"


REFUSED = [
    ("NOVAPULSE__SERVER__PROCESSES", "two", "expected an integer, got 'two'"),
    ("NOVAPULSE__SERVER__PROCESSES", "", "expected an integer"),
    ("NOVAPULSE__SERVER__PROCESSES", "٣", "expected an integer"),
    ("NOVAPULSE__SERVER__PROCESSES", "99", "must be 1 to 64"),
    ("NOVAPULSE__MONGO__TIMEOUT_SECONDS", "nan", "expected a number"),
    ("NOVAPULSE__WEBHOOKS__HTTPS_ONLY", "maybe", "expected true or false"),
    ("NOVAPULSE__SERVER__TRUSTED_PROXIES", "[1", "expected a JSON list"),
    ("NOVAPULSE__SERVER__TRUSTED_PROXIES", "[1]", "each item: expected a string"),
    ("NOVAPULSE__SERVER__LISTEN", "a\udce9:1", "control characters"),
    ("NOVAPULSE__SERVER__LISTN", "a:1", "not a setting"),
    ("NOVAPULSE__SERVER", "a:1", "not a setting"),
    ("NOVAPULSE__server__listen", "a:1", "not a setting"),
    ("QUEUE_CONCURRENCY", "many", "expected an integer"),
    ("REDIS_URL", "localhost:6379", "redis://"),
    ("JWT_ACCESS_SECRET", "too-short-canary", "fewer than 32"),
]


@pytest.mark.parametrize(("variable", "text", "detail"), REFUSED)
def test_a_wrong_variable_is_refused_by_its_name(
    variable: str, text: str, detail: str, tmp_path: Path
) -> None:
    with pytest.raises(SettingsInvalid) as caught:
        load(root=tmp_path, environ={variable: text})
    (problem,) = caught.value.problems
    assert detail in problem.detail
    assert problem.where == f"environment {variable}"
    assert "canary" not in str(caught.value)


def test_a_misspelt_variable_is_told_the_nearest_one(tmp_path: Path) -> None:
    with pytest.raises(SettingsInvalid) as caught:
        load(root=tmp_path, environ={"NOVAPULSE__SERVER__LISTN": "a:1"})
    assert caught.value.hint == "did you mean NOVAPULSE__SERVER__LISTEN?"


def test_other_variables_are_nobodys_business(tmp_path: Path) -> None:
    environ = {"NOVAPULSE_CONFIG": "/nowhere", "NOVAPULSE_OTHER": "x", "SERVER__LISTEN": "x"}
    assert load(root=tmp_path, environ=environ).warnings == ()


def test_every_value_has_an_origin(root: Path) -> None:
    loaded = load(
        root=root,
        environ={"NOVAPULSE__MONGO__DATABASE": "other"},
        overrides={"server.listen": "127.0.0.1:0"},
    )
    file = root / "config.toml"
    assert list(loaded.origins) == list(DECLARATIONS)
    assert loaded.origins["server.processes"] == f"{file}:3"
    assert loaded.origins["queues.email.attempts"] == f"{file}:6"
    assert loaded.origins["mongo.database"] == "environment NOVAPULSE__MONGO__DATABASE"
    assert loaded.origins["server.listen"] == "flag --listen"
    assert loaded.origins["server.drain_seconds"] == "default"


def test_flags_win_over_variables_over_aliases_over_the_file(root: Path) -> None:
    (root / "config.toml").write_text("[queues]\nconcurrency = 1\n")
    environ = {"QUEUE_CONCURRENCY": "2"}
    assert load(root=root, environ=environ).settings.queues.concurrency == 2
    environ["NOVAPULSE__QUEUES__CONCURRENCY"] = "3"
    assert load(root=root, environ=environ).settings.queues.concurrency == 3
    flags = {"queues.concurrency": "4"}
    assert load(root=root, environ=environ, overrides=flags).settings.queues.concurrency == 4


def test_a_flag_may_be_text_or_a_value(tmp_path: Path) -> None:
    flags = {"server.processes": 5, "webhooks.https_only": "yes", "mongo.max_pool_size": "7"}
    settings = load(root=tmp_path, environ={}, overrides=flags).settings
    assert (settings.server.processes, settings.mongo.max_pool_size) == (5, 7)
    assert settings.webhooks.https_only


def test_an_unknown_flag_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SettingsInvalid, match=r"server\.lisen is not a setting"):
        load(root=tmp_path, environ={}, overrides={"server.lisen": "x"})


def test_a_later_source_does_not_hide_an_earlier_mistake(tmp_path: Path) -> None:
    (tmp_path / "config.toml").write_text("[server]\nprocesses = 0\n")
    with pytest.raises(SettingsInvalid):
        load(root=tmp_path, environ={"NOVAPULSE__SERVER__PROCESSES": "2"})


def test_the_predecessors_variables_are_honoured(tmp_path: Path) -> None:
    environ = {
        "REDIS_URL": "redis://:pw@cache:6379/0",
        "MONGO_URI": "mongodb://u:pw@db/?replicaSet=rs",
        "SERVICE_NAME": "pulse",
        "QUEUE_CONCURRENCY": "",
        "JWT_ACCESS_SECRET": "s" * 32,
        "JWT_REFRESH_SECRET": "x",
    }
    loaded = load(root=tmp_path, environ=environ)
    assert loaded.settings.redis.url == environ["REDIS_URL"]
    assert loaded.settings.mongo.uri == environ["MONGO_URI"]
    assert loaded.settings.tracing.service_name == "pulse"
    assert loaded.origins["redis.url"] == "environment REDIS_URL"
    assert loaded.jwt_access_secret == b"s" * 32
    assert any("JWT_REFRESH_SECRET" in warning for warning in loaded.warnings)


def test_a_password_in_a_file_for_everybody_is_warned_of(tmp_path: Path) -> None:
    file = tmp_path / "config.toml"
    file.write_text("[redis]\nurl = 'redis://:canary@h'\n")
    file.chmod(0o644)
    (warning,) = load(root=tmp_path, environ={}).warnings
    assert "everybody may read it" in warning
    assert "canary" not in warning
    file.chmod(0o640)
    assert load(root=tmp_path, environ={}).warnings == ()


def test_a_database_in_the_uri_that_is_not_ours_is_warned_of(tmp_path: Path) -> None:
    environ = {"MONGO_URI": "mongodb://u:p@h/elsewhere"}
    (warning,) = load(root=tmp_path, environ=environ).warnings
    assert "mongo.database" in warning
    assert load(root=tmp_path, environ={"MONGO_URI": "mongodb://u:p@h/admin"}).warnings == ()


@pytest.mark.parametrize(
    "flags",
    [
        {"mongo.uri": "mongodb://h", "mongo.allow_insecure": True},
        {"mongo.uri": "mongodb://h/?authMechanism=MONGODB-X509"},
        {"mongo.uri": "mongodb+srv://u:p@h/?w=majority&journal=true"},
        {"redis.url": "redis://h", "redis.allow_insecure": True},
        {"redis.url": "rediss://u:p@h:6380/1"},
        {"redis.url": "unix:///run/redis.sock?password=p"},
        {"redis.url": "redis+sentinel://:p@[::1]:26379,h,i:2/service/1?sentinel_password=q"},
    ],
)
def test_external_stores_are_accepted(flags: dict[str, object], tmp_path: Path) -> None:
    assert load(root=tmp_path, environ={}, overrides=flags).warnings == ()


def test_the_public_url_follows_from_the_listen_address(tmp_path: Path) -> None:
    server = load(root=tmp_path, environ={}).settings.server
    assert server.base_url == "http://127.0.0.1:5000"
    assert (server.address.host, server.address.port) == ("127.0.0.1", 5000)
    flags = {"server.public_url": "https://nova.example.com/"}
    server = load(root=tmp_path, environ={}, overrides=flags).settings.server
    assert server.base_url == "https://nova.example.com"
