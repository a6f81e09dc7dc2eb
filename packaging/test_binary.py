"""Run the end-to-end tests against the built program, on a machine that gives it little.

    python packaging/test_binary.py [pytest's arguments]

The program finds no Python on its PATH and, where this is run by root, a /tmp that
executes nothing. Which of the two holds is said on stderr.
"""

import os
import shutil
import subprocess
import sys
from pathlib import Path

CHECKOUT = Path(__file__).resolve().parent.parent
PROGRAM = CHECKOUT / ".build" / "tree" / "novapulse"
# The checkout has to run, wherever it is: the tests' own Python is in it.
_NO_EXEC = """\
mount --bind /tmp /tmp && mount -o remount,bind,noexec,nosuid /tmp &&
mount --bind "$1" "$1" && mount -o remount,bind,exec "$1" && cd "$1" && shift && exec "$@"
"""
_UNSHARE = ("unshare", "--mount", "--propagation", "private", "sh", "-c", _NO_EXEC, "sh")


def main() -> None:
    if not PROGRAM.is_file():
        sys.exit(f"{PROGRAM} is not there: make build")
    tests = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider"]
    # Some tests write small programs, which have to run.
    tests += ["--basetemp", str(CHECKOUT / ".build" / "scratch")]
    tests += sys.argv[1:] or ["tests/e2e"]
    environment = {
        **os.environ,
        "NOVAPULSE_PROGRAM": str(PROGRAM),
        "NOVAPULSE_PROGRAM_PATH": str(path_without_python(CHECKOUT / ".build" / "path")),
    }
    command = [*_UNSHARE, str(CHECKOUT), *tests] if can_mount() else tests
    told = "executes nothing" if can_mount() else "EXECUTES, as only root can change it"
    say(f"the directory for temporary files {told}")
    os.chdir(CHECKOUT)
    os.execvpe(command[0], command, environment)  # noqa: S606  # no shell wanted


def path_without_python(directory: Path) -> Path:
    """A directory with links to all that is on PATH, but for interpreters and the two stores."""
    shutil.rmtree(directory, ignore_errors=True)
    directory.mkdir(parents=True)
    unwanted = ("python", "pip", "pypy", "mongod", "redis-server")
    for place in os.environ["PATH"].split(os.pathsep):
        programs = Path(place).iterdir() if Path(place).is_dir() else ()
        for program in programs:
            link = directory / program.name
            if not program.name.startswith(unwanted) and not link.is_symlink():
                link.symlink_to(program.absolute())
    say(f"no Python on the program's PATH ({directory})")
    return directory


def can_mount() -> bool:
    if os.geteuid() != 0 or shutil.which("unshare") is None:
        return False
    done = subprocess.run([*_UNSHARE, str(CHECKOUT), "true"], capture_output=True, check=False)
    return done.returncode == 0


def say(text: str) -> None:
    print(f"test_binary: {text}", file=sys.stderr)


if __name__ == "__main__":
    main()
