"""The drivers read from our addresses what we mean."""

from pathlib import Path

import pytest
from pymongo.uri_parser import parse_uri
from redis.asyncio.connection import parse_url

from novapulse.stores.addresses import mongo_uri, redis_url
from novapulse.stores.layout import MongoRole, StoreLayout, prepare_layout


@pytest.fixture
def layout(tmp_path: Path) -> StoreLayout:
    layout = StoreLayout(state=tmp_path / "s", sockets=tmp_path / "r n@%")
    prepare_layout(layout)
    return layout


@pytest.mark.parametrize("role", list(MongoRole))
def test_pymongo_reads_socket_user_and_password(layout: StoreLayout, role: MongoRole):
    parsed = parse_uri(mongo_uri(layout, role))
    assert parsed["nodelist"] == [(str(layout.mongod_socket), None)]
    assert parsed["username"] == f"novapulse-{role.value}"
    assert parsed["password"] == layout.mongo_password_file(role).read_text()
    assert parsed["options"]["directConnection"] is True
    assert parsed["options"]["authSource"] == "admin"


def test_redis_py_reads_socket_user_and_password(layout: StoreLayout):
    parsed = parse_url(redis_url(layout))
    assert parsed["path"] == str(layout.redis_socket)
    assert parsed["username"] == "novapulse"
    assert parsed["password"] == layout.redis_password_file.read_text()
