"""The Debian package: the tree in its place, units, links, and four maintainer scripts.

Written without Debian's tools, so that it can be built anywhere and is the same each time.
"""

import hashlib
import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import archives

_CONTROL = """\
Package: novapulse
Version: {version}
Architecture: amd64
Maintainer: NovaPulse contributors <novapulse@localhost>
Installed-Size: {kilobytes}
Depends: libc6 (>= {glibc})
Recommends: systemd
Section: net
Priority: optional
Description: self-hosted work-and-webhook platform in one program
 NovaPulse starts, watches and stops its own MongoDB and Redis, the API, the
 workers and the scheduler. Everything that it needs is inside.
"""
_SCRIPTS = ("postinst", "prerm", "postrm")


@dataclass(frozen=True, slots=True)
class Layout:
    """Two directories with the two halves of a package."""

    root: Path
    control: Path


def layout(made: Path, checkout: Path, *, version: str, work: Path) -> Layout:
    """Lay the package's files out below `work`."""
    shutil.rmtree(work, ignore_errors=True)
    parts = Layout(work / "root", work / "control")
    shutil.copytree(made, parts.root / "opt" / "novapulse" / "releases" / version)
    _place(made, parts.root, version=version)
    parts.control.mkdir()
    glibc = json.loads((made / "release.json").read_text())["glibc"]
    size = sum(path.stat().st_size for path in parts.root.rglob("*") if path.is_file())
    (parts.control / "control").write_text(
        _CONTROL.format(version=version, kilobytes=size // 1024, glibc=glibc)
    )
    for name in _SCRIPTS:
        script = (checkout / "packaging" / "debian" / name).read_text()
        (parts.control / name).write_text(script.replace("@VERSION@", version))
        (parts.control / name).chmod(0o755)
    (parts.control / "md5sums").write_text(_sums(parts.root))
    return parts


def package(parts: Layout, xz: Callable[[list[bytes]], bytes], *, time: int) -> bytes:
    """The bytes of the .deb."""
    members = [("debian-binary", b"2.0\n")]
    for name, directory in (("control", parts.control), ("data", parts.root)):
        tar = archives.tar_of(directory, prefix="./", time=time)
        members.append((f"{name}.tar.xz", xz([*tar, archives.END_OF_TAR])))
    return archives.ar(members, time=time)


def _place(made: Path, root: Path, *, version: str) -> None:
    """What belongs into the system's own directories, and the two links to the release."""
    for target, sources in {
        "lib/systemd/system": ["*.service", "*.socket", "*.timer"],
        "usr/lib/sysusers.d": ["*.sysusers"],
        "usr/lib/tmpfiles.d": ["*.tmpfiles"],
    }.items():
        directory = root / target
        directory.mkdir(parents=True)
        for pattern in sources:
            for unit in sorted((made / "systemd").glob(pattern)):
                name = f"{unit.stem}.conf" if target.startswith("usr/lib") else unit.name
                shutil.copyfile(unit, directory / name)
    for source, target in {
        "novapulse.bash": "usr/share/bash-completion/completions/novapulse",
        "_novapulse": "usr/share/zsh/vendor-completions/_novapulse",
        "novapulse.fish": "usr/share/fish/vendor_completions.d/novapulse.fish",
    }.items():
        (root / target).parent.mkdir(parents=True)
        shutil.copyfile(made / "completion" / source, root / target)
    (root / "usr" / "bin").mkdir()
    (root / "usr" / "bin" / "novapulse").symlink_to("/opt/novapulse/current/novapulse")
    (root / "opt" / "novapulse" / "current").symlink_to(f"releases/{version}")
    papers = root / "usr" / "share" / "doc" / "novapulse"
    papers.mkdir(parents=True)
    shutil.copyfile(made / "LICENSE", papers / "copyright")


def _sums(root: Path) -> str:
    files = sorted(path for path in root.rglob("*") if path.is_file() and not path.is_symlink())
    return "".join(
        f"{hashlib.md5(path.read_bytes(), usedforsecurity=False).hexdigest()}"
        f"  {path.relative_to(root)}\n"
        for path in files
    )
