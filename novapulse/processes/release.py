"""The release that this program was installed as: its files, and whether they are untouched."""

import hashlib
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import msgspec

from novapulse.core.errors import Invalid, NotFound

MANIFEST = "manifest.sha256"
# Both parts of a release list their own files: the stores can be left out.
_PARTS = (Path(), Path("stores"))
_HEX_AND_SPACES = 66


class NotInstalled(NotFound):
    """The program was not installed from an archive or a package."""

    title = "This is not an installed release"

    def __init__(self, detail: str, *, where: str = "", hint: str = "") -> None:
        super().__init__(detail)
        self.where = where
        self.hint = hint


class ManifestDamaged(Invalid):
    """The list of a release's files can not be read."""

    title = "The release is damaged"


class Facts(msgspec.Struct, frozen=True):
    """`release.json`: what an upgrade has to know before it starts the program."""

    version: str
    schema: int
    glibc: str
    python: str


@dataclass(frozen=True, slots=True)
class Fault:
    """A file that is not as it was packed; `path` is relative to the release."""

    path: str
    what: Literal["changed", "missing", "unexpected"]


@dataclass(frozen=True, slots=True)
class Release:
    directory: Path

    @property
    def program(self) -> Path:
        return self.directory / "novapulse"

    def facts(self) -> Facts:
        """Raises ManifestDamaged."""
        try:
            return msgspec.json.decode((self.directory / "release.json").read_bytes(), type=Facts)
        except (OSError, msgspec.MsgspecError) as error:
            raise ManifestDamaged(f"{self.directory}/release.json can not be read") from error

    def has_stores(self) -> bool:
        return (self.directory / "stores" / "bin").is_dir()

    def files(self) -> int:
        """How many files belong to it."""
        return len(self._listed())

    def faults(self) -> list[Fault]:
        """What differs from the lists that came with it, the same each time.

        Raises ManifestDamaged when there is no list.
        """
        listed = self._listed()
        found = [Fault(path, "unexpected") for path in self._present() if path not in listed]
        for path, digest in listed.items():
            try:
                with (self.directory / path).open("rb") as file:
                    actual = hashlib.file_digest(file, "sha256").hexdigest()
            except OSError:
                found.append(Fault(path, "missing"))
                continue
            if actual != digest:
                found.append(Fault(path, "changed"))
        return sorted(found, key=lambda one: one.path)

    def _listed(self) -> dict[str, str]:
        """Path → sha256 of all files but the lists themselves."""
        listed = {}
        for part in _PARTS:
            manifest = self.directory / part / MANIFEST
            if part != Path() and not manifest.parent.is_dir():
                continue
            try:
                lines = manifest.read_text(encoding="utf-8").splitlines()
            except (OSError, UnicodeError) as error:
                raise ManifestDamaged(f"{manifest} can not be read") from error
            for line in lines:
                listed[str(part / line[_HEX_AND_SPACES:])] = line[:64]
        return listed

    def _present(self) -> Iterator[str]:
        lists = {self.directory / part / MANIFEST for part in _PARTS}
        for path in self.directory.rglob("*"):
            if path not in lists and (path.is_symlink() or not path.is_dir()):
                yield str(path.relative_to(self.directory))


def own_release() -> Release:
    """Raises NotInstalled in a checkout or a Python environment."""
    directory = Path(sys.executable).resolve().parent
    if not getattr(sys, "frozen", False) or not (directory / MANIFEST).is_file():
        raise NotInstalled(
            "This program runs from its source: there is nothing to compare it with",
            where=sys.executable,
            hint="`git status` tells what was changed in a checkout",
        )
    return Release(directory)
