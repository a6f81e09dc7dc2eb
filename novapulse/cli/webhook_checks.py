"""`novapulse webhook verify` and `listen`: the receiver's end, without an installation."""

import json
import os
import signal
import sys
import time
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any, NoReturn

import click

from novapulse.cli.listing import as_json_option, print_document
from novapulse.cli.talk import say, talk_options

if TYPE_CHECKING:
    from novapulse.cli.webhook_receiver import Arrival

SECRET_VARIABLE = "WEBHOOK_SECRET"  # noqa: S105  # the name of a variable
_secret_option = click.option(
    "--secret-file",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help=f"The signing secrets, one a line; otherwise they are in ${SECRET_VARIABLE}.",
)


@click.command()
@click.argument("file", type=click.Path(allow_dash=True, dir_okay=False), default="-")
@_secret_option
@click.option(
    *("-H", "--header", "given"),
    multiple=True,
    metavar="NAME: VALUE",
    help="A header of the request; FILE then holds nothing but the body.",
)
@click.option("--any-age", is_flag=True, help="Do not mind when it was sent.")
@as_json_option
@talk_options
def verify(
    file: str, *, secret_file: Path | None, given: tuple[str, ...], any_age: bool, as_json: bool
) -> None:
    """Say whether a request was signed by us: exit 0 when it was, 1 when not.

    FILE (or stdin) has header lines, an empty line and the body, as `webhook listen --save`
    keeps them.
    """
    from novapulse.subscriptions import verifying
    from novapulse.subscriptions.verifying import Verdict

    secrets = _secrets(secret_file)
    if not secrets:
        raise click.UsageError(f"name a --secret-file, or set ${SECRET_VARIABLE}")
    content = _read(file)
    lines, body = (list(given), content) if given else _parts(content)
    tolerance = None if any_age else verifying.TOLERANCE_SECONDS
    verdict = verifying.verify(
        secrets, _headers(lines), body=body, now=time.time(), tolerance_seconds=tolerance
    )
    is_good = verdict is Verdict.GOOD
    if as_json:
        print_document({"ok": is_good, "verdict": str(verdict)})
    else:
        click.echo(_EXPLAINED[str(verdict)])
    sys.exit(0 if is_good else 1)


_EXPLAINED = {
    "good": "good: signed by this secret, just now",
    "stale": "stale: signed by this secret, but more than five minutes from now",
    "wrong": "wrong: another secret, or the body or a header was changed",
    "unsigned": "unsigned: neither X-NovaPulse-Signature nor webhook-signature is there",
}


@click.command()
@click.option("--host", default="127.0.0.1", show_default=True, help="Where to listen.")
@click.option(
    "--port",
    type=click.IntRange(0, 65_535),
    default=0,
    help="On which port; 0 lets the system choose.",
)
@_secret_option
@click.option(
    "--status",
    type=click.IntRange(200, 599),
    default=204,
    show_default=True,
    help="What to answer what verifies.",
)
@click.option("--count", type=click.IntRange(1), help="End after so many requests.")
@click.option("--seconds", type=click.FloatRange(0), help="End after that time.")
@click.option(
    "--save",
    type=click.Path(file_okay=False, path_type=Path),
    help="Keep each request in a file of this directory.",
)
@click.option("--body", "shows_body", is_flag=True, help="Also print the bodies.")
@click.option("--json", "as_json", is_flag=True, help="One JSON document a line, for scripts.")
@talk_options
def listen(
    *,
    host: str,
    port: int,
    secret_file: Path | None,
    status: int,
    save: Path | None,
    shows_body: bool,
    as_json: bool,
    **ends: Any,
) -> None:
    """Be a receiver: answer webhooks, verify them and say what came.

    Without a secret nothing is verified. What does not verify is answered with 401. With --count
    the exit code is 0 when so many came and all of them verified, otherwise 1.
    """
    from novapulse.cli.webhook_receiver import Listening, Receiver

    if save is not None:
        save.mkdir(mode=0o700, parents=True, exist_ok=True)
    secrets = _secrets(secret_file)

    def tell(arrival: "Arrival") -> None:
        text = json.dumps(_facts(arrival)) if as_json else _line(arrival, shows_body=shows_body)
        click.echo(text)

    listening = Listening(secrets, status, tell, save)
    try:
        receiver = Receiver(host, port, listening)
    except OSError as error:
        raise CanNotListen(f"can not listen at {host}:{port}: {error.strerror or error}") from error
    with receiver:
        if as_json:
            click.echo(json.dumps({"schema": 1, "listening": receiver.url}))
        say(f"listening at {receiver.url}")
        signal.signal(signal.SIGTERM, _leave)
        receiver.serve(**ends)
    count = ends["count"]
    is_bad = any(verdict not in (None, "good") for verdict in listening.arrived)
    sys.exit(1 if is_bad or (count is not None and len(listening.arrived) < count) else 0)


class CanNotListen(click.ClickException):
    exit_code = 69


def _leave(_number: int, _frame: FrameType | None) -> NoReturn:
    sys.exit(0)


def _secrets(file: Path | None) -> list[str]:
    from novapulse.subscriptions import signing

    text = file.read_text() if file is not None else os.environ.get(SECRET_VARIABLE, "")
    found = text.split()
    for secret in found:
        try:
            signing.sign([secret], event_id="", timestamp=0, body=b"")
        except ValueError as error:
            raise click.UsageError(str(error)) from error
    return found


def _read(file: str) -> bytes:
    return sys.stdin.buffer.read() if file == "-" else Path(file).read_bytes()


def _parts(content: bytes) -> tuple[list[str], bytes]:
    """Header lines and body of a whole request; its request line may be there, too."""
    for gap in (b"\r\n\r\n", b"\n\n"):
        head, found, body = content.partition(gap)
        if found:
            return head.decode("latin-1").splitlines(), body
    raise click.UsageError("there is no empty line between headers and body; or use --header")


def _headers(lines: list[str]) -> dict[str, str]:
    pairs = (line.partition(":") for line in lines)
    return {name.strip().lower(): value.strip() for name, colon, value in pairs if colon}


def _facts(arrival: "Arrival") -> dict[str, Any]:
    return {
        "schema": 1,
        "at": arrival.at,
        "path": arrival.path,
        "verdict": arrival.verdict,
        "headers": arrival.headers,
        "body": arrival.body.decode("utf-8", "replace"),
    }


def _line(arrival: "Arrival", *, shows_body: bool) -> str:
    """What came, in one line; nothing in it that a terminal would obey."""
    headers = arrival.headers
    names = ("x-novapulse-event", "webhook-id", "x-novapulse-delivery", "x-novapulse-attempt")
    event, event_id, delivery, attempt = (headers.get(name, "-") for name in names)
    when = time.strftime("%H:%M:%S", time.localtime(arrival.at))
    verdict = arrival.verdict or "not verified"
    line = f"{when}  {verdict}  {event}  {event_id}  {delivery}  attempt {attempt}"
    if shows_body:
        line += "\n" + arrival.body.decode("utf-8", "replace")
    return "".join(one if one.isprintable() or one == "\n" else "�" for one in line)
