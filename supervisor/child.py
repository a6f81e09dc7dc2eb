"""The child's side of supervision: its link to the supervisor and the listeners it inherits.

The link carries JSON lines up (`{"ready": {...}}`, `{"beat": true}`, `{"status": "..."}`,
`{"replace": "why"}`, `{"offers": [role, ...]}`) and down (what the program tells its
children, each with a `number` that the child repeats in `{"took": number}` when it has
followed it). Its end means that the supervisor is gone. Nothing here blocks or minds a
supervisor that is gone; without one, `Link.from_environ()` is None and the program runs
alone.
"""

import os
import socket
from collections.abc import Callable, Mapping, MutableMapping

from supervisor.beats import next_moment
from supervisor.lines import LineBuffer, decode_frame, encode_frame
from supervisor.prctl import set_parent_death_signal

__all__ = ["Link", "attend", "descriptor_variables", "set_parent_death_signal"]

_BEAT = encode_frame({"beat": True})
_MESSAGE_LIMIT_BYTES = 64 * 1024

Message = dict[str, object]


class Link:
    """A child's end of its link; `instance` names this incarnation, `listeners` by their names."""

    def __init__(
        self,
        connection: socket.socket,
        *,
        instance: str,
        listeners: dict[str, socket.socket] | None = None,
        beat_seconds: float = 1.0,
    ) -> None:
        self.connection = connection
        self.connection.setblocking(False)
        self.instance = instance
        self.listeners = listeners or {}
        self.beat_seconds = beat_seconds
        self._lines = LineBuffer(_MESSAGE_LIMIT_BYTES)
        self._unheard: list[Message] = []
        self._is_gone = False

    @classmethod
    def from_environ(cls, environ: MutableMapping[str, str] = os.environ) -> "Link | None":
        """Take over what the supervisor handed down, or None when nobody did.

        The variables are removed and the descriptors no longer inherited, so that
        nothing this process starts takes them for its own.
        """
        number = environ.pop("SUPERVISOR_LINK_FD", None)
        if number is None:
            return None
        shared = environ.pop("SUPERVISOR_LISTEN_FDS", "")
        pairs = (pair.rpartition("=") for pair in shared.split(",") if pair)
        return cls(
            _adopt(int(number)),
            instance=environ.pop("SUPERVISOR_INSTANCE", ""),
            listeners={name: _adopt(int(fd)) for name, _, fd in pairs},
            beat_seconds=float(environ.pop("SUPERVISOR_BEAT_SECONDS", "1")),
        )

    def ready(self, **info: object) -> None:
        """Say that this process serves; once, from the event loop that does the serving."""
        self._send(encode_frame({"ready": {**info, "pid": os.getpid(), "instance": self.instance}}))

    def beat(self) -> None:
        """Show that the event loop still turns."""
        self._send(_BEAT)

    def say(self, status: str) -> None:
        """A short text that the supervisor's status shows beside this process."""
        self._send(encode_frame({"status": status}))

    def ask_replacement(self, reason: str) -> None:
        """Ask for a new incarnation in this one's place; it may take a while, or not come."""
        self._send(encode_frame({"replace": reason}))

    def offer(self, roles: list[str]) -> None:
        """As a fork server that still loads, say whom it can be forked into already."""
        self._send(encode_frame({"offers": roles}))

    def took(self, message: Message) -> None:
        """Confirm that a message was followed."""
        self._send(encode_frame({"took": message.get("number")}))

    def receive(self) -> list[Message]:
        """The messages that came since the last call; never waits."""
        self._read()
        messages, self._unheard = self._unheard, []
        return messages

    def is_gone(self) -> bool:
        """Has the supervisor ended? Never waits."""
        self._read()
        return self._is_gone

    def _read(self) -> None:
        try:
            while data := self.connection.recv(4096):
                self._unheard += map(decode_frame, self._lines.feed(data))
        except BlockingIOError:
            return
        except OSError:
            pass
        self._is_gone = True

    def fileno(self) -> int:
        return self.connection.fileno()

    def close(self) -> None:
        """Let go of the link; the listeners stay open for whoever took them."""
        self.connection.close()

    def _send(self, frame: bytes) -> None:
        try:
            self.connection.send(frame)
        except OSError:
            # Full: the supervisor stands still and will look again. Gone: is_gone() tells.
            pass


def descriptor_variables(link: int | None, listeners: Mapping[str, int]) -> dict[str, str]:
    """The variables by which `Link.from_environ` finds what the child was handed."""
    variables = {} if link is None else {"SUPERVISOR_LINK_FD": str(link)}
    if listeners:
        pairs = (f"{name}={fd}" for name, fd in listeners.items())
        variables["SUPERVISOR_LISTEN_FDS"] = ",".join(pairs)
    return variables


def _adopt(fd: int) -> socket.socket:
    os.set_inheritable(fd, False)
    return socket.socket(fileno=fd)


async def attend(
    link: Link,
    *,
    on_gone: Callable[[], None],
    on_message: Callable[[Message], None] = lambda _message: None,
    on_beat: Callable[[], None] = lambda: None,
) -> None:
    """Beat from the running event loop until the supervisor is gone, then call `on_gone`.

    A message counts as followed when `on_message` returns; an error in it leaves it unconfirmed.
    Run it as a task; cancel it when the process ends by itself.
    """
    import asyncio

    loop = asyncio.get_running_loop()
    gone: asyncio.Future[None] = loop.create_future()

    def look() -> None:
        for message in link.receive():
            on_message(message)
            link.took(message)
        if link.is_gone():
            loop.remove_reader(link.fileno())
            if not gone.done():
                gone.set_result(None)

    next_beat: asyncio.Handle

    def beat() -> None:
        nonlocal next_beat
        next_beat = loop.call_at(next_moment(loop.time(), link.beat_seconds), beat)
        link.beat()
        on_beat()

    loop.add_reader(link.fileno(), look)
    next_beat = loop.call_soon(beat)
    try:
        await gone
        on_gone()
    finally:
        next_beat.cancel()
        loop.remove_reader(link.fileno())
