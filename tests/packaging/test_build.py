"""What `make build` makes: its sizes, the same bytes each time, what is inside and told of it."""

import json
import multiprocessing
import os
import re
import resource
import shutil
import subprocess
import tarfile
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from email.parser import Parser
from multiprocessing import resource_tracker, spawn
from pathlib import Path
from tempfile import mkdtemp

import pytest

from supervisor.procfs import all_pids
from tests.e2e.test_readme_tour import blocks
from tests.packaging.conftest import CHECKOUT, Built, build
from tests.support import appliance as support
from tests.support.appliance import appliance_in_temporary_root

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

MOST_BYTES = 25_000_000
MOST_CPU_SECONDS = 0.15


def test_the_archive_is_small_enough_to_be_carried_around(built: Built):
    assert built.archive.stat().st_size <= MOST_BYTES


def test_the_pages_that_alerts_name_come_along(built: Built):
    rules = (built.tree / "samples" / "monitoring" / "rules.yml").read_text()
    pages = set(re.findall(r"runbook: (\S+)#", rules))
    assert pages
    assert all((built.tree / page).is_file() for page in pages), pages


def test_the_checksums_are_those_of_the_files(built: Built):
    done = subprocess.run(
        ["sha256sum", "--check", "--quiet", "SHA256SUMS"],
        cwd=built.dist,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    listed = (built.dist / "SHA256SUMS").read_text().splitlines()
    assert len(listed) == 5


def test_the_archive_is_checked_and_unpacked_as_the_page_says(built: Built, tmp_path: Path):
    for path in (built.archive_with_stores, built.archive, built.dist / "SHA256SUMS"):
        (tmp_path / path.name).symlink_to(path)
    (block,) = blocks("docs/operations/install.md", kind="unpack")
    done = subprocess.run(
        ["bash", "-euc", block], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.count(": OK") == 2
    unpacked = tmp_path / f"novapulse-{built.version}-linux-x86_64"
    assert (unpacked / "stores" / "bin" / "mongod").is_file()


@pytest.fixture
def elsewhere() -> Iterator[Path]:
    """What belongs to the checkout, in a directory with another name."""
    directory = Path(mkdtemp(prefix="np-another-place-", dir="/var/tmp"))
    try:
        kept = ("novapulse", "supervisor", "packaging", "systemd", "docs", "LICENSE", "README.md")
        for name in (*kept, "pyproject.toml", "config.toml.example", "requirements-build.lock"):
            source, target = CHECKOUT / name, directory / name
            unwanted = shutil.ignore_patterns("__pycache__")
            if source.is_dir():
                shutil.copytree(source, target, ignore=unwanted)
            else:
                shutil.copyfile(source, target)
        (directory / ".stores").symlink_to(CHECKOUT / ".stores")
        yield directory
    finally:
        shutil.rmtree(directory, ignore_errors=True)


def test_a_build_in_another_place_gives_the_same_bytes(built: Built, elsewhere: Path):
    time = str(int((built.tree / "release.json").stat().st_mtime))
    with tarfile.open(built.archive) as archive:
        time = str(int(archive.next().mtime))  # type: ignore[union-attr]  # it is not empty
    again = build(elsewhere / ".build", "--time", time, checkout=elsewhere)
    assert (again.dist / "SHA256SUMS").read_text() == (built.dist / "SHA256SUMS").read_text()


def test_printing_the_version_costs_little(built: Built):
    """The processor's time of the best run: others on the machine only ever add to it."""
    spent = []
    for _ in range(7):
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        subprocess.run([built.tree / "novapulse", "version"], check=True, capture_output=True)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        spent.append(after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime)
    support.note(f"novapulse version: {min(spent) * 1000:.0f} ms of processor time")
    assert min(spent) <= MOST_CPU_SECONDS


def test_the_bill_of_materials_is_what_is_installed(built: Built):
    document = json.loads((built.tree / "sbom.cdx.json").read_text())
    told = {
        (one["name"], one["version"])
        for one in document["components"]
        if one.get("purl", "").startswith("pkg:pypi/") and one["name"] != "pyinstaller"
    }
    installed = set()
    for metadata in (built.tree / "_internal").glob("*.dist-info/METADATA"):
        fields = Parser().parsestr(metadata.read_text(), headersonly=True)
        name = re.sub(r"[-_.]+", "-", fields["Name"]).lower()
        installed.add((name, fields["Version"]))
    assert told == installed
    lock = (CHECKOUT / "requirements-build.lock").read_text()
    pinned = set(re.findall(r"^([a-z0-9.-]+)==([^ ;\\]+)", lock, re.MULTILINE))
    assert told <= pinned
    shipped = json.loads((built.tree / "stores" / "sbom.cdx.json").read_text())
    names = {one["name"] for one in shipped["components"]}
    assert {"mongod", "redis-server", "libcurl4"} <= names


def test_a_file_that_was_tampered_with_is_found(built: Built, tmp_path: Path):
    copy = tmp_path / "release"
    shutil.copytree(built.tree, copy, copy_function=os.link)

    def verify() -> tuple[int, dict[str, str]]:
        command = [copy / "novapulse", "verify-install", "--json"]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        faults = json.loads(done.stdout)["faults"]
        return done.returncode, {one["path"]: one["what"] for one in faults}

    assert verify() == (0, {})
    script = copy / "install.sh"
    content = script.read_text()
    script.unlink()  # the link, so that the original stays
    script.write_text(content.replace("exit", "exit 0", 1))
    (copy / "LICENSE").unlink()
    (copy / "_internal" / "sitecustomize.py").write_text("")
    (copy / "stores" / "lib" / "libplanted.so").write_text("")
    assert verify() == (
        1,
        {
            "LICENSE": "missing",
            "_internal/sitecustomize.py": "unexpected",
            "install.sh": "changed",
            "stores/lib/libplanted.so": "unexpected",
        },
    )


def test_foreign_children_see_nothing_of_the_bundle(built: Built, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(support, "PROGRAM", built.tree / "novapulse")
    with appliance_in_temporary_root() as one:
        one.start()
        children = {row["name"]: row["pid"] for row in one.status()["processes"]}
        for name in ("mongod", "redis"):
            told = Path(f"/proc/{children[name]}/environ").read_bytes().decode()
            assert "_internal" not in told
            assert "_PYI" not in told
            libraries = re.findall(r"LD_LIBRARY_PATH=([^\0]*)", told)
            stores = str(built.tree / "stores" / "lib")
            assert libraries == ([stores] if name == "mongod" else [])
        assert one.stop() == 0
        assert not set(children.values()) & set(all_pids())


def test_the_program_can_be_a_worker_of_a_process_pool(
    built: Built, monkeypatch: pytest.MonkeyPatch
):
    resource_tracker.ensure_running()  # with the Python of these tests, whatever its flags are
    program = built.tree / "novapulse"
    monkeypatch.setattr("sys.frozen", True, raising=False)
    monkeypatch.setattr(spawn, "_python_exe", os.fsencode(program))
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, mp_context=context) as pool:
        worker = pool.submit(os.getpid).result(timeout=30)
        assert Path(f"/proc/{worker}/exe").readlink() == program
        ask = subprocess._args_from_interpreter_flags
        flags = pool.submit(ask).result(timeout=30)
    tracker = [*flags, "-c", "from multiprocessing.resource_tracker import main;main(0)"]
    subprocess.run([program, *tracker], stdin=subprocess.DEVNULL, check=True)


def test_the_oldest_c_library_is_the_one_that_the_page_names(built: Built):
    page = (CHECKOUT / "docs" / "operations" / "install.md").read_text()
    named = re.search(r"glibc (\d+)\.(\d+)", page)
    assert named is not None
    needed = re.findall(r"\d+", built.facts["glibc"])
    assert [int(number) for number in needed] <= [int(number) for number in named.groups()]
