"""What the outbound client uses of aiohttp beyond its documented names is still there.

A new aiohttp that renames one of these fails here, by name, and not in a
delivery: look at `core.connector` and `core.reuse` before its version is raised.
"""

import asyncio
import inspect
from typing import Any

import pytest
from aiohttp import TCPConnector
from aiohttp.client_proto import ResponseHandler
from aiohttp.client_reqrep import ConnectionKey
from aiohttp.connector import BaseConnector, Connection


@pytest.mark.parametrize(
    ("function", "names"),
    [
        (BaseConnector._get, ["self", "key", "traces"]),
        (BaseConnector._release, ["self", "key", "protocol", "should_close"]),
        (Connection.__init__, ["self", "connector", "key", "protocol", "loop"]),
        (ResponseHandler.data_received, ["self", "data"]),
        (ResponseHandler.abort, ["self"]),
    ],
)
def test_a_function_takes_what_it_is_given(function: Any, names: list[str]) -> None:
    assert list(inspect.signature(function).parameters) == names


async def test_an_idle_connection_is_asked_for_by_its_key() -> None:
    key = ConnectionKey("receiver.example", 80, False, True, None, None, None)
    async with TCPConnector() as connector:
        assert await connector._get(key, []) is None
        assert connector._loop is asyncio.get_running_loop()
        assert callable(connector._factory)  # makes the protocol of a new connection
        protocol = ResponseHandler(connector._loop)
        connection = Connection(connector, key, protocol, connector._loop)
        assert connection._key is key
        assert connection.protocol is protocol
        connection.close()


async def test_an_answer_is_read_by_the_protocol_itself() -> None:
    protocol = ResponseHandler(asyncio.get_running_loop())
    assert len(protocol._buffer) == 0  # heads of answers that nobody has read yet
    taken = inspect.signature(protocol.set_response_params).parameters
    assert {"read_until_eof", "auto_decompress", "read_bufsize"} <= set(taken)
    assert {"max_line_size", "max_field_size", "max_headers"} <= set(taken)
