"""Secret files are made once, whole, and for their owner alone."""

import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from novapulse.core.errors import ConfigurationInvalid
from novapulse.core.secretfiles import ensure_secret_file, read_secret_file


def never() -> bytes:
    raise AssertionError("there is a secret already")


def test_a_missing_secret_is_made_for_its_owner_alone(tmp_path: Path):
    path = tmp_path / "secrets" / "key"
    assert ensure_secret_file(path, lambda: b"s3cret\n") == b"s3cret\n"
    assert path.stat().st_mode & 0o777 == 0o600
    assert path.parent.stat().st_mode & 0o777 == 0o700


def test_a_secret_is_made_once(tmp_path: Path):
    path = tmp_path / "key"
    first = ensure_secret_file(path, lambda: os.urandom(16))
    assert ensure_secret_file(path, never) == first
    assert [entry.name for entry in tmp_path.iterdir()] == ["key"]


def test_a_mask_that_takes_everything_leaves_the_secret_readable(tmp_path: Path):
    before = os.umask(0o777)
    try:
        assert ensure_secret_file(tmp_path / "key", lambda: b"x") == b"x"
    finally:
        os.umask(before)
    assert (tmp_path / "key").stat().st_mode & 0o777 == 0o600


def test_all_who_come_first_at_once_get_the_same_secret(tmp_path: Path):
    path = tmp_path / "key"
    with ThreadPoolExecutor(16) as pool:
        calls = [pool.submit(ensure_secret_file, path, lambda: os.urandom(32)) for _ in range(64)]
        assert len({call.result() for call in calls}) == 1
    assert [entry.name for entry in tmp_path.iterdir()] == ["key"]


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o620, 0o602, 0o700, 0o601])
def test_a_mode_wider_than_0600_is_refused_with_the_remedy(tmp_path: Path, mode: int):
    path = tmp_path / "key"
    path.write_bytes(b"x")
    path.chmod(mode)
    with pytest.raises(ConfigurationInvalid, match=f"{mode:04o}") as caught:
        ensure_secret_file(path, never)
    assert caught.value.where == str(path)
    assert caught.value.hint == f"chmod 600 {path}"


@pytest.mark.parametrize("mode", [0o400, 0o600])
def test_a_mode_up_to_0600_is_accepted(tmp_path: Path, mode: int):
    path = tmp_path / "key"
    path.write_bytes(b"x")
    path.chmod(mode)
    assert read_secret_file(path) == b"x"


def test_a_link_counts_by_the_mode_of_its_target(tmp_path: Path):
    target, link = tmp_path / "target", tmp_path / "link"
    target.write_bytes(b"x")
    target.chmod(0o644)
    link.symlink_to(target)
    with pytest.raises(ConfigurationInvalid, match="0644"):
        read_secret_file(link)


def test_a_missing_file_is_the_readers_own_case(tmp_path: Path):
    with pytest.raises(FileNotFoundError):
        read_secret_file(tmp_path / "key")


def test_an_empty_secret_is_refused(tmp_path: Path):
    path = tmp_path / "key"
    path.touch(mode=0o600)
    with pytest.raises(ConfigurationInvalid, match="is empty"):
        ensure_secret_file(path, never)


def test_what_is_not_a_file_is_refused_without_waiting_for_it(tmp_path: Path):
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe, 0o600)
    with pytest.raises(ConfigurationInvalid, match="not a regular file"):
        read_secret_file(pipe)


def test_a_directory_that_can_not_be_made_is_a_matter_of_configuration(tmp_path: Path):
    (tmp_path / "file").touch()
    with pytest.raises(ConfigurationInvalid):
        ensure_secret_file(tmp_path / "file" / "key", lambda: b"x")


class TestCredentials:
    """systemd's credentials show as 0440: their directory is what is looked at."""

    @pytest.fixture
    def credential(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
        path = tmp_path / "credentials" / "key"
        path.parent.mkdir(mode=0o700)
        path.write_bytes(b"x")
        path.chmod(0o440)
        monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(path.parent))
        return path

    @pytest.mark.parametrize("mode", [0o500, 0o550, 0o700])
    def test_a_credential_in_a_closed_directory_is_accepted(self, credential: Path, mode: int):
        credential.parent.chmod(mode)
        assert read_secret_file(credential) == b"x"

    @pytest.mark.parametrize("mode", [0o755, 0o770, 0o701])
    def test_a_directory_that_others_reach_into_is_refused(self, credential: Path, mode: int):
        credential.parent.chmod(mode)
        with pytest.raises(ConfigurationInvalid, match=f"{mode:04o}"):
            read_secret_file(credential)

    def test_a_file_elsewhere_gains_nothing_from_it(self, credential: Path):
        other = credential.parent.parent / "other"
        other.write_bytes(b"x")
        other.chmod(0o440)
        with pytest.raises(ConfigurationInvalid, match="0440"):
            read_secret_file(credential.parent / ".." / "other")
