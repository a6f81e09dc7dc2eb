"""Secret files that are replaced while processes read them, and rings that follow."""

import stat
from datetime import UTC, datetime
from pathlib import Path

import pytest

from novapulse.core import crypto
from novapulse.core.crypto import Place, Unsealable, key_id_of, load_key_ring, read_key_file
from novapulse.core.errors import AlreadyRunning, ConfigurationInvalid
from novapulse.core.secretfiles import (
    REREAD_SECONDS,
    WatchedSecret,
    hold,
    read_secret_file,
    replace_secret_file,
)

NOW = datetime(2026, 11, 23, 12, tzinfo=UTC)
PLACE = Place("webhooks", "w1", "secrets.s1", "c1")


class Time:
    now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A private file that says `old`."""
    path = tmp_path / "secret"
    path.write_bytes(b"old")
    path.chmod(0o600)
    return path


def test_a_replaced_secret_is_whole_and_private(path: Path) -> None:
    replace_secret_file(path, b"new")
    assert path.read_bytes() == b"new"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert [one.name for one in path.parent.iterdir()] == ["secret"]


def test_only_what_is_there_is_replaced(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationInvalid, match="can not be replaced"):
        replace_secret_file(tmp_path / "none", b"new")


def test_two_do_not_rotate_at_once(tmp_path: Path) -> None:
    with hold(tmp_path), pytest.raises(AlreadyRunning), hold(tmp_path):
        pass
    with hold(tmp_path):  # let go again
        pass


def test_a_watched_secret_is_looked_at_now_and_then(path: Path) -> None:
    time = Time()
    watched = WatchedSecret(path, read_secret_file, clock=time)
    replace_secret_file(path, b"new")
    assert watched.recent() == b"old"
    time.now = REREAD_SECONDS
    assert watched.recent() == b"new"


def test_a_watched_secret_is_looked_at_when_asked(path: Path) -> None:
    watched = WatchedSecret(path, read_secret_file, clock=Time())
    for content in (b"new", b"one", b"two"):
        replace_secret_file(path, content)
        assert watched.newest() == content


def test_a_secret_that_turned_bad_leaves_what_was_known(path: Path) -> None:
    watched = WatchedSecret(path, read_secret_file, clock=Time())
    path.chmod(0o644)
    assert watched.newest() == b"old"
    path.unlink()
    assert watched.newest() == b"old"
    path.write_bytes(b"new")
    path.chmod(0o600)
    assert watched.newest() == b"new"


def test_a_ring_opens_what_a_key_sealed_that_came_a_moment_ago(tmp_path: Path) -> None:
    path = tmp_path / "keys.json"
    reader, writer = load_key_ring(path), load_key_ring(path)
    crypto.begin_rotation(path, now=NOW)
    writer.refresh()
    sealed = writer.seal(b"x", PLACE)
    assert key_id_of(sealed) != key_id_of(reader.seal(b"x", PLACE))
    assert reader.open(sealed, PLACE) == b"x"
    assert key_id_of(reader.seal(b"x", PLACE)) == key_id_of(sealed)


def test_a_ring_still_opens_by_a_key_that_left_the_file(tmp_path: Path) -> None:
    path = tmp_path / "keys.json"
    ring = load_key_ring(path)
    sealed = ring.seal(b"x", PLACE)
    crypto.begin_rotation(path, now=NOW)
    crypto.end_rotation(path, keep_old=False)
    ring.refresh()
    assert ring.open(sealed, PLACE) == b"x"
    with pytest.raises(Unsealable):
        load_key_ring(path).open(sealed, PLACE)


def test_an_interrupted_rotation_goes_on_with_its_key(tmp_path: Path) -> None:
    path = tmp_path / "keys.json"
    load_key_ring(path)
    begun = crypto.begin_rotation(path, now=NOW)
    later = crypto.begin_rotation(path, now=NOW.replace(hour=13))
    assert begun == later == read_key_file(path)
    assert (len(begun.keys), begun.rotating_since) == (2, NOW)


@pytest.mark.parametrize("keep_old", [True, False])
def test_a_rotation_ends_with_one_key_unless_told(tmp_path: Path, keep_old: bool) -> None:
    path = tmp_path / "keys.json"
    load_key_ring(path)
    begun = crypto.begin_rotation(path, now=NOW)
    ended = crypto.end_rotation(path, keep_old=keep_old)
    assert ended == read_key_file(path)
    assert (ended.current, ended.rotating_since) == (begun.current, None)
    assert len(ended.keys) == (2 if keep_old else 1)


def test_a_signature_is_of_one_message_for_one_purpose(tmp_path: Path) -> None:
    ring = load_key_ring(tmp_path / "keys.json")
    signature = ring.sign(b"x", purpose="a")
    assert ring.is_signed(signature, b"x", purpose="a")
    assert not ring.is_signed(signature, b"y", purpose="a")
    assert not ring.is_signed(signature, b"x", purpose="b")
