"""Whether another release can take this one's place: archive, version, schema, disk, backup."""

import hashlib
import os
import re
import shutil
import subprocess
import tarfile
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from novapulse.core.errors import Invalid
from novapulse.core.settings import Loaded
from novapulse.core.settings.sources import ALIASES
from novapulse.processes.finding import Finding, bad, ok, skipped
from novapulse.processes.release import NotInstalled, Release, own_release

NEWEST_BACKUP_AGE = timedelta(hours=24)
_FREE_BYTES = 1 << 30
_PROGRAM_SECONDS = 60.0
_DPKG_LIST = Path("/var/lib/dpkg/info/novapulse.list")
# What decides, beside `NOVAPULSE…`, where a program's data is and by which keys it works.
_PASSED_ON = (
    *("STATE_DIRECTORY", "RUNTIME_DIRECTORY", "LOGS_DIRECTORY", "CREDENTIALS_DIRECTORY"),
    *("JWT_ACCESS_SECRET", *ALIASES),
)
_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


class ArchiveUnusable(Invalid):
    """The file is not a release's archive."""

    title = "The archive can not be used"

    def __init__(self, detail: str, *, where: str = "", hint: str = "") -> None:
        super().__init__(detail)
        self.where = where
        self.hint = hint


@dataclass(frozen=True, slots=True)
class Installation:
    """The directory of all releases; `current` is the one in use."""

    prefix: Path
    current: Release

    @property
    def releases(self) -> Path:
        return self.prefix / "releases"

    def find_previous(self) -> Release | None:
        """The release before this one, if it is still there."""
        link = self.prefix / "previous"
        return Release(link.resolve()) if (link / "novapulse").is_file() else None


def installation() -> Installation:
    """Raises NotInstalled when there is no release in use, or dpkg is in charge of it."""
    running = own_release()
    prefix = running.directory.parent.parent
    link = prefix / "current"
    if not link.is_symlink() or running.directory.parent != prefix / "releases":
        raise NotInstalled(
            "This release was unpacked, but not installed",
            where=str(running.directory),
            hint=f"{running.directory}/install.sh installs it",
        )
    if _DPKG_LIST.exists():
        raise NotInstalled(
            "This release was installed as a Debian package",
            where=str(_DPKG_LIST),
            hint="apt install ./novapulse_VERSION_amd64.deb, of a newer or an older version",
        )
    return Installation(prefix, Release(link.resolve()))


@contextmanager
def unpacked(archive: Path, here: Installation) -> Iterator[Release]:
    """The archive's release, unpacked on the disk of the others and gone afterwards.

    Raises:
        ArchiveUnusable: it is none, or not as it was packed.
    """
    _compare_sum(archive)
    with tempfile.TemporaryDirectory(prefix=".incoming-", dir=here.releases) as place:
        # The new program is asked things as the user of the service.
        Path(place).chmod(0o755)  # as the releases beside it
        try:
            with tarfile.open(archive) as content:
                content.extractall(place, filter="data")
        except (OSError, EOFError, tarfile.TarError) as error:
            raise ArchiveUnusable(f"{archive} can not be unpacked: {error}") from error
        found = [path for path in Path(place).iterdir() if (path / "release.json").is_file()]
        if len(found) != 1:
            raise ArchiveUnusable(f"{archive} holds no release of NovaPulse")
        release = Release(found[0])
        if faults := release.faults():
            raise ArchiveUnusable(
                f"{len(faults)} files are not as they were packed, such as {faults[0].path}",
                where=str(archive),
                hint="fetch the archive again",
            )
        yield release


def _compare_sum(archive: Path) -> None:
    """With the SHA256SUMS beside it, where there is one."""
    try:
        sums = archive.with_name("SHA256SUMS").read_text(encoding="ascii")
        wanted = re.search(rf"^([0-9a-f]{{64}})  {re.escape(archive.name)}$", sums, re.MULTILINE)
        with archive.open("rb") as file:
            actual = hashlib.file_digest(file, "sha256").hexdigest()
    except FileNotFoundError:
        return
    if wanted is None or wanted[1] != actual:
        raise ArchiveUnusable(
            f"{archive.name} is not the file that SHA256SUMS names",
            where=str(archive.with_name("SHA256SUMS")),
            hint="fetch both again",
        )


