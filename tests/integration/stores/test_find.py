"""Finding the stores' programs, and saying in plain words why one does not run."""

import stat
from collections.abc import Callable
from pathlib import Path

import pytest

from novapulse.core.errors import Unavailable
from novapulse.stores import find
from novapulse.stores.find import (
    StoreMissing,
    StoreUnusable,
    check_runs,
    clean_environment,
    find_libraries,
    find_store,
)

MakeProgram = Callable[..., Path]


@pytest.fixture
def make_program(tmp_path: Path) -> MakeProgram:
    """A shell script in the store's place."""

    def make(path: str, script: str = "true") -> Path:
        program = tmp_path / path
        program.parent.mkdir(parents=True, exist_ok=True)
        program.write_text(f"#!/bin/sh\n{script}\n")
        program.chmod(0o755)
        return program

    return make


@pytest.fixture
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An installation of its own, with nothing on PATH."""
    monkeypatch.setenv("PATH", str(tmp_path / "path"))
    monkeypatch.setattr("sys.prefix", str(tmp_path / "prefix"))
    monkeypatch.setattr(find, "_checkout", lambda: tmp_path / "checkout")
    return tmp_path


def test_the_configured_path_comes_before_path_and_installation(
    elsewhere: Path, make_program: MakeProgram
):
    places = [make_program(f"{place}/mongod") for place in ("own", "path", "checkout/.stores/bin")]
    assert find_store("mongod", str(places[0])) == places[0]
    assert find_store("mongod") == places[1]
    places[1].unlink()
    assert find_store("mongod") == places[2]


@pytest.mark.parametrize("place", ["checkout/.stores/bin", "prefix/.stores/bin"])
def test_the_installation_is_looked_into_last(
    elsewhere: Path, make_program: MakeProgram, place: str
):
    program = make_program(f"{place}/redis-server")
    assert find_store("redis-server") == program


def test_a_frozen_program_finds_what_was_installed_around_it(
    elsewhere: Path, make_program: MakeProgram, monkeypatch: pytest.MonkeyPatch
):
    program = make_program("opt/.stores/bin/mongod")
    monkeypatch.setattr("sys.frozen", True, raising=False)
    monkeypatch.setattr("sys.executable", str(elsewhere / "opt" / "bin" / "novapulse"))
    assert find_store("mongod") == program


def test_a_missing_store_says_how_to_get_it(elsewhere: Path):
    with pytest.raises(StoreMissing, match="mongod is not installed") as caught:
        find_store("mongod")
    assert isinstance(caught.value, Unavailable)
    assert "make setup" in caught.value.hint
    assert str(elsewhere / "checkout" / ".stores" / "bin") in caught.value.where


def test_a_configured_path_without_a_program_is_not_replaced_by_another(
    elsewhere: Path, make_program: MakeProgram
):
    program = make_program("path/mongod")
    configured = make_program("own/mongod")
    configured.chmod(stat.S_IRUSR)
    with pytest.raises(StoreMissing, match="own/mongod"):
        find_store("mongod", str(configured))
    assert find_store("mongod") == program


LOADER = (
    "mongod: error while loading shared libraries: {}: "
    "cannot open shared object file: No such file or directory"
)


def test_a_missing_library_is_named_with_its_package(make_program: MakeProgram):
    script = f"echo '{LOADER.format('libcurl.so.4')}' >&2; exit 127"
    with pytest.raises(StoreUnusable, match=r"libcurl\.so\.4 \(package libcurl4\)") as caught:
        check_runs(make_program("mongod", script), "mongod")
    assert isinstance(caught.value, Unavailable)
    assert caught.value.hint == "apt-get install libcurl4"


def test_an_unknown_library_is_named_too(make_program: MakeProgram):
    script = f"echo '{LOADER.format('libodd.so.9')}' >&2; exit 127"
    with pytest.raises(StoreUnusable, match=r"libodd\.so\.9"):
        check_runs(make_program("mongod", script), "mongod")


@pytest.mark.parametrize(
    ("script", "reason"),
    [
        ("echo \"mongod: /lib/libc.so.6: version 'x'\" >&2; kill -ILL $$", "AVX"),
        ('echo "libc.so.6: version \\`GLIBC_2.99\' not found" >&2; exit 1', "GLIBC_2.99"),
        ("echo 'some other reason' >&2; exit 3", r"exit 3\): some other reason"),
        ("exit 4", "it said nothing"),
        ("echo hello", "is not a mongod"),
        ("echo db version v4.4.29", "too old: v4.4.29"),
    ],
)
def test_a_program_that_does_not_do_says_why(make_program: MakeProgram, script: str, reason: str):
    with pytest.raises(StoreUnusable, match=reason):
        check_runs(make_program("mongod", script), "mongod")


def test_a_file_for_another_machine_does_not_start(tmp_path: Path):
    program = tmp_path / "mongod"
    program.write_bytes(b"\x7fELF")
    program.chmod(0o755)
    with pytest.raises(StoreUnusable, match="does not start"):
        check_runs(program, "mongod")


@pytest.mark.parametrize(
    ("name", "said", "version"),
    [
        ("mongod", "db version v6.0.5", "6.0.5"),
        ("redis-server", "Redis server v=6.2.14 sha=4030:0 malloc=libc bits=64", "6.2.14"),
    ],
)
def test_the_version_is_read_from_what_the_program_says(
    make_program: MakeProgram, name: find.Program, said: str, version: str
):
    assert check_runs(make_program(name, f"echo '{said}'"), name) == version


def test_a_store_inherits_nothing_of_ours(monkeypatch: pytest.MonkeyPatch):
    for name in ("LD_LIBRARY_PATH", "PYTHONPATH", "NOTIFY_SOCKET", "NOVAPULSE__MONGO__URI"):
        monkeypatch.setenv(name, "/ours")
    assert set(clean_environment()) == {"PATH", "LANG", "TZ"}


def test_only_a_mongod_with_libraries_beside_gets_a_library_path(
    make_program: MakeProgram, tmp_path: Path
):
    mongod = make_program("stores/bin/mongod")
    redis = make_program("stores/bin/redis-server")
    system = make_program("usr/bin/mongod")
    (tmp_path / "usr" / "lib").mkdir()
    assert find_libraries(mongod) is None
    (tmp_path / "stores" / "lib").mkdir()
    assert find_libraries(mongod) == tmp_path / "stores" / "lib"
    assert find_libraries(redis) is None
    assert find_libraries(system) is None
    shipped = clean_environment(find_libraries(mongod))
    assert shipped["LD_LIBRARY_PATH"] == str(tmp_path / "stores" / "lib")
