"""Directories and secrets of the embedded stores."""

from pathlib import Path

import pytest

from novapulse.core.errors import ConfigurationInvalid
from novapulse.stores.layout import MongoRole, StoreLayout, prepare_layout


@pytest.fixture
def layout(tmp_path: Path) -> StoreLayout:
    return StoreLayout(state=tmp_path / "s", sockets=tmp_path / "r")


def test_everything_is_made_for_this_user_alone(layout: StoreLayout):
    prepare_layout(layout)
    for directory in (layout.mongod_data, layout.redis_data, layout.secrets, layout.sockets):
        assert directory.stat().st_mode & 0o777 == 0o700
    files = list(layout.secrets.iterdir())
    assert len(files) == 2 + len(MongoRole)
    assert all(file.stat().st_mode & 0o777 == 0o600 for file in files)


def test_every_secret_is_another_one(layout: StoreLayout):
    prepare_layout(layout)
    secrets = {file.read_bytes() for file in layout.secrets.iterdir()}
    assert len(secrets) == 2 + len(MongoRole)


def test_a_second_preparation_changes_no_secret(layout: StoreLayout):
    prepare_layout(layout)
    before = {file: file.read_bytes() for file in layout.secrets.iterdir()}
    prepare_layout(layout)
    assert {file: file.read_bytes() for file in layout.secrets.iterdir()} == before


def test_directories_that_others_could_enter_are_closed(layout: StoreLayout):
    layout.sockets.mkdir(mode=0o755)
    prepare_layout(layout)
    assert layout.sockets.stat().st_mode & 0o777 == 0o700


def test_a_secret_that_others_can_read_stops_the_start(layout: StoreLayout):
    prepare_layout(layout)
    layout.mongod_key.chmod(0o640)
    with pytest.raises(ConfigurationInvalid, match="0640"):
        prepare_layout(layout)


@pytest.mark.parametrize("directory", ["/tmp/" + "x" * 100, "/tmp/a,b", "/tmp/a:b", "run"])
def test_a_path_that_does_not_do_for_a_socket_is_refused_at_once(tmp_path: Path, directory: str):
    with pytest.raises(ConfigurationInvalid, match="socket path"):
        prepare_layout(StoreLayout(state=tmp_path / "state", sockets=Path(directory)))
    assert not (tmp_path / "state").exists()
