"""A receiver that costs as little as possible: it finds the end of each request and answers 200.

Run as a program it prints its port; it ends with its standard input.
"""

import asyncio
import sys

_ANSWER = b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 2\r\n\r\nok"
_LENGTH = b"content-length:"


class Sink(asyncio.Protocol):
    """One connection; requests have a Content-Length."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self._data = b""

    def data_received(self, data: bytes) -> None:
        self._data += data
        while (end := self._data.find(b"\r\n\r\n")) >= 0:
            head = self._data[:end].lower()
            at = head.find(_LENGTH) + len(_LENGTH)
            size = end + 4 + int(head[at:].split(b"\r\n", 1)[0])
            if len(self._data) < size:
                return
            self._data = self._data[size:]
            self._transport.write(_ANSWER)


async def main() -> None:
    loop = asyncio.get_running_loop()
    server = await loop.create_server(Sink, "127.0.0.1", 0, backlog=1024)
    print(server.sockets[0].getsockname()[1], flush=True)
    await loop.run_in_executor(None, sys.stdin.read)
    server.close()


if __name__ == "__main__":
    asyncio.run(main())
