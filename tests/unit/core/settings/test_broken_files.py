"""A broken configuration names its line, its key and the nearest thing that would work."""

import os
from dataclasses import dataclass
from pathlib import Path

import pytest

from novapulse.core.settings import Problem, SettingsInvalid, load


@dataclass(frozen=True)
class Broken:
    """A file, the line and key that must be blamed, and words of the detail and the hint."""

    text: str
    line: int
    key: str
    detail: str
    hint: str = ""


FILES = {
    # names
    "misspelt key": Broken(
        "[server]\n\nprocesess = 2", 3, "server.procesess", "not a setting", "server.processes"
    ),
    "misspelt section": Broken(
        "\n[servr]\nlisten = 'x'", 2, "servr", "not a setting", "mean server?"
    ),
    "misspelt subsection": Broken(
        "[queues.emial]\nattempts = 1", 1, "queues.emial", "", "queues.email"
    ),
    "singular section": Broken("[queue.email]\nattempts = 1", 1, "queue", "", "mean queues?"),
    "key without its section": Broken("listen = 'x:1'", 1, "listen", "", "server.listen"),
    "key in another section": Broken("[redis]\nuri = ''", 2, "redis.uri", "", "?"),
    "upper case": Broken("[server]\nListen = 'a:1'", 2, "server.Listen", "", "server.listen"),
    "quoted full name": Broken("'server.listen' = 'a:1'", 1, "server.listen", "not a setting"),
    "dash for underscore": Broken(
        "[webhooks]\nhttps-only = true", 2, "webhooks.https-only", "", "webhooks.https_only"
    ),
    "nothing like it": Broken("[zzzzqq]\n", 1, "zzzzqq", "not a setting", "config show"),
    "control characters": Broken('"a\\u001b[2J" = 1', 1, "a?[2J", "a?[2J is not a setting"),
    # types
    "string for integer": Broken(
        "[server]\nprocesses = '2'", 2, "server.processes", "expected an integer, got a string"
    ),
    "fraction for integer": Broken(
        "[server]\nprocesses = 2.0", 2, "server.processes", "got a number with a fraction"
    ),
    "boolean for integer": Broken(
        "[server]\nprocesses = true", 2, "server.processes", "got a boolean"
    ),
    "integer for string": Broken(
        "[server]\nlisten = 5000", 2, "server.listen", "expected a string, got an integer"
    ),
    "integer for boolean": Broken(
        "[webhooks]\nhttps_only = 1", 2, "webhooks.https_only", "expected true or false"
    ),
    "string for list": Broken(
        "[server]\ntrusted_proxies = '10.0.0.0/8'",
        2,
        "server.trusted_proxies",
        "expected a list of strings, got a string",
    ),
    "list of numbers": Broken(
        "[server]\ntrusted_proxies = [\n  1,\n]", 2, "server.trusted_proxies", "got an integer"
    ),
    "date for string": Broken(
        "[mongo]\ndatabase = 2026-01-01", 2, "mongo.database", "got a date or time"
    ),
    "table for key": Broken("[server.listen]\na = 1", 1, "server.listen", "got a table"),
    "value for section": Broken("mongo = 'x'", 1, "mongo", "expected a table, got a value"),
    "list of sections": Broken("[[redis]]\nurl = 'x'", 1, "redis", "got a list of tables"),
    # ranges and choices
    "too small": Broken("[server]\nprocesses = 0", 2, "server.processes", "must be 1 to 64"),
    "too large": Broken("[server]\nprocesses = 65", 2, "server.processes", "got 65"),
    "huge integer": Broken(
        f"[server]\nprocesses = 1{'0' * 400}", 2, "server.processes", "must be 1 to 64"
    ),
    "negative": Broken("[mongo]\ntimeout_seconds = -1", 2, "mongo.timeout_seconds", "0.1 to 60"),
    "not a number": Broken("[mongo]\ntimeout_seconds = nan", 2, "mongo.timeout_seconds", "must be"),
    "infinite": Broken("[mongo]\ntimeout_seconds = inf", 2, "mongo.timeout_seconds", "got inf"),
    "webhook deadline": Broken(
        "[webhooks]\ntimeout_seconds = 31", 2, "webhooks.timeout_seconds", "must be 1 to 30"
    ),
    "webhook lease": Broken(
        "[queues.webhook]\nlease_seconds = 44", 2, "queues.webhook.lease_seconds", "must be 45 to"
    ),
    "weak hash": Broken(
        "[auth]\nargon2_memory_kib = 1024", 2, "auth.argon2_memory_kib", "must be 19,456 to"
    ),
    "unknown mode": Broken(
        "[registration]\nmode = 'opne'", 2, "registration.mode", 'one of "closed", "open"'
    ),
    "unknown level": Broken(
        "[logging]\nlevel = 'INFO'", 2, "logging.level", 'one of "debug", "info"'
    ),
    "unknown backoff": Broken(
        "[queues.email]\nbackoff = 'linear'", 2, "queues.email.backoff", "exponential"
    ),
    "rate without unit": Broken(
        "[rate_limits]\nlogin = '5'", 2, "rate_limits.login", "such as 100/minute"
    ),
    "rate as number": Broken(
        "[rate_limits]\nlogin = 5", 2, "rate_limits.login", "expected a rate", "5/minute"
    ),
    "rate of zero": Broken("[rate_limits]\nlogin = '0/minute'", 2, "rate_limits.login", "rate"),
    "rate a day": Broken("[rate_limits]\nlogin = '5/day'", 2, "rate_limits.login", "hour"),
    # addresses
    "no port": Broken("[server]\nlisten = 'localhost'", 2, "server.listen", "HOST:PORT"),
    "no host": Broken("[server]\nlisten = ':5000'", 2, "server.listen", "0.0.0.0"),
    "high port": Broken("[server]\nlisten = 'a:65536'", 2, "server.listen", "0 to 65535"),
    "IPv6 without brackets": Broken("[server]\nlisten = '::1:50'", 2, "server.listen", "[IPv6]"),
    "not IPv6": Broken("[server]\nlisten = '[::g]:50'", 2, "server.listen", "not an IPv6"),
    "not IPv4": Broken("[server]\nlisten = '1.2.3.400:50'", 2, "server.listen", "not an IPv4"),
    "full-width port": Broken("[server]\nlisten = 'a:５０'", 2, "server.listen", "HOST:PORT"),
    "host bits": Broken(
        "[webhooks]\nallow_networks = ['10.1.2.3/8']",
        2,
        "webhooks.allow_networks",
        "10.0.0.0/8 would be",
    ),
    "not a network": Broken(
        "[server]\ntrusted_proxies = ['proxy']", 2, "server.trusted_proxies", "not a network"
    ),
    "public URL without scheme": Broken(
        "[server]\npublic_url = 'nova.example.com'", 2, "server.public_url", "https://nova"
    ),
    "public URL with password": Broken(
        "[server]\npublic_url = 'https://u:p@h'", 2, "server.public_url", "credentials"
    ),
    "relative path": Broken("[stores]\nmongod = 'bin/mongod'", 2, "stores.mongod", "absolute"),
    "control character in a value": Broken(
        '[mail]\nhost = "a\\nb"', 2, "mail.host", "control characters"
    ),
    # mail
    "mail server with a port": Broken(
        "[mail]\nhost = 'mail.example.com:25'", 2, "mail.host", "without a port"
    ),
    "mail server without a sender": Broken(
        "[mail]\nhost = 'mail.example.com'", 2, "mail.host", "without a sender"
    ),
    "sender without an address": Broken(
        "[mail]\nfrom = 'NovaPulse'", 2, "mail.from", "expected an address"
    ),
    "sender whose address is not ASCII": Broken(
        "[mail]\nfrom = 'Nova <növa@example.com>'", 2, "mail.from", "in ASCII"
    ),
    # stores
    "write concern 1": Broken(
        "[mongo]\nuri = 'mongodb://u:p@h/?w=1'", 2, "mongo.uri", "w=1 is not majority"
    ),
    "write concern twice": Broken(
        "[mongo]\nuri = 'mongodb://u:p@h/?w=majority&W=0'", 2, "mongo.uri", "w=0"
    ),
    "no journal": Broken(
        "[mongo]\nuri = 'mongodb://u:p@h/?journal=false'", 2, "mongo.uri", "journal"
    ),
    "another scheme": Broken("[mongo]\nuri = 'mysql://h'", 2, "mongo.uri", "mongodb://"),
    "redis scheme": Broken("[redis]\nurl = 'http://h'", 2, "redis.url", "redis://"),
    "mongo without user": Broken(
        "[mongo]\nuri = 'mongodb://h'", 2, "mongo.uri", "without authentication", "allow_insecure"
    ),
    "redis without password": Broken(
        "[redis]\nurl = 'redis://h:1'", 2, "redis.url", "without a password", "allow_insecure"
    ),
    "sentinels without a service": Broken(
        "[redis]\nurl = 'redis+sentinel://:p@h:1,i:2'", 2, "redis.url", "HOST:26379/SERVICE"
    ),
    "sentinels with another option": Broken(
        "[redis]\nurl = 'redis+sentinel://:p@h/s?ssl=1'", 2, "redis.url", "sentinel_password"
    ),
    "sentinels without a password": Broken(
        "[redis]\nurl = 'redis+sentinel://h,i/s'", 2, "redis.url", "without a password"
    ),
    "certificate without its key": Broken(
        "[server]\ntls_certificate_file = '/c.pem'", 2, "server.tls_certificate_file", "its key"
    ),
    "database of MongoDB": Broken("[mongo]\ndatabase = 'admin'", 2, "mongo.database", "own"),
    # together
    "share larger than the whole": Broken(
        "[webhooks]\n\nmax_in_flight_per_webhook = 201",
        3,
        "webhooks.max_in_flight_per_webhook",
        "more than webhooks.max_in_flight (200)",
    ),
    # syntax
    "no quotes": Broken("[server]\nlisten = localhost", 2, "", "not TOML", "quotes"),
    "unclosed string": Broken('[server]\nlisten = "a\n', 2, "", "not TOML"),
    "unclosed header": Broken("[server\nlisten = 'a:1'", 1, "", "not TOML"),
    "key twice": Broken("[server]\nprocesses=1\nprocesses=2", 3, "", "not TOML"),
    "section twice": Broken("[server]\n[mongo]\n[server]", 3, "", "not TOML"),
    "end too early": Broken("[server]\ntrusted_proxies = [", 2, "", "not TOML"),
    "control byte": Broken("[server]\nlisten = 'a\0'", 2, "", "not TOML"),
}


