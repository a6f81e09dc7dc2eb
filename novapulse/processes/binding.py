"""The address that the API listens on: bound once, by the supervisor's process."""

import os
import socket
from collections.abc import Mapping

import msgspec

from novapulse.core import errors
from novapulse.core.settings import Loaded
from supervisor.listeners import bind_tcp, systemd_listeners


class AddressTaken(errors.Unavailable):
    """Somebody else listens where we are told to."""

    code = "address_taken"
    title = "The address is taken"

    def __init__(self, detail: str, *, where: str, hint: str) -> None:
        super().__init__(detail)
        self.where = where
        self.hint = hint


def bind_address(loaded: Loaded) -> socket.socket:
    """Listen on `server.listen`.

    Raises:
        AddressTaken: that can not be done.
    """
    address = loaded.settings.server.address
    try:
        return bind_tcp(address.host, address.port)
    except OSError as error:
        raise AddressTaken(
            f"Can not listen on {loaded.settings.server.listen} "
            f"(port {address.port}): {error.strerror or error}",
            where=loaded.origins["server.listen"],
            hint=f"`ss -ltnp 'sport = :{address.port}'` says who does; or choose another port",
        ) from error


def find_inherited(environ: Mapping[str, str] = os.environ) -> socket.socket | None:
    """The socket of a systemd socket unit, which then decides about the address."""
    inherited = list(systemd_listeners(environ).values())
    for surplus in inherited[1:]:
        surplus.close()
    return inherited[0] if inherited else None


def with_address(loaded: Loaded, listener: socket.socket | None) -> Loaded:
    """The settings with the address that was really bound: port 0 has become a number."""
    if listener is None or listener.family not in (socket.AF_INET, socket.AF_INET6):
        return loaded
    host, port = listener.getsockname()[:2]
    listen = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    server = msgspec.structs.replace(loaded.settings.server, listen=listen)
    settings = msgspec.structs.replace(loaded.settings, server=server)
    return msgspec.structs.replace(loaded, settings=settings)
