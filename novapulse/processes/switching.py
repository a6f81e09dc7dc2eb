"""Putting another release in the place of the current one, and going back when that fails."""

import subprocess
from collections.abc import Callable
from pathlib import Path

from novapulse.core.errors import Conflict, Unavailable
from novapulse.processes.release import Release
from novapulse.processes.upgrade import Installation, run_program

Say = Callable[[str], None]

UNIT = "novapulse.service"
_START_IT = f"The service does not run; start it: systemctl start {UNIT}"


class CanNotGoBack(Conflict):
    """The former release is gone, or does not know the database any more."""

    title = "There is no way back by a rollback"

    def __init__(self, detail: str, *, hint: str) -> None:
        super().__init__(detail)
        self.hint = hint


class UpgradeFailed(Unavailable):
    """The new release did not become ready; `hint` says how things are now."""

    title = "The upgrade failed"

    def __init__(self, detail: str, *, hint: str) -> None:
        super().__init__(detail)
        self.hint = hint


def apply(new: Release, here: Installation, *, say: Say, config: Path | None = None) -> None:
    """Migrate, switch, restart; back to the current release when the new one does not come up.

    `config`: the configuration that was asked for by name.

    Raises:
        UpgradeFailed: the former release is in use again, unless the hint says otherwise.
    """
    say("Migrating the database …")
    named = () if config is None else ("--config", str(config))
    migrated = run_program(new, "migrate", "up", *named)
    if migrated.returncode != 0:
        raise UpgradeFailed(
            f"The database was not migrated: {migrated.stderr.strip()}",
            hint="nothing was switched; the running release is untouched",
        )
    version, former = new.facts().version, here.current.facts().version
    say(f"Installing {version} beside {former} …")
    was_running = _is_running()
    _install(new, here)
    if not was_running:
        say(_START_IT)
        return
    try:
        _restart(say)
    except UpgradeFailed as failed:
        say("It does not become ready; going back …")
        if new.facts().schema != here.current.facts().schema:
            failed.hint = "the schema has changed: restore the backup with the former release"
            raise
        failed.hint = f"{former} {_go_back(here, say)}; see journalctl -u {UNIT}"
        raise


def _go_back(here: Installation, say: Say) -> str:
    """The former release in its place again, and started; says how that went."""
    try:
        _install(here.current, here)
        _restart(say)
    except UpgradeFailed as failed:
        return f"does not run either ({failed.detail}): mend that, then systemctl restart {UNIT}"
    return "runs again"


def require_previous(here: Installation) -> Release:
    """The release that a rollback would go to.

    Raises:
        CanNotGoBack: there is none, or it is too old for the database.
    """
    previous = here.find_previous()
    if previous is None:
        raise CanNotGoBack("No former release is here", hint="install the older archive instead")
    now, then = here.current.facts(), previous.facts()
    if then.schema < now.schema:
        raise CanNotGoBack(
            f"{then.version} knows schema {then.schema}, the database has {now.schema}",
            hint="install the older archive, then: novapulse backup restore",
        )
    return previous


def roll_back(previous: Release, here: Installation, say: Say) -> None:
    """Raises UpgradeFailed when the former release does not become ready."""
    was_running = _is_running()
    _install(previous, here)
    if was_running:
        _restart(say)
    else:
        say(_START_IT)


def _install(release: Release, here: Installation) -> None:
    """By the release's own script, so that units and links are its own too."""
    script = str(release.directory / "install.sh")
    command = [script, "--prefix", str(here.prefix), "--no-restart"]
    done = subprocess.run(
        command, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False
    )
    if done.returncode != 0:
        said = done.stderr.strip()
        raise UpgradeFailed(
            f"{release.facts().version} was not installed: {said}",
            hint=f"{here.prefix}/current tells which release is in use",
        )


def _is_running() -> bool:
    """Whether the service is to run: one that starts over and over is, one that failed is not."""
    asked = _systemctl("show", "--property=ActiveState", "--value", UNIT)
    return asked.stdout.strip() in ("active", "activating", "reloading")


def _restart(say: Say) -> None:
    """Wait until the service is ready again, whatever became of it before."""
    say("Restarting …")
    done = _systemctl("restart", UNIT)
    if done.returncode != 0:
        raise UpgradeFailed(
            f"{UNIT} did not become ready: {done.stderr.strip()}", hint=f"journalctl -u {UNIT}"
        )


def _systemctl(*words: str) -> subprocess.CompletedProcess[str]:
    try:
        return subprocess.run(
            ["systemctl", *words],  # noqa: S607  # wherever the distribution has it
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )
    except OSError as error:  # a machine without systemd runs it in some other way
        return subprocess.CompletedProcess(words, 1, "", str(error))