def problems_of(file: Path) -> tuple[Problem, ...]:
    with pytest.raises(SettingsInvalid) as caught:
        load(config=file, environ={})
    assert caught.value.problems[0].where == caught.value.where
    return caught.value.problems


@pytest.mark.parametrize("broken", FILES.values(), ids=list(FILES))
def test_a_broken_file_names_line_key_and_cure(broken: Broken, tmp_path: Path) -> None:
    file = tmp_path / "config.toml"
    file.write_text(broken.text)
    (problem,) = problems_of(file)
    assert problem.where == f"{file}:{broken.line}"
    assert problem.key == broken.key
    assert broken.detail in problem.detail
    assert broken.hint in problem.hint
    assert problem.hint


def test_all_problems_are_reported_at_once(tmp_path: Path) -> None:
    file = tmp_path / "config.toml"
    file.write_text("[server]\nlistn = 1\nprocesses = 'x'\n[mongo]\ntimeout_seconds = 0\n")
    assert [p.where.rpartition(":")[2] for p in problems_of(file)] == ["2", "3", "5"]


def test_a_flood_of_problems_is_cut(tmp_path: Path) -> None:
    file = tmp_path / "config.toml"
    file.write_text("".join(f"key{n} = 1\n" for n in range(5_000)))
    assert len(problems_of(file)) == 50


