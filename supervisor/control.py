"""Talking to a running supervisor: JSON lines on a unix socket that only its user may open.

A request is `{"verb": "status"}`; its answer `{"ok": true, ...}` or `{"ok": false,
"error": "...", ...}`. What takes long sends `{"progress": "..."}` before its answer.
After `subscribe` the connection carries events until either side ends.
The server side is driven by the loop and bounded per connection: garbage gets an error
and the end of the line, a subscriber that does not read is dropped.
"""

import os
import socket
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Protocol

from supervisor.lines import LineBuffer, decode_frame, encode_frame
from supervisor.listeners import bind_unix
from supervisor.reactor import READ, WRITE, Reactor

_REQUEST_LIMIT_BYTES = 64 * 1024
_ANSWER_LIMIT_BYTES = 4 << 20
_UNREAD_LIMIT_BYTES = 1 << 20
_CONNECTION_LIMIT = 64

Frame = dict[str, Any]


class Reply(Protocol):
    """The way back to who asked; gone when that one hung up, which is fine."""

    def progress(self, text: str) -> None:
        """Say what is being done."""

    def finish(self, answer: Mapping[str, object]) -> None:
        """Answer well, once."""

    def refuse(self, refusal: "ControlError") -> None:
        """Answer badly, once."""


# Returns its answer's fields, or None and finishes the reply later.
Verb = Callable[[Mapping[str, object], Reply], Frame | None]


class ControlError(Exception):
    """The supervisor refused a request, or did not answer it; `facts` are the answer's fields."""

    def __init__(self, message: str, **facts: object) -> None:
        super().__init__(message)
        self.facts = facts


class NotRunning(ControlError):
    """Nobody listens on the control socket."""


class ControlServer:
    """Serves `verbs`, each a function from a request to the fields of its answer.

    A verb refuses by raising ControlError, or answers later by its Reply; `subscribe`
    is built in.
    """

    def __init__(self, reactor: Reactor, path: Path, verbs: Mapping[str, Verb]) -> None:
        self._reactor = reactor
        self._path = path
        self._verbs = verbs
        self._connections: set[_Connection] = set()
        self._listener: socket.socket | None = bind_unix(path, backlog=_CONNECTION_LIMIT)
        reactor.watch(self._listener.fileno(), READ, lambda _events: self._accept())

    def publish(self, event: Mapping[str, object]) -> None:
        """Send an event to every subscriber."""
        subscribers = [one for one in self._connections if one.is_subscribed]
        if subscribers:
            frame = encode_frame(event)
            for connection in subscribers:
                connection.send(frame)

    def answer(self, line: bytes, connection: "_Connection") -> None:
        try:
            request = decode_frame(line)
        except ValueError:
            connection.send(encode_frame({"ok": False, "error": "a request is one JSON object"}))
            connection.finish()
            return
        answer = self._serve(request, connection)
        if answer is not None:
            connection.send(encode_frame(answer))

    def forget(self, connection: "_Connection") -> None:
        self._connections.discard(connection)

    def stop_listening(self) -> None:
        """Make the path free; open connections stay, so that a client sees our end."""
        if self._listener is not None:
            self._reactor.unwatch(self._listener.fileno())
            self._listener.close()
            self._listener = None
            self._path.unlink(missing_ok=True)

    def close(self) -> None:
        self.stop_listening()
        for connection in tuple(self._connections):
            connection.close()

    def _accept(self) -> None:
        if self._listener is None:
            return
        try:
            peer, _address = self._listener.accept()
        except OSError:
            return  # it went away again, or we are out of descriptors for now
        if len(self._connections) >= _CONNECTION_LIMIT:
            peer.close()
            return
        self._connections.add(_Connection(self._reactor, peer, self))

    def _serve(self, request: Mapping[str, object], connection: "_Connection") -> Frame | None:
        name = request.get("verb")
        if name == "subscribe":
            connection.is_subscribed = True
            return {"ok": True}
        verb = self._verbs.get(name) if isinstance(name, str) else None
        if verb is None:
            known = ", ".join(sorted((*self._verbs, "subscribe")))
            return {"ok": False, "error": f"no such verb: {str(name)[:50]!r}; there are {known}"}
        try:
            answer = verb(request, _LaterReply(connection))
        except ControlError as refusal:
            return _refusal_frame(refusal)
        return None if answer is None else {"ok": True, **answer}


def _refusal_frame(refusal: ControlError) -> Frame:
    return {**refusal.facts, "ok": False, "error": str(refusal)}


class _LaterReply:
    def __init__(self, connection: "_Connection") -> None:
        self._connection = connection

    def progress(self, text: str) -> None:
        self._connection.send(encode_frame({"progress": text}))

    def finish(self, answer: Mapping[str, object]) -> None:
        self._connection.send(encode_frame({"ok": True, **answer}))

    def refuse(self, refusal: ControlError) -> None:
        self._connection.send(encode_frame(_refusal_frame(refusal)))


