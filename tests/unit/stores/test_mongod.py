"""mongod's start line and the question whether it serves."""

import struct
from pathlib import Path

import bson
import pytest

from novapulse.stores.layout import StoreLayout
from novapulse.stores.mongod import HELLO, judge_hello, mongod_process

LAYOUT = StoreLayout(state=Path("/state"), sockets=Path("/run/np"))


def reply(document: dict[str, object]) -> bytes:
    body = struct.pack("<IB", 0, 0) + bson.encode(document)
    return struct.pack("<iiii", 16 + len(body), 7, 1, 2013) + body


def test_the_question_is_what_the_driver_would_encode():
    length, _, _, operation = struct.unpack_from("<iiii", HELLO)
    assert (length, operation) == (len(HELLO), 2013)
    assert HELLO[16:21] == b"\0\0\0\0\0"
    assert HELLO[21:] == bson.encode({"hello": 1, "$db": "admin"})


def test_an_answer_is_waited_for_until_it_is_whole():
    whole = reply({"isWritablePrimary": False, "ok": 1.0})
    assert judge_hello(whole) is True
    assert all(judge_hello(whole[:size]) is None for size in range(len(whole)))


@pytest.mark.parametrize(
    "answer",
    [reply({"ok": 0.0, "errmsg": "shutting down"}), b"HTTP/1.1 400 Bad Request\r\n\r\n"],
)
def test_another_answer_is_no_service(answer: bytes):
    assert judge_hello(answer) is False


def test_it_serves_one_private_unix_socket_and_nothing_else():
    argv = mongod_process(LAYOUT, Path("/bin/mongod"), cache_gb=0.25).argv
    assert argv[argv.index("--bind_ip") + 1] == "/run/np/mongodb.sock"
    assert argv[argv.index("--filePermissions") + 1] == "0700"
    assert "--nounixsocket" in argv
    assert "--port" not in argv


def test_the_cache_is_passed_as_mongod_reads_it():
    argv = mongod_process(LAYOUT, Path("/bin/mongod"), cache_gb=1.5).argv
    assert argv[argv.index("--wiredTigerCacheSizeGB") + 1] == "1.5"


def test_people_and_scripts_stay_outside():
    argv = mongod_process(LAYOUT, Path("/bin/mongod"), cache_gb=0.25).argv
    assert "--noscripting" in argv
    assert argv[argv.index("--keyFile") + 1] == "/state/secrets/mongod.key"
    assert argv[argv.index("--slowOpSampleRate") + 1] == "0"