def test_bytes_that_are_not_utf8_are_refused_with_their_line(tmp_path: Path) -> None:
    file = tmp_path / "config.toml"
    file.write_bytes(b"[server]\n# caf\xe9\n")
    (problem,) = problems_of(file)
    assert problem.where == f"{file}:2"
    assert "UTF-8" in problem.detail


def test_a_byte_order_mark_and_windows_line_ends_are_fine(tmp_path: Path) -> None:
    file = tmp_path / "config.toml"
    file.write_bytes(b"\xef\xbb\xbf[server]\r\nprocesses = 3\r\n")
    loaded = load(config=file, environ={})
    assert loaded.settings.server.processes == 3
    assert loaded.origins["server.processes"] == f"{file}:2"


def test_deep_nesting_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "config.toml"
    file.write_text("a = " + "[" * 100_000)
    (problem,) = problems_of(file)
    assert problem.key == ""


def test_a_huge_file_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "config.toml"
    file.write_text("#" * 1_048_577)
    assert "1 MiB" in problems_of(file)[0].detail


@pytest.mark.parametrize("place", ["/dev/zero", "/proc"])
def test_what_is_not_a_regular_file_is_refused(place: str) -> None:
    assert "not a regular file" in problems_of(Path(place))[0].detail


def test_a_file_that_was_named_must_exist(tmp_path: Path) -> None:
    missing = tmp_path / "missing.toml"
    assert "No such file" in problems_of(missing)[0].detail
    with pytest.raises(SettingsInvalid):
        load(environ={"NOVAPULSE_CONFIG": str(missing)})


def test_a_password_never_appears_in_a_message(tmp_path: Path) -> None:
    file = tmp_path / "config.toml"
    for uri in ("mongodb://u:canary@h/?w=1", "mongodb://u:can/canary@h", "oops://u:canary@h"):
        file.write_text(f"[mongo]\nuri = '{uri}'")
        assert "canary" not in repr(problems_of(file))


def test_a_pipe_in_the_files_place_does_not_hang(tmp_path: Path) -> None:
    file = tmp_path / "config.toml"
    os.mkfifo(file)
    assert "not a regular file" in problems_of(file)[0].detail
