"""Telling the service manager how we are (sd_notify(3)), by hand: one datagram of lines."""

import os
import socket
from collections.abc import Mapping


class Notifier:
    """Sends to $NOTIFY_SOCKET; does nothing without one, and never blocks or fails."""

    def __init__(self, address: str | None, *, watchdog_seconds: float | None = None) -> None:
        self._address = address
        self.watchdog_seconds = watchdog_seconds

    @classmethod
    def from_environ(cls, environ: Mapping[str, str] = os.environ) -> "Notifier":
        """Read NOTIFY_SOCKET and, when it is meant for this process, WATCHDOG_USEC."""
        address = environ.get("NOTIFY_SOCKET") or None
        if address is not None and address[0] not in "/@":
            address = None
        microseconds = environ.get("WATCHDOG_USEC", "")
        is_ours = environ.get("WATCHDOG_PID", str(os.getpid())) == str(os.getpid())
        usable = is_ours and microseconds.isdigit() and int(microseconds) > 0
        return cls(address, watchdog_seconds=int(microseconds) / 1e6 if usable else None)

    @property
    def is_heard(self) -> bool:
        return self._address is not None

    def notify(self, **fields: str | int) -> None:
        """`notify(READY=1, STATUS="...")`."""
        if self._address is None:
            return
        name = "\0" + self._address[1:] if self._address.startswith("@") else self._address
        message = "\n".join(f"{key}={value}" for key, value in fields.items())
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK) as sender:
            try:
                sender.sendto(message.encode(), name)
            except OSError:
                pass  # nobody listens any more, or not fast enough
