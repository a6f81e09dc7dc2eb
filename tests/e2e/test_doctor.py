"""What the doctor finds: each trouble is real, and comes with its cause and its fix."""

import json
import os
import resource
import shutil
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from pymongo import MongoClient
from redis import Redis

from novapulse.stores.find import find_store
from tests.support.appliance import PROGRAM, Appliance, appliance_in_temporary_root
from tests.support.stores import running_stores, temporary_layout

Findings = dict[str, dict[str, str]]


def examined(root: Path, *, prefix: tuple[str, ...] = (), **environ: str) -> Findings:
    """The findings of a root that nothing runs in, by name; of several the worst."""
    done = subprocess.run(
        [*prefix, PROGRAM, "doctor", "--json", "--root", root],
        env={**os.environ, **environ},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    document = json.loads(done.stdout)
    assert document["schema"] == 1
    assert done.returncode == (0 if document["ok"] else 1)
    return by_name(document["findings"])


def by_name(rows: list[dict[str, str]]) -> Findings:
    badness = ("bad", "warn", "ok", "skipped")
    for row in rows:
        assert row["fix"] or row["verdict"] in ("ok", "skipped"), row
    ordered = sorted(rows, key=lambda row: badness.index(row["verdict"]), reverse=True)
    return {row["name"]: row for row in ordered}


def must(found: Findings, name: str, verdict: str, *, says: str, fix: str, cause: str = "") -> None:
    one = found[name]
    assert one["verdict"] == verdict, one
    assert says in one["found"], one
    assert cause in one["cause"], one
    assert fix in one["fix"], one


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "config.toml").touch(mode=0o600)
    return tmp_path


def test_a_configuration_that_can_not_be_used(root: Path):
    (root / "config.toml").write_text("[server]\nprocesess = 2\n")
    found = examined(root)
    must(found, "configuration", "bad", says="server.procesess", fix="server.processes")
    assert found["configuration"]["cause"] == f"{root}/config.toml:2"


def test_a_password_that_everybody_may_read(root: Path):
    (root / "config.toml").write_text('[mongo]\nuri = "mongodb://u:secret@db.example/"\n')
    (root / "config.toml").chmod(0o644)
    must(examined(root), "configuration", "warn", says="everybody may read it", fix="novapulse")


def test_directories_and_secrets_with_the_wrong_modes(root: Path):
    for name in ("state", "run"):
        (root / name).mkdir(mode=0o700)
    (root / "state" / "secrets").mkdir(mode=0o700)
    (root / "state" / "secrets" / "mongod.key").touch(mode=0o640)
    (root / "run").chmod(0o777)
    found = examined(root)
    must(
        *(found, "directory", "bad"),
        says=f"others may write into {root}/run",
        cause="its mode is 777",
        fix=f"chmod go-w {root}/run",
    )
    fix = f"chmod 600 {root}/state/secrets/mongod.key"
    must(found, "secret", "bad", says="mongod.key", cause="its mode is 640", fix=fix)


def test_a_directory_of_somebody_else(root: Path):
    if os.geteuid() != 0:
        pytest.skip("only root can give a directory away")
    (root / "log").mkdir()
    os.chown(root / "log", 12345, 12345)
    must(examined(root), "directory", "bad", says="belongs to uid 12345", fix="chown -R 0")


