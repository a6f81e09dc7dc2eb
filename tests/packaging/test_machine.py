"""An ordinary Debian 12 is given the packages, as an admin would, without a network.

One machine for all: what the first test removes has to be gone for the second.
"""

import json
import re
import shutil
import subprocess
import tarfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509

from tests.e2e.test_readme_tour import blocks
from tests.e2e.test_tls import Site
from tests.packaging.conftest import Built
from tests.support.booted import Machine

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

CONFIG = "/etc/novapulse/config.toml"
# Counts answers to one address until its standard input ends; every request on a connection of
# its own, with the time that a restart may take.
_LOAD = r"""
import http.client, json, select, sys, time
sent, failed, slowest = 0, [], 0.0
while not select.select([sys.stdin], [], [], 0.02)[0]:
    began = time.monotonic()
    connection = http.client.HTTPConnection("127.0.0.1", 5000, timeout=40)
    try:
        connection.request("GET", "/api/v1/health/live")
        status = connection.getresponse().status
        if status != 200:
            failed.append(str(status))
    except Exception as error:
        failed.append(f"{type(error).__name__}: {error}")
    connection.close()
    sent += 1
    slowest = max(slowest, time.monotonic() - began)
print(json.dumps({"sent": sent, "failed": failed, "slowest": slowest}))
"""


def unpack(archive: Path, machine: Machine) -> str:
    """The archive's directory inside: minbase has no xz, so it is unpacked where there is one."""
    with tarfile.open(archive) as content:
        top = content.getnames()[0].partition("/")[0]
        content.extractall(machine.root / "root", filter="data")
    return f"/root/{top}"


def follow(machine: Machine, page: str, kind: str, **variables: str) -> None:
    """Type the commands that a page prints, in the directory that has the archive."""
    (block,) = blocks(f"docs/operations/{page}.md", kind=kind)
    given = "".join(f"{name}={value}; " for name, value in variables.items())
    machine.run(f"set -e; cd /root; {given}{block}")


def configure(machine: Machine, text: str) -> None:
    """Edit the configuration as root does, in place."""
    path = machine.root / CONFIG.removeprefix("/")
    with path.open("w") as file:
        file.write(text)


def reload(machine: Machine) -> subprocess.CompletedProcess[str]:
    return machine.run("systemctl reload novapulse", check=False)


def is_active(machine: Machine) -> bool:
    return machine.run("systemctl is-active novapulse", check=False).stdout.strip() == "active"


def take_the_tour(machine: Machine, directory: Path) -> None:
    """README's tour on the installed service: without the blocks that start and stop it."""
    tour = blocks("README.md", section="A tour in five minutes")
    kept = [one for one in tour if "novapulse run" not in one and "novapulse stop" not in one]
    assert len(tour) - len(kept) == 2
    entering = " ".join(machine.entering("--all"))
    script = "".join(kept).replace(
        '.venv/bin/novapulse setup-token --root "$ROOT"', f"{entering} novapulse setup-token"
    )
    done = machine.beside(f"export ROOT={directory}\n{script}\nkill $RECEIVER\n")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "The signature is good" in done.stdout
    assert '"class": "ok"' in done.stdout


