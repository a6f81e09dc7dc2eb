"""The children of the tests: `child.py MODE [ARGUMENT...]`, one function a mode."""

import asyncio
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from supervisor import forkserver
from supervisor.child import Link, attend
from supervisor.headstart import follow_parent


async def serve(
    *, is_deaf: bool = False, drain_seconds: float = 0.0, notes: Path | None = None
) -> None:
    """Ready at once; answers each connection on `http` with its instance, ends on SIGTERM.

    Messages go into the file `notes`; `fail` in one leaves it unconfirmed.
    """
    link = Link.from_environ()
    assert link is not None
    loop = asyncio.get_running_loop()
    stopped = asyncio.Event()
    loop.add_signal_handler(signal.SIGTERM, (lambda: None) if is_deaf else stopped.set)

    async def answer(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(link.instance.encode())
        writer.close()
        await writer.wait_closed()

    def note(message: dict[str, object]) -> None:
        if message.get("wish"):
            link.ask_replacement("tired")
        assert notes is not None
        assert not message.get("fail")
        with notes.open("a") as file:
            file.write(json.dumps({**message, "instance": link.instance}) + "\n")

    servers = [await asyncio.start_server(answer, sock=one) for one in link.listeners.values()]
    link.ready()
    watch = asyncio.create_task(attend(link, on_gone=stopped.set, on_message=note))
    await stopped.wait()
    for server in servers:
        server.close()
    await asyncio.sleep(drain_seconds)
    watch.cancel()
    link.close()


def serve_unless(path: str, how: str = "exit") -> None:
    """Serves; while `path` is there a new one exits, or never gets ready."""
    if Path(path).exists():
        if how == "exit":
            os._exit(1)
        time.sleep(300)
    asyncio.run(serve(drain_seconds=0.1))


def exit_with(code: str, seconds: str = "0") -> None:
    time.sleep(float(seconds))
    sys.stdout.write(f"leaving with {code}\n")
    sys.stdout.flush()
    os._exit(int(code))


def exit_without(path: str) -> None:
    """A user of a store: serves while `path` is there, exits with 69 when it is not."""
    link = Link.from_environ()
    assert link is not None
    if not Path(path).exists():
        os._exit(69)
    link.ready()
    while Path(path).exists():
        link.beat()
        time.sleep(0.02)
    os._exit(69)


def store(path: str, reply: str = "PONG") -> None:
    """A foreign server on a unix socket, which answers every line with `reply`."""
    Path(path).unlink(missing_ok=True)
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(path)
    listener.listen(8)
    while True:
        connection, _ = listener.accept()
        while connection.recv(100):
            connection.sendall(reply.encode() + b"\n")


def fail_once(path: str) -> None:
    """A one-shot that succeeds the second time."""
    if not Path(path).exists():
        Path(path).touch()
        os._exit(1)


def stubborn_family(path: str) -> None:
    """Children in our group, in a group and in a session of their own; all ignore signals."""
    link = Link.from_environ()
    assert link is not None
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    sleep = ("sleep", "300")
    kin = [
        subprocess.Popen(sleep),
        subprocess.Popen(sleep, process_group=0),
        subprocess.Popen(sleep, start_new_session=True),
    ]
    Path(path).write_text(json.dumps([os.getpid(), *(one.pid for one in kin)]))
    link.ready()
    while True:
        link.beat()
        time.sleep(0.1)


def leave_orphans(path: str) -> None:
    """Exits 0 at once; one orphan ends soon after, one stays in a session of its own."""
    lasting = subprocess.Popen(("sleep", "300"), start_new_session=True)
    short = subprocess.Popen(("sleep", "0.2"), start_new_session=True)
    Path(path).write_text(json.dumps([lasting.pid, short.pid]))
    os._exit(0)


def look_around(path: str) -> None:
    """Writes down what it inherited."""
    status = Path("/proc/self/status").read_text().splitlines()
    fields = dict(line.split(":\t", 1) for line in status if ":\t" in line)
    seen = {
        "environ": dict(os.environ),
        # The list is whole before the check, so it lacks what the listing itself had open.
        "fds": sorted(int(fd.name) for fd in list(Path("/proc/self/fd").iterdir()) if fd.exists()),
        "blocked": int(fields["SigBlk"], 16),
        "ignored": int(fields["SigIgn"], 16),
        "session": os.getsid(0),
        "group": os.getpgid(0),
        "pid": os.getpid(),
        "cwd": str(Path.cwd()),
    }
    Path(path).write_text(json.dumps(seen))


def shout(megabytes: str) -> None:
    """Writes much more than any pipe holds, and only then is ready."""
    link = Link.from_environ()
    assert link is not None
    line = b"x" * 1023 + b"\n"
    for _ in range(int(megabytes)):
        sys.stdout.buffer.write(line * 1024)
    sys.stdout.flush()
    link.ready()
    while True:
        link.beat()
        time.sleep(0.1)


def fork_server(broken: str = "", hung: str = "", offered: str = "") -> None:
    """Is forked into the other modes; fails or takes for ever to load while a file is there.

    For the role `offered` it has loaded enough.
    """
    link = Link.from_environ()
    assert link is not None
    if broken and Path(broken).exists():
        sys.exit("can not be loaded")

    def rest() -> Iterator[None]:
        while hung and Path(hung).exists():
            time.sleep(0.02)
            yield

    argv = forkserver.serve(link, offers=[offered] if offered else [], rest=rest())
    if argv is not None:
        os.environ["FORKED"] = "yes"
        run(*argv[2:])


def run(mode: str, *arguments: str) -> None:
    match mode:
        case "serve":
            asyncio.run(serve(drain_seconds=float(arguments[0]) if arguments else 0.0))
        case "note":
            asyncio.run(serve(notes=Path(arguments[0])))
        case "deaf":
            asyncio.run(serve(is_deaf=True))
        case _:
            globals()[mode](*arguments)


follow_parent()
run(*sys.argv[1:])