def examine(new: Release, here: Installation, loaded: Loaded) -> list[Finding]:
    """Everything that has to hold before `new` takes the place of the current release."""
    return [
        _version(new, here.current),
        _schema(new, here.current),
        _stores(new, here.current, loaded),
        _disk(here),
        _backup(loaded),
        _configuration(new, loaded),
    ]


def _version(new: Release, current: Release) -> Finding:
    offered, present = new.facts().version, current.facts().version
    if _order(offered) > _order(present):
        return ok("version", f"{present} → {offered}")
    found = f"{offered} is not newer than {present}"
    return bad("version", found, cause="the archive", fix="novapulse upgrade rollback goes back")


def _order(version: str) -> tuple[int, ...]:
    return tuple(int(number) for number in re.findall(r"\d+", version))


def _schema(new: Release, current: Release) -> Finding:
    before, after = current.facts().schema, new.facts().schema
    if after < before:
        cause = f"it knows schema {after}, the database may have {before}"
        return bad("schema", "it is too old for this database", cause=cause, fix="a newer release")
    if after == before:
        return ok("schema", f"stays at {after}: a rollback stays possible")
    return ok("schema", f"{before} → {after}: a rollback will need the backup")


def _stores(new: Release, current: Release, loaded: Loaded) -> Finding:
    settings = loaded.settings
    needs = settings.mongo.is_embedded or settings.redis.is_embedded
    if needs and current.has_stores() and not new.has_stores():
        fix = "the archive whose name has -with-stores"
        return bad("stores", "they are missing", cause="the archive carries none", fix=fix)
    return ok("stores", "come along" if new.has_stores() else "none needed from the archive")


def _disk(here: Installation) -> Finding:
    free = shutil.disk_usage(here.prefix).free
    if free < _FREE_BYTES:
        found = f"{free >> 20} MB free at {here.prefix}"
        return bad("disk", found, cause="1 GB is needed", fix="make room there")
    return ok("disk", f"{free >> 30} GB free at {here.prefix}")


def _backup(loaded: Loaded) -> Finding:
    from novapulse.backup.shelf import Shelf
    from novapulse.processes import places

    directory = places.backup_directory(loaded)
    backups = Shelf(directory).backups()
    if not backups:
        return bad("backup", "there is none", cause=str(directory), fix="novapulse backup create")
    age = datetime.now(UTC) - backups[0].created_at
    hours = age.total_seconds() / 3600
    if age > NEWEST_BACKUP_AGE:
        found = f"the newest one is {hours:.0f} hours old"
        return bad("backup", found, cause=str(directory), fix="novapulse backup create")
    return ok("backup", f"{backups[0].name}, {hours:.0f} hours old")


def _configuration(new: Release, loaded: Loaded) -> Finding:
    """What the new program says of the configuration that is there."""
    if not loaded.paths.config_file.exists():
        return skipped("configuration", "there is no file: all defaults")
    done = run_program(new, "config", "check", "--config", str(loaded.paths.config_file))
    if done.returncode == 0:
        return ok("configuration", "is understood by the new release")
    said = done.stderr.strip() or done.stdout.strip()
    return bad("configuration", "is not understood", cause=said, fix="correct it, then try again")


def run_program(release: Release, *words: str) -> subprocess.CompletedProcess[str]:
    """One verb of another release's program, with the settings of our environment."""
    passed_on = {
        name: value
        for name, value in os.environ.items()
        if name in _PASSED_ON or name.startswith("NOVAPULSE")
    }
    return subprocess.run(
        [release.program, *words],
        env={"PATH": _PATH, "LANG": "C.UTF-8", **passed_on},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        errors="replace",
        timeout=None if words[0] == "migrate" else _PROGRAM_SECONDS,
        check=False,
    )
