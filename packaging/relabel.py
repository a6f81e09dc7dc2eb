"""A built tree under a higher version: what an upgrade is tried with, without a second build.

Only what names the version changes: one module in the program, two lists, the manifest.
"""

import json
import shutil
import zlib
from pathlib import Path

import tree
from PyInstaller.archive.readers import CArchiveReader

_MODULE = "novapulse"


def relabelled(made: Path, copy: Path, version: str) -> str:
    """Make `copy` of the tree `made` call itself `version`; returns what that one does.

    Both versions have as many letters, so that nothing in the program moves.
    """
    shutil.rmtree(copy, ignore_errors=True)
    shutil.copytree(made, copy)
    facts = json.loads((copy / "release.json").read_text())
    former = str(facts["version"])
    _change_program(copy / "novapulse", former, version)
    (copy / "release.json").write_text(json.dumps(facts | {"version": version}, indent=1) + "\n")
    for name in ("sbom.cdx.json", "stores/sbom.cdx.json"):
        bill = json.loads((copy / name).read_text())
        bill["metadata"]["component"]["version"] = version
        (copy / name).write_text(json.dumps(bill, indent=1, sort_keys=True) + "\n")
    tree.write_manifest(copy / "stores")
    tree.write_manifest(copy, without=copy / "stores")
    return former


def _change_program(program: Path, former: str, version: str) -> None:
    if len(former) != len(version):
        raise SystemExit(f"relabel: {version} is not as long as {former}")
    outer = CArchiveReader(str(program))
    (name,) = (name for name, entry in outer.toc.items() if entry[-1] == "z")
    modules = outer.open_embedded_archive(name)
    _, offset, length = modules.toc[_MODULE]
    at = modules._start_offset + offset
    content = bytearray(program.read_bytes())
    code = zlib.decompress(content[at : at + length])
    if code.count(former.encode()) != 1:
        raise SystemExit(f"relabel: {_MODULE} does not say {former} once")
    changed = zlib.compress(code.replace(former.encode(), version.encode()), 0)
    if len(changed) != length:
        raise SystemExit("relabel: the program is not packed as packaging/build.py does it")
    content[at : at + length] = changed
    program.write_bytes(content)
