"""Listening sockets that the supervisor opens once and its children inherit.

They stay open while children come and go, so no connection is refused in between.
"""

import os
import socket
from collections.abc import Mapping
from pathlib import Path

_FIRST_SYSTEMD_FD = 3


def bind_tcp(host: str, port: int, *, backlog: int = 1024) -> socket.socket:
    """Listen on a numeric address or a local name; port 0 asks the kernel for one.

    Without SO_REUSEPORT: a port that somebody else holds is an OSError here.
    """
    family, kind, protocol, _name, address = socket.getaddrinfo(
        host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
    )[0]
    listener = socket.socket(family, kind, protocol)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, int(host != "::"))
        listener.bind(address)
        listener.listen(backlog)
        listener.setblocking(False)
    except BaseException:
        listener.close()
        raise
    return listener


def bind_unix(path: Path, *, mode: int = 0o600, backlog: int = 1024) -> socket.socket:
    """Listen on a unix socket, replacing a file that a former run left there.

    Only for paths that the instance lock makes ours; at most 107 bytes long.
    """
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        path.unlink(missing_ok=True)
        # Never reachable with more rights than `mode`, not even for a moment.
        umask = os.umask(0o777 & ~mode)
        try:
            listener.bind(os.fspath(path))
        finally:
            os.umask(umask)
        listener.listen(backlog)
        listener.setblocking(False)
    except BaseException:
        listener.close()
        raise
    return listener


def systemd_listeners(environ: Mapping[str, str] = os.environ) -> dict[str, socket.socket]:
    """Sockets of a systemd socket unit, by FileDescriptorName= (sd_listen_fds(3))."""
    if environ.get("LISTEN_PID") != str(os.getpid()):
        return {}
    count = int(environ.get("LISTEN_FDS", "0"))
    names = environ.get("LISTEN_FDNAMES", "").split(":")
    listeners: dict[str, socket.socket] = {}
    for index in range(count):
        fd = _FIRST_SYSTEMD_FD + index
        os.set_inheritable(fd, False)
        name = names[index] if index < len(names) and names[index] else "listener"
        if name in listeners:  # one socket unit may listen on several addresses
            name = f"{name}-{index}"
        listeners[name] = socket.socket(fileno=fd)
        listeners[name].setblocking(False)
    return listeners