class _Connection:
    def __init__(self, reactor: Reactor, peer: socket.socket, server: ControlServer) -> None:
        self.is_subscribed = False
        self._reactor = reactor
        self._peer = peer
        self._server = server
        self._requests = LineBuffer(_REQUEST_LIMIT_BYTES)
        self._unsent = bytearray()
        self._is_open = True
        self._is_finishing = False
        peer.setblocking(False)
        self._watch()

    def send(self, frame: bytes) -> None:
        if not self._is_open or self._is_finishing:
            return
        self._unsent += frame
        self._flush()
        if len(self._unsent) > _UNREAD_LIMIT_BYTES:
            self.close()

    def finish(self) -> None:
        """Read no more; end when all is sent."""
        self._is_finishing = True
        self._flush()

    def close(self) -> None:
        if self._is_open:
            self._is_open = False
            self._reactor.unwatch(self._peer.fileno())
            self._peer.close()
            self._server.forget(self)

    def _watch(self) -> None:
        interest = (0 if self._is_finishing else READ) | (WRITE if self._unsent else 0)
        self._reactor.watch(self._peer.fileno(), interest, self._turn)

    def _turn(self, events: int) -> None:
        if events & WRITE:
            self._flush()
        if self._is_open and events & READ:
            self._read()

    def _read(self) -> None:
        try:
            data = self._peer.recv(_REQUEST_LIMIT_BYTES)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            self.close()
            return
        for line in self._requests.feed(data):
            if self._is_open and not self._is_finishing:
                self._server.answer(line, self)

    def _flush(self) -> None:
        if not self._is_open:
            return
        try:
            while self._unsent:
                del self._unsent[: self._peer.send(self._unsent)]
        except BlockingIOError:
            pass
        except OSError:
            self.close()
            return
        if self._is_finishing and not self._unsent:
            self.close()
            return
        self._watch()


class ControlClient:
    """A caller's side; it blocks, at most `timeout_seconds` for an answer.

    Every method raises NotRunning when nobody listens, and ControlError when the
    supervisor refuses or does not answer in time.
    """

    def __init__(self, path: Path, *, timeout_seconds: float = 5.0) -> None:
        self._path = path
        self._timeout = timeout_seconds

    def status(self) -> Frame:
        """State of the whole and of every process."""
        return self.call("status")

    def stop(self, *, wait: bool = True) -> None:
        """Ask for an ordered stop; with `wait` return when the supervisor has let go of all."""
        with _Conversation(self._path, self._timeout) as conversation:
            conversation.ask("stop")
            while wait and conversation.read(None) is not None:
                pass

    def subscribe(self) -> Iterator[Frame]:
        """Events `{"exit": {...}}` and `{"state": {...}}` until the supervisor ends."""
        with _Conversation(self._path, self._timeout) as conversation:
            conversation.ask("subscribe")
            while (event := conversation.read(None)) is not None:
                yield event

    def call(self, verb: str, **arguments: object) -> Frame:
        """One request, and the fields of its answer."""
        with _Conversation(self._path, self._timeout) as conversation:
            return conversation.ask(verb, arguments)

    def follow(self, verb: str, *, progress: Callable[[str], None], **arguments: object) -> Frame:
        """As `call`, for what takes as long as it takes; hears what is being done."""
        with _Conversation(self._path, self._timeout) as conversation:
            return conversation.ask(verb, arguments, progress=progress)


class _Conversation:
    def __init__(self, path: Path, timeout_seconds: float) -> None:
        self._path = path
        self._timeout = timeout_seconds
        self._lines = LineBuffer(_ANSWER_LIMIT_BYTES)
        self._read_ahead: deque[bytes] = deque()

    def __enter__(self) -> "_Conversation":
        self._connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._connection.settimeout(self._timeout)
        try:
            self._connection.connect(os.fspath(self._path))
        except (FileNotFoundError, ConnectionRefusedError) as error:
            self._connection.close()
            raise NotRunning(f"nobody listens on {self._path}") from error
        except OSError as error:
            self._connection.close()
            raise ControlError(f"{self._path}: {error}") from error
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._connection.close()

    def ask(
        self,
        verb: str,
        arguments: Mapping[str, object] | None = None,
        *,
        progress: Callable[[str], None] | None = None,
    ) -> Frame:
        try:
            self._connection.sendall(encode_frame({**(arguments or {}), "verb": verb}))
        except OSError as error:
            raise ControlError(f"the supervisor did not take the request: {error}") from error
        timeout = self._timeout if progress is None else None
        while (answer := self.read(timeout)) is not None and "progress" in answer:
            if progress is not None:
                progress(str(answer["progress"]))
        if answer is None:
            raise ControlError("the supervisor ended before it answered")
        if answer.pop("ok", False) is not True:
            raise ControlError(str(answer.pop("error", "refused without a reason")), **answer)
        return answer

    def read(self, timeout_seconds: float | None) -> Frame | None:
        """The next frame, or None at the supervisor's end."""
        self._connection.settimeout(timeout_seconds)
        while not self._read_ahead:
            try:
                data = self._connection.recv(65536)
            except TimeoutError:
                raise ControlError(f"no answer within {timeout_seconds} s") from None
            except ConnectionResetError:
                data = b""
            if not data:
                return None
            self._read_ahead.extend(self._lines.feed(data))
        try:
            return decode_frame(self._read_ahead.popleft())
        except ValueError as error:
            raise ControlError("the supervisor's answer can not be read") from error
