"""Short calls over one connection to the primary, many on their way at once.

The driver takes a connection for each operation, and two tasks, two reads and a timer for
each message. Here a call is one message among others: what it costs is mostly its rows.
The driver still connects, authenticates and knows the primary; the connection is one of
its pool. Whatever is not plain (no connection yet, a slow call ahead, an error, a result
of more than one batch) is left to the driver's ordinary way, which every caller has.
"""

import asyncio
import contextvars
import itertools
import math
import struct
import time
from collections.abc import Coroutine, Mapping, Sequence
from typing import Any

import bson
from pymongo import errors as mongo_errors
from pymongo.asynchronous.database import AsyncDatabase
from pymongo.server_selectors import writable_server_selector

from novapulse.core.mongocalls import NOT_SERVING, remaining_seconds
from novapulse.core.pipeline import Pipeline
from novapulse.core.tasks import end_all

Document = dict[str, Any]
_HEAD = struct.Struct("<iiiiIB")  # length, id, id of the request, OP_MSG, flags, kind of section
_OP_MSG = 2013
_MAX_MESSAGE_BYTES = 48_000_000
_TIME_LIMIT_EXCEEDED = 50
_MOST_ROWS = 500
_MOST_WAITING = 200
# A read that takes longer is not one for which others should queue.
_STUCK_SECONDS = 0.025
_RETRY_SECONDS = 1.0

Message = tuple[int, bytes]  # the id of its request, and the document in it


