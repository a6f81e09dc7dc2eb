"""redis-server's configuration, start line and health question."""

import hashlib
import os
from pathlib import Path

from novapulse.core.secretfiles import read_secret_file
from novapulse.stores.aof import move_damaged_aof
from novapulse.stores.find import clean_environment
from novapulse.stores.layout import StoreLayout
from novapulse.stores.process import StoreProcess

REDIS_USER = "novapulse"
# Scripts, pub/sub and every data command, but nothing that stops, empties, copies or
# reconfigures the server. Older servers know `client` only as a whole, hence its list.
_RULES = "~* &* +@all -@admin -@dangerous +info +client|setname +client|getname +client|id"

_CONFIG = """\
# Written by novapulse at each start; changes are lost.
port 0
unixsocket {socket}
unixsocketperm 700
daemonize no
supervised no
logfile ""
dir {data}
dbfilename dump.rdb
save ""
appendonly yes
appendfsync everysec
aof-load-truncated yes
maxmemory {max_memory_bytes}
maxmemory-policy noeviction
hz 5
dynamic-hz yes
always-show-logo no
user default off resetpass resetkeys resetchannels -@all
user {user} on #{password_sha256} {rules}
"""


def redis_process(layout: StoreLayout, program: Path) -> StoreProcess:
    """A start from the configuration that `prepare_redis` wrote."""
    password = redis_password(layout)
    return StoreProcess(
        argv=(str(program), str(layout.redis_config)),
        env=clean_environment(),
        cwd=layout.redis_data,
        socket_path=layout.redis_socket,
        probe_request=f"AUTH {REDIS_USER} {password}\r\nPING\r\n".encode(),
        probe_verdict=judge_ping,
    )


def prepare_redis(
    layout: StoreLayout, program: Path, *, max_memory_mb: int = 256
) -> tuple[Path, ...]:
    """Write the configuration and move a damaged AOF aside; returns where that is now, if so.

    Belongs before every start: Redis refuses to start with an AOF that it can not
    read, and it holds nothing that is not in MongoDB too.
    """
    _write_private(layout.redis_config, _render(layout, max_memory_mb=max_memory_mb))
    return move_damaged_aof(layout, program)


def redis_password(layout: StoreLayout) -> str:
    return read_secret_file(layout.redis_password_file).decode().strip()


def judge_ping(answer: bytes) -> bool | None:
    """Whether both lines of the answer to AUTH and PING are there, and say that it serves.

    MISCONF (it can not write its disk) is an answer of a living server that still reads.
    """
    lines = answer.split(b"\r\n")
    if len(lines) < 3:
        return None
    return lines[0] == b"+OK" and (lines[1] == b"+PONG" or lines[1].startswith(b"-MISCONF"))


def _render(layout: StoreLayout, *, max_memory_mb: int) -> str:
    return _CONFIG.format(
        socket=_quoted(layout.redis_socket),
        data=_quoted(layout.redis_data),
        max_memory_bytes=max_memory_mb << 20,
        user=REDIS_USER,
        password_sha256=hashlib.sha256(redis_password(layout).encode()).hexdigest(),
        rules=_RULES,
    )


def _quoted(path: Path) -> str:
    return '"' + str(path).replace("\\", "\\\\").replace('"', '\\"') + '"'


def _write_private(path: Path, text: str) -> None:
    partial = path.with_name(f".{path.name}.{os.getpid()}")
    partial.unlink(missing_ok=True)
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
    with open(os.open(partial, flags, 0o600), "w", encoding="utf-8") as file:
        file.write(text)
    partial.replace(path)