@contextmanager
def load(machine: Machine) -> Iterator[dict[str, Any]]:
    """Requests all the time; afterwards how many there were, and what became of them."""
    result: dict[str, Any] = {}
    with subprocess.Popen(
        [*machine.entering("--net"), "python3", "-c", _LOAD],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as asking:
        try:
            yield result
            said, _ = asking.communicate("\n", timeout=60)
            result.update(json.loads(said))
        finally:
            asking.kill()


def assert_reloads(machine: Machine) -> None:
    """A good edit is in force when `systemctl reload` returns, a bad one changes nothing."""
    pid = machine.show("MainPID")
    configure(machine, '[webhooks]\nallow_networks = ["127.0.0.0/8"]\n')
    assert reload(machine).returncode == 0
    shown = machine.run("novapulse config show --json").stdout
    assert "127.0.0.0/8" in shown
    configure(machine, "[webhooks]\nallow_network = 5\n")
    assert reload(machine).returncode != 0
    journal = machine.run("journalctl -u novapulse -n 40 -o cat --no-pager").stdout
    assert "allow_networks" in journal, journal  # the nearest key that there is
    assert is_active(machine)
    assert machine.show("MainPID") == pid
    configure(machine, '[webhooks]\nallow_networks = ["127.0.0.0/8"]\n')
    assert reload(machine).returncode == 0


def secure_it(machine: Machine) -> None:
    """The page on TLS: a certificate of our own, another one, and back."""
    site = Site(machine.root / "root")
    former = (machine.root / CONFIG.removeprefix("/")).read_text()
    first = site.renew()
    follow(machine, "tls", "own")
    place = "/etc/novapulse/tls"
    configure(
        machine,
        f'{former}\n[server]\ntls_certificate_file = "{place}/fullchain.pem"\n'
        f'tls_key_file = "{place}/privkey.pem"\n',
    )
    follow(machine, "tls", "force")
    assert serial_inside(machine) == first
    second = site.renew()
    follow(machine, "tls", "renew")
    assert serial_inside(machine) == second
    configure(machine, former)
    assert reload(machine).returncode == 0


def serial_inside(machine: Machine) -> int:
    """Of the certificate that the service shows."""
    script = "import ssl; print(ssl.get_server_certificate(('127.0.0.1', 5000)))"
    done = machine.beside(f'python3 -c "{script}"')
    assert done.returncode == 0, done.stderr
    return x509.load_pem_x509_certificate(done.stdout.encode()).serial_number


def assert_comes_back(machine: Machine, *, after: str, restarts: int) -> None:
    """With a new main process, and without any process of the old one."""
    old = machine.processes_of("novapulse")
    machine.run(after)
    machine.wait_for(
        lambda: int(machine.show("NRestarts")) >= restarts and is_active(machine), seconds=60
    )
    assert not old & machine.processes_of("novapulse")
    machine.run("novapulse check ready")


def assert_survives(machine: Machine) -> None:
    """A main process that hangs, and one that is killed."""
    # A short watchdog, so that the test is; what is sent is what the unit file has too.
    machine.run(
        "mkdir -p /run/systemd/system/novapulse.service.d && printf '[Service]\\nWatchdogSec=3\\n'"
        " > /run/systemd/system/novapulse.service.d/quick.conf"
        " && systemctl daemon-reload && systemctl restart novapulse"
    )
    pid = machine.show("MainPID")
    assert_comes_back(machine, after=f"kill -STOP {pid}", restarts=1)
    pid = machine.show("MainPID")
    assert_comes_back(machine, after=f"kill -KILL {pid}", restarts=2)
    machine.run("rm -r /run/systemd/system/novapulse.service.d && systemctl daemon-reload")


def test_an_archive_is_installed_lived_with_upgraded_and_removed(
    machine: Machine, built: Built, newer: Built, tmp_path: Path
):
    top = unpack(built.archive_with_stores, machine)
    follow(machine, "install", "install")
    machine.run(f"{top}/install.sh")  # changes nothing
    assert is_active(machine)
    assert machine.run("novapulse version").stdout.strip() == built.version
    for page, kind in (
        ("install", "configure"),
        ("install", "verify"),
        ("systemd", "systemd"),
        ("hardening", "hardening"),
    ):
        follow(machine, page, kind)
    assert_reloads(machine)
    take_the_tour(machine, tmp_path)
    secure_it(machine)

    assert_survives(machine)
    fail_to_upgrade(machine, built, newer)
    upgrade_and_go_back(machine, built, newer)
    assert_the_backup_is_sealed(machine)

    machine.run("systemctl stop novapulse.socket; systemctl restart novapulse")
    machine.run("timeout 10 systemctl stop novapulse")
    assert machine.show("Result") == "success"
    assert machine.processes_of("novapulse") == set()
    assert_config_errors_do_not_loop(machine)

    follow(machine, "install", "remove")
    assert not (machine.root / "opt/novapulse").exists()
    assert (machine.root / "var/lib/novapulse/mongod").is_dir()
    assert (machine.root / CONFIG.removeprefix("/")).is_file()
    assert machine.run("command -v novapulse", check=False).returncode != 0
    machine.run(f"{top}/install.sh --uninstall --purge")
    assert leftovers(machine, top) == []


def fail_to_upgrade(machine: Machine, built: Built, newer: Built) -> None:
    """To a release that ends with 78 at its start, which systemd does not try again."""
    directory = "/etc/systemd/system/novapulse.service.d"
    start = (
        f"case $$(readlink /opt/novapulse/current) in */{newer.version}) exit 78;; esac;"
        " exec /opt/novapulse/current/novapulse run"
    )
    machine.run(f"mkdir -p {directory}")
    place = machine.root / directory.removeprefix("/")
    (place / "broken.conf").write_text(f"[Service]\nExecStart=\nExecStart=/bin/sh -c '{start}'\n")
    machine.run("systemctl daemon-reload")
    shutil.copy(newer.archive_with_stores, machine.root / "root")
    archive = f"/root/{newer.archive_with_stores.name}"
    failed = machine.run(f"novapulse upgrade apply --yes --without-backup {archive}", check=False)
    assert failed.returncode == 69, failed.stdout + failed.stderr
    assert f"{built.version} runs again" in failed.stderr
    assert is_active(machine)
    status = json.loads(machine.run("novapulse status --json").stdout)
    assert status["version"] == built.version
    machine.run(f"rm -r {directory} && systemctl daemon-reload")


def configure_the_backup(machine: Machine) -> None:
    """A credential of its own unit, named in the environment of both."""
    (machine.root / "etc/credstore").mkdir(mode=0o700, exist_ok=True)
    secret = machine.root / "etc/credstore/backup-passphrase"
    secret.write_text("correct horse battery staple\n")
    environment = machine.root / "etc/novapulse/environment"
    environment.write_text(
        "NOVAPULSE__BACKUP__PASSPHRASE_FILE="
        "'/run/credentials/novapulse-backup.service/backup-passphrase'\n"
    )
    for path in (secret, environment):
        path.chmod(0o600)
    machine.run("systemctl restart novapulse")


def assert_the_backup_is_sealed(machine: Machine) -> None:
    one, *_ = json.loads(machine.run("novapulse backup list --json").stdout)["backups"]
    assert one["label"]["secrets"] == "sealed"
    pid = machine.show("MainPID")
    told = machine.run(f"tr '\\0' '\\n' < /proc/{pid}/environ").stdout
    assert "PASSPHRASE_FILE=/run/credentials/novapulse-backup.service/" in told


def upgrade_and_go_back(machine: Machine, built: Built, newer: Built) -> None:
    """With systemd's own socket no request fails meanwhile."""
    configure_the_backup(machine)
    follow(machine, "upgrade", "socket")
    place = machine.root / "root"
    for path in (newer.archive_with_stores, newer.dist / "SHA256SUMS"):
        shutil.copy(path, place)
    archive = f"/root/{newer.archive_with_stores.name}"
    checked = machine.run(f"novapulse upgrade check {archive}", check=False)
    assert checked.returncode == 1
    assert re.search(r"^bad +backup: there is none$", checked.stdout, re.MULTILINE), checked.stdout
    with load(machine) as asked:
        follow(machine, "upgrade", "upgrade", ARCHIVE=archive)
        assert machine.run("novapulse version").stdout.strip() == newer.version
        status = json.loads(machine.run("novapulse status --json").stdout)
        assert status["version"] == newer.version
        follow(machine, "upgrade", "rollback")
        status = json.loads(machine.run("novapulse status --json").stdout)
        assert status["version"] == built.version
    assert asked["failed"] == []
    assert asked["sent"] > 50
    print(f"\nupgrade and rollback: {asked}")
    refused = machine.run(
        f"echo broken >> {archive}; novapulse upgrade check {archive}", check=False
    )
    assert refused.returncode == 65


def assert_config_errors_do_not_loop(machine: Machine) -> None:
    before = int(machine.show("NRestarts"))
    configure(machine, "[server]\nlisten = 7\n")
    assert machine.run("systemctl start novapulse", check=False).returncode != 0
    assert machine.show("ExecMainStatus") == "78"
    assert machine.run("systemctl is-failed novapulse", check=False).stdout.strip() == "failed"
    assert int(machine.show("NRestarts")) == before


def leftovers(machine: Machine, *known: str) -> list[str]:
    """Files of ours that are still there, other than below `known`."""
    said = machine.run(
        "find / -xdev \\( -path /proc -o -path /sys -o -path /run/credentials \\) -prune"
        " -o -iname '*novapulse*' -print; getent passwd novapulse; true"
    ).stdout
    ours = [line for line in said.splitlines() if not line.startswith("/root/")]
    return [line for line in ours if not line.startswith((*known, "/var/log/journal"))]


def remove_and_install_again(machine: Machine, built: Built) -> None:
    """It goes on where it was, and an upgrade leaves what was switched off since then."""
    units = ("novapulse.service", "novapulse-backup.timer")
    machine.run("dpkg --remove novapulse")
    assert (machine.root / "var/lib/novapulse/mongod").is_dir()
    assert not (machine.root / "opt/novapulse/releases").exists()
    machine.run(f"dpkg -i /root/{built.package.name}")
    assert [machine.show("UnitFileState", unit) for unit in units] == ["enabled"] * 2
    assert machine.show("ActiveState", "novapulse-backup.timer") == "active"
    machine.run("systemctl start novapulse")
    companies = json.loads(machine.run("novapulse company list --json").stdout)["companies"]
    assert companies, "the data is not what was left"
    machine.run(f"systemctl disable --now {' '.join(units)}; dpkg -i /root/{built.package.name}")
    assert [machine.show("UnitFileState", unit) for unit in units] == ["disabled"] * 2


def test_a_debian_package_is_installed_upgraded_and_purged(
    machine: Machine, built: Built, newer: Built, tmp_path: Path
):
    assert leftovers(machine, "/etc/systemd") == [], "the archive was not removed"
    shutil.copy(built.package, machine.root / "root")
    follow(machine, "install", "package")
    shutil.copy(newer.package, machine.root / "root")
    assert is_active(machine)
    machine.run("novapulse verify-install")
    assert machine.run("dpkg --verify novapulse").stdout == ""
    assert_reloads(machine)
    take_the_tour(machine, tmp_path)
    assert_survives(machine)

    follow(machine, "upgrade", "socket")
    refused = machine.run("novapulse upgrade rollback --yes", check=False)
    assert refused.returncode == 66
    with load(machine) as asked:
        for one in (newer, built):  # up, and back
            machine.run(f"dpkg -i /root/{one.package.name}")
            assert is_active(machine)
            status = json.loads(machine.run("novapulse status --json").stdout)
            assert status["version"] == one.version
            machine.run("novapulse verify-install")
    assert asked["failed"] == []
    assert asked["sent"] > 50
    print(f"\nup and back by dpkg: {asked}")

    machine.run("systemctl disable --now novapulse.socket; systemctl restart novapulse")
    machine.run("timeout 10 systemctl stop novapulse")
    remove_and_install_again(machine, built)
    machine.run("dpkg --remove novapulse")
    machine.run("dpkg --purge novapulse")
    assert leftovers(machine, "/var/lib/dpkg/") == []