class Link:
    """Belongs to one database of one client; opens its connection when first wanted."""

    def __init__(self, database: AsyncDatabase[Document], *, timeout_seconds: float) -> None:
        self._database = database
        self._timeout_seconds = timeout_seconds
        self._pipeline: Pipeline[Message] | None = None
        self._keeping: asyncio.Task[None] | None = None
        self._opened = asyncio.Event()
        self._not_before = 0.0
        self._ids = itertools.count(1)

    @property
    def is_idle(self) -> bool:
        """Whether it holds a connection that nothing is read over."""
        return self._pipeline is not None and not self._pipeline.waiting

    async def find(
        self,
        collection: str,
        where: Mapping[str, Any],
        *,
        sort: Sequence[tuple[str, int]] = (),
        limit: int,
        **options: Any,
    ) -> list[Document] | None:
        """The rows; None where the driver has to be asked.

        Options go into the command as they are. Raises NetworkTimeout, ExecutionTimeout.
        """
        pipeline = self._ready()
        if pipeline is None or limit <= 0:
            return None
        command: Document = {"find": collection, "filter": where}
        if sort:
            command["sort"] = dict(sort)
        most = min(limit, _MOST_ROWS + 1)  # one too many tells that there are more
        command |= {"limit": most, "batchSize": most + 1, **options}
        reply = await self._ask(pipeline, command)
        if reply is None or reply["cursor"]["id"]:
            return None
        rows: list[Document] = reply["cursor"]["firstBatch"]
        return rows if len(rows) <= _MOST_ROWS else None

    async def open(self) -> None:
        """Connect now rather than with the first read; returns when it has, or can not."""
        if self._ready() is None and self._keeping is not None:
            opened = asyncio.create_task(self._opened.wait())
            await asyncio.wait((opened, self._keeping), return_when=asyncio.FIRST_COMPLETED)
            await end_all((opened,))

    async def close(self) -> None:
        self._not_before = math.inf
        if self._keeping is not None:
            await end_all((self._keeping,))

    def _ready(self) -> Pipeline[Message] | None:
        pipeline = self._pipeline
        if pipeline is None:
            if time.monotonic() >= self._not_before and (
                self._keeping is None or self._keeping.done()
            ):
                # Not in the asker's context: its deadline and its trace are its own.
                self._keeping = asyncio.create_task(self._keep(), context=contextvars.Context())
            return None
        is_busy = pipeline.waiting >= _MOST_WAITING or pipeline.is_stuck
        return None if is_busy else pipeline

    async def _ask(self, pipeline: Pipeline[Message], command: Document) -> Document | None:
        """The answer to a read, if it is a good one."""
        if concern := self._database.read_concern.document:
            command["readConcern"] = concern
        reply = await self._send(pipeline, command)
        if reply is None or reply["ok"] == 1:
            return reply
        if (code := reply.get("code")) == _TIME_LIMIT_EXCEEDED:
            raise mongo_errors.ExecutionTimeout(str(reply.get("errmsg")), code, reply)
        return None

    async def write(self, commands: Sequence[Document]) -> list[int]:
        """Do plain writes, one after the other, which travel together; rows each has changed.

        Raises what the driver raises; AutoReconnect when it is not known what became of them.
        """
        if (pipeline := self._ready()) is None:
            return [_changed(await self._database.command(command)) for command in commands]
        sent = [self._send(pipeline, dict(command)) for command in commands]
        replies = await asyncio.gather(*sent, return_exceptions=True)
        return [_changed(reply) for reply in replies]

    def _send(
        self, pipeline: Pipeline[Message], command: Document
    ) -> Coroutine[Any, Any, Document | None]:
        """Send it in this turn of the loop; the answer, or None when the connection was lost."""
        seconds = remaining_seconds(self._timeout_seconds)
        command["maxTimeMS"] = round(seconds * 1000)
        command["$db"] = self._database.name
        number = next(self._ids) & 0x7FFF_FFFF
        document = bson.encode(command)
        head = _HEAD.pack(_HEAD.size + len(document), number, 0, _OP_MSG, 0, 0)
        asked = pipeline.ask(head + document)
        return self._reply(pipeline, number, asked=asked, seconds=seconds)

    async def _reply(
        self,
        pipeline: Pipeline[Message],
        number: int,
        *,
        asked: asyncio.Future[Message],
        seconds: float,
    ) -> Document | None:
        try:
            is_short = seconds < self._timeout_seconds
            answered, body = await (asyncio.wait_for(asked, seconds) if is_short else asked)
        except TimeoutError as error:
            raise mongo_errors.NetworkTimeout("no answer in time") from error
        except ConnectionError:
            return None
        if answered != number:
            pipeline.abort()
            return None
        reply: Document = bson.decode(body, self._database.codec_options)
        if reply.get("code") in NOT_SERVING:
            pipeline.abort()
        return reply

    async def _keep(self) -> None:
        """Hold one connection to the primary until it breaks or the driver gives it up."""
        client = self._database.client
        self._not_before = time.monotonic() + _RETRY_SECONDS
        try:
            server = await client._select_server(writable_server_selector, None, "find")
            async with client._checkout(server, None) as connection:
                if not (connection.is_repl and connection.is_writable):
                    return  # not the primary after all, or a deployment with other rules
                transport = connection.conn.get_conn.transport
                try:
                    self._pipeline = Pipeline(
                        transport,
                        Messages().feed,
                        timeout_seconds=self._timeout_seconds,
                        patience_seconds=_STUCK_SECONDS,
                    )
                    self._opened.set()
                    await self._pipeline.lost
                finally:
                    self._pipeline = None
                    self._opened.clear()
                    await connection.close_conn(None)
        except mongo_errors.PyMongoError:  # whoever asks the driver is told
            return


def _changed(reply: Document | BaseException | None) -> int:
    """Rows that a write has changed, or inserted; raises what went wrong instead."""
    if isinstance(reply, BaseException):
        raise reply
    if reply is None:
        raise mongo_errors.AutoReconnect("connection lost")
    failed = [reply] if reply["ok"] != 1 else reply.get("writeErrors")
    if failed:
        raise mongo_errors.OperationFailure(failed[0]["errmsg"], failed[0].get("code"), reply)
    return int(reply["nModified"] if "nModified" in reply else reply["n"])


class Messages:
    """Cuts a stream into messages; raises ValueError for what was not asked for."""

    def __init__(self) -> None:
        self._rest = b""

    def feed(self, data: bytes) -> list[Message]:
        if self._rest:
            data = self._rest + data
        found = []
        start, end = 0, len(data)
        while end - start >= _HEAD.size:
            length, _, answered, code, flags, kind = _HEAD.unpack_from(data, start)
            if code != _OP_MSG or flags or kind or not 26 <= length <= _MAX_MESSAGE_BYTES:
                raise ValueError("not the answer to a plain command")
            if end - start < length:
                break
            found.append((answered, data[start + _HEAD.size : start + length]))
            start += length
        self._rest = data[start:]
        return found