def test_a_disk_that_is_nearly_full():
    if os.geteuid() != 0:
        pytest.skip("only root can mount a small disk")
    script = (
        'mount -t tmpfs -o size=64m none "$1" && touch "$1/config.toml" && '
        '"$2" doctor --json --root "$1"'
    )
    with appliance_in_temporary_root() as one:
        one.root.mkdir()
        done = subprocess.run(
            ["unshare", "-m", "sh", "-c", script, "sh", one.root, PROGRAM],
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
    found = by_name(json.loads(done.stdout)["findings"])
    must(found, "disk", "bad", says="of 0.1 GiB free", cause="512 MiB", fix="du -xh")


@pytest.mark.parametrize(("most", "verdict"), [(1000, "bad"), (5000, "warn")])
def test_too_few_open_files(root: Path, most: int, verdict: str):
    limit = ("prlimit", f"--nofile={most}:{most}")
    found = examined(root, prefix=limit)
    must(found, "open files", verdict, says=f"may open {most} files", fix="LimitNOFILE=64000")
    assert resource.getrlimit(resource.RLIMIT_NOFILE)[1] > most


def test_a_time_zone_that_is_none(root: Path):
    found = examined(root, TZ="Mars/Olympus")
    must(found, "time zone", "warn", says="TZ=Mars/Olympus is unknown", fix="unset TZ")
    assert examined(root, TZ="Europe/Berlin")["time zone"]["verdict"] == "ok"


def test_what_the_kernel_says_of_its_clock(root: Path):
    """Nobody can set it wrong for a test: what timedatectl or adjtimex say is to be told."""
    found = examined(root)["clock"]
    assert found["verdict"] in ("ok", "warn")
    assert (found["verdict"] == "ok") or "timedatectl set-ntp true" in found["fix"]


def test_a_port_that_is_taken_and_proxies(root: Path):
    with (
        socket.create_server(("127.0.0.1", 0)) as taken,
        socket.create_server(("127.0.0.1", 0)) as gone,
    ):
        port, nobody = taken.getsockname()[1], gone.getsockname()[1]
        gone.close()
        (root / "config.toml").write_text(
            f'[server]\nlisten = "127.0.0.1:{port}"\npublic_url = "https://nova.example"\n'
            f'[webhooks]\negress_proxy = "http://127.0.0.1:{nobody}"\n'
            f'[mail]\nhost = "127.0.0.1"\nport = {nobody}\nfrom = "nova@nova.example"\n'
        )
        found = examined(root)
    must(found, "port", "bad", says=f"127.0.0.1:{port}", cause="in use", fix="ss -ltnp")
    must(
        found,
        "proxy",
        "bad",
        says=f"127.0.0.1:{nobody} is not reached",
        cause="refused",
        fix="webhooks.egress_proxy",
    )
    must(found, "mail server", "bad", says="can not be used", cause="", fix="mail.port")
    must(found, "trusted proxies", "warn", says="public_url is https", fix="server.trusted_proxies")


def test_a_proxy_that_is_everybody(root: Path):
    (root / "config.toml").write_text('[server]\ntrusted_proxies = ["0.0.0.0/0"]\n')
    must(examined(root), "trusted proxies", "bad", says="0.0.0.0/0", fix="own addresses")
    (root / "config.toml").write_text('[server]\ntrusted_proxies = ["10.0.0.7"]\n')
    assert examined(root)["trusted proxies"]["verdict"] == "ok"


def test_a_store_that_lacks_a_library(root: Path, tmp_path: Path):
    """The real mongod, linked to a library that no machine has."""
    lame = tmp_path / "mongod"
    real = find_store("mongod").read_bytes()
    assert b"libcurl.so.4\0" in real
    lame.write_bytes(real.replace(b"libcurl.so.4\0", b"libcurl.so.9\0"))
    lame.chmod(0o755)
    (root / "config.toml").write_text(f'[stores]\nmongod = "{lame}"\n')
    found = examined(root)
    assert found["mongod"]["verdict"] == "bad"
    assert "libcurl.so.9" in found["mongod"]["found"]
    must(found, "libraries of mongod", "bad", says="libcurl.so.9", fix="apt-get install libcurl4")


def test_a_store_that_is_too_old(root: Path, tmp_path: Path):
    old = tmp_path / "redis-server"
    old.write_text("#!/bin/sh\necho 'Redis server v=5.0.14 sha=00000000:0 malloc=libc bits=64'\n")
    old.chmod(0o755)
    (root / "config.toml").write_text(f'[stores]\nredis_server = "{old}"\n')
    must(examined(root), "redis-server", "bad", says="too old: v=5.0.14", fix="Redis 6.2")


@pytest.fixture(scope="module")
def external() -> Iterator[tuple[Appliance, MongoClient, Redis]]:
    """A running one over stores of somebody who set them up his own way."""
    with temporary_layout() as layout, running_stores(layout) as stores:
        config = (
            f'[mongo]\nuri = "{stores.mongo_uri}"\ndatabase = "theirs"\n'
            f'[redis]\nurl = "{stores.redis_url}"\n'
        )
        with (
            appliance_in_temporary_root(config) as one,
            MongoClient(stores.mongo_uri) as mongo,
        ):
            text = layout.redis_config.read_text().replace(
                "maxmemory-policy noeviction", "maxmemory-policy allkeys-lru"
            )
            layout.redis_config.write_text(text)
            stores.redis.stop()
            stores.redis.start()
            one.start()
            yield one, mongo


def findings(appliance: Appliance) -> Findings:
    return by_name(json.loads(appliance.cli("doctor", "--json").stdout)["findings"])


@pytest.mark.slow
def test_external_stores_that_keep_less_than_they_should(external):
    appliance, mongo = external
    found = findings(appliance)
    assert found["MongoDB"]["verdict"] == found["replica set"]["verdict"] == "ok"
    assert found["clocks"]["verdict"] == "ok"
    assert found["write concern"]["verdict"] == "ok"
    must(found, "Redis policy", "warn", says="allkeys-lru", cause="rate limits", fix="noeviction")
    mongo.admin.command("setDefaultRWConcern", 1, defaultWriteConcern={"w": 1})
    must(findings(appliance), "write concern", "warn", says="w=1", fix="setDefaultRWConcern")


@pytest.mark.slow
def test_backups_that_are_not_there_and_then_old_and_untried(external):
    appliance, _ = external
    must(
        findings(appliance), "backups", "warn", says="there is none", fix="novapulse backup create"
    )
    made = json.loads(appliance.cli("backup", "create", "--json").stdout)["made"]
    fresh = findings(appliance)
    assert fresh["backups"]["verdict"] == "ok"
    must(fresh, "trial of backups", "warn", says="none was ever", fix="novapulse backup drill")
    must(fresh, "keys in backups", "warn", says="left out", cause="passphrase_file", fix="0600")
    grow_old(Path(made["path"]))
    must(findings(appliance), "backups", "bad", says="h old", fix="novapulse-backup.timer")


def grow_old(path: Path) -> None:
    """As if it had been made some weeks ago: its time is in its name and in its label."""
    for one in path.parent.glob(f"{path.name}*"):
        shutil.move(one, one.with_name(one.name.replace("-20", "-19", 1)))
