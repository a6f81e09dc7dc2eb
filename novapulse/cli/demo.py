"""`novapulse demo`."""

import os
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from novapulse.cli.options import Location, location_options
from novapulse.cli.talk import say
from novapulse.cli.webhook_checks import SECRET_VARIABLE

if TYPE_CHECKING:
    from novapulse.core.context import Context
    from novapulse.processes.demo import Demo

_READY_SECONDS = 60.0
_PAUSE_SECONDS = 1.0
_LOOPBACK = "127.0.0.1/32"
_CONFIG = f"""\
# Written by `novapulse demo`: its receiver listens on this machine.
[webhooks]
allow_networks = ["{_LOOPBACK}"]
"""
Start = Callable[..., subprocess.Popen[bytes]]


class NotReady(click.ClickException):
    exit_code = 69

    def __init__(self, detail: str, output: Path) -> None:
        super().__init__(f"{detail}; its last words are in {output}")


@click.command()
@click.option("--listen", metavar="HOST:PORT", help="Listen there instead of [server] listen.")
@click.option("--seconds", type=click.FloatRange(1), help="End after that time, not at Ctrl-C.")
@location_options
def demo(location: Location, listen: str | None, seconds: float | None) -> None:
    """Fill a new company with people, projects and tasks, and keep it at work.

    Starts NovaPulse first where it does not run, and stops it again. A receiver of its own shows
    the webhooks that arrive. The company stays; every demo makes another one.
    """
    with ExitStack() as stack:

        def start(*words: str, **streams: Any) -> subprocess.Popen[bytes]:
            return stack.enter_context(_child(*words, **streams))

        try:
            _prepare(location)
            if not _is_running(location):
                _run(location, listen, start)
            url = _url(location)
            until = None if seconds is None else time.monotonic() + seconds
            _play(location, start, url=url, until=until)
        except KeyboardInterrupt:  # that is how one leaves
            say("")
    say("The demo is over. What it made is still there.")


def _prepare(location: Location) -> None:
    """A first configuration that lets us call ourselves; one that is there has to allow it."""
    from ipaddress import IPv4Network, ip_network

    from novapulse.core.errors import ConfigurationInvalid

    file = location.paths().config_file
    if not file.exists() and location.root is not None:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(_CONFIG)
        say(f"wrote {file}")
    settings = location.load().settings
    allowed = [ip_network(network) for network in settings.webhooks.allow_networks]
    needed = IPv4Network(_LOOPBACK)
    if not any(isinstance(one, IPv4Network) and needed.subnet_of(one) for one in allowed):
        raise ConfigurationInvalid(
            "Webhooks may not call this machine, where the demo's receiver listens",
            where=f"{file}, webhooks.allow_networks",
            hint=f'add "{_LOOPBACK}" to it for the demo, or give the demo a --root of its own',
        )


def _is_running(location: Location) -> bool:
    from novapulse.cli.remote import control_client
    from supervisor.control import ControlError

    try:
        return bool(control_client(location).status())
    except ControlError:
        return False


def _run(location: Location, listen: str | None, start: Start) -> None:
    """Our own appliance, until the demo ends."""
    flags = _flags(location)
    output = location.paths().log / "demo.txt"
    output.parent.mkdir(parents=True, exist_ok=True)
    say(f"starting NovaPulse; what it says goes to {output}")
    with output.open("wb") as file:
        child = start(
            *("run", *flags, *(("--listen", listen) if listen else ())), stdout=file, stderr=file
        )
    _wait_until_ready(location, child, output)


def _wait_until_ready(location: Location, child: subprocess.Popen[bytes], output: Path) -> None:
    from novapulse.core.errors import Unavailable
    from novapulse.processes.status import read_status

    deadline = time.monotonic() + _READY_SECONDS
    while time.monotonic() < deadline and child.poll() is None:
        try:
            if read_status(location.paths())["state"] == "ready":
                return
        except Unavailable:
            pass  # it has not come so far
        time.sleep(0.2)
    raise NotReady("It did not get ready", output)


def _url(location: Location) -> str:
    from novapulse.processes.status import read_status

    return str(read_status(location.paths())["url"])


def _flags(location: Location) -> tuple[str, ...]:
    if location.root is not None:
        return ("--root", str(location.root))
    return ("--config", str(location.config)) if location.config is not None else ()


@contextmanager
def _child(*words: str, **options: Any) -> Iterator[subprocess.Popen[bytes]]:
    """Another of our own verbs, beyond the reach of a Ctrl-C; ended in order afterwards."""
    from novapulse.processes.starting import own_program

    with subprocess.Popen(own_program(*words), start_new_session=True, **options) as child:
        try:
            yield child
        finally:
            child.terminate()


def _play(location: Location, start: Start, *, url: str, until: float | None) -> None:
    import asyncio

    from novapulse.cli.session import with_context
    from novapulse.processes import demo
    from novapulse.processes.runtime import outbound_client

    async def play(ctx: "Context") -> None:
        client = outbound_client(location.load())
        ctx.runtime.add(client)
        try:
            made = await demo.furnish(ctx)
            await demo.connect(ctx, made, url=_listen(made, start))
            _introduce(location, made, url=url)
            work = demo.Work(ctx, made)
            while (until is None or time.monotonic() < until) and not _is_interrupted():
                click.echo(await work.go_on())
                await asyncio.sleep(_PAUSE_SECONDS)
        finally:
            await client.aclose()

    def _is_interrupted() -> bool:
        """Also by a Ctrl-C of which the task did not hear, as `core.tasks.run` tells."""
        task = asyncio.current_task()
        return task is not None and task.cancelling() > 0

    with_context(location, play)


def _listen(made: "Demo", start: Start) -> str:
    """The receiver, a process of its own; where it listens."""
    receiver = start(
        *("webhook", "listen"),
        env={**os.environ, SECRET_VARIABLE: made.webhook.secret},
        stderr=subprocess.PIPE,
    )
    if receiver.stderr is None:
        raise RuntimeError("it was started with a pipe")
    return receiver.stderr.readline().decode().removeprefix("listening at ").strip()


def _introduce(location: Location, made: "Demo", *, url: str) -> None:
    """Whom to sign in as, and where to look."""
    flags = " ".join(_flags(location))
    admin = made.people[0]
    say(
        f"""
{made.company_name} works from now on. Lines that begin with a time are webhooks that arrived.
Its administrator signs in at {url}/api/v1/docs
  e-mail address  {admin.email}
  password        {admin.password}
Look behind it from another terminal:
  novapulse status {flags}
  novapulse webhook deliveries {made.webhook.id} {flags}
  novapulse mail list {flags}
  novapulse logs -f {flags}
Ctrl-C ends the demo.
"""
    )
