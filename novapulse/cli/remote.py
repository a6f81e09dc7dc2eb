"""Asking the running appliance, and its refusals as errors of ours."""

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from novapulse.cli.options import Location
from novapulse.core.errors import Error, Unavailable

if TYPE_CHECKING:
    from supervisor.control import ControlClient, ControlError

_NO = 1
_NO_SUCH_THING = 66
_LATER = 75
_SPOKEN = frozenset({"code", "title", "exit", "where", "hint", "problems"})


class NotRunning(Unavailable):
    """Nobody answers on the control socket."""

    code = "not_running"
    title = "NovaPulse is not running"

    def __init__(self, detail: str, location: Location) -> None:
        super().__init__(detail)
        self.where = str(location.paths().run)
        self.hint = (
            f"novapulse run --root {location.root} starts it"
            if location.root
            else "systemctl start novapulse; journalctl -u novapulse -e says why it ended"
        )


class Refused(Error):
    """The appliance did not do what was asked; `facts` are what it says about that."""

    title = "The appliance refused"

    def __init__(self, detail: str, facts: Mapping[str, Any]) -> None:
        super().__init__(detail)
        self.where = str(facts.get("where", ""))
        self.hint = str(facts.get("hint", ""))
        self.problems = facts.get("problems", ())
        self.exit_code = int(facts.get("exit", _NO))
        self.facts = {name: value for name, value in facts.items() if name not in _SPOKEN}
        self.facts["code"] = facts.get("code", "failed")
        if "title" in facts:
            self.facts["title"] = facts["title"]


def control_client(location: Location) -> "ControlClient":
    from novapulse.processes import places
    from supervisor.control import ControlClient

    return ControlClient(places.control_socket(location.paths().run))


def ask(
    location: Location, verb: str, *, progress: Callable[[str], None], **arguments: object
) -> dict[str, Any]:
    """Have the appliance do something, however long it takes.

    Raises:
        NotRunning: there is none.
        Refused: it said no, or it did not work out and was taken back.
    """
    from supervisor import control

    try:
        return control_client(location).follow(verb, progress=progress, **arguments)
    except control.NotRunning as error:
        raise NotRunning(f"NovaPulse is not running here: {error}", location) from error
    except control.ControlError as error:
        raise _refusal(error) from error


def _refusal(error: "ControlError") -> Refused:
    facts = dict(error.facts)
    if facts.get("code") == "not_found":
        facts.setdefault("exit", _NO_SUCH_THING)
    elif "stopping" in str(error) or "try again later" in str(error):
        facts.setdefault("exit", _LATER)
    elif "done" in facts and not facts.get("hint"):
        taken_back = "; all was taken back" if facts.get("undone") else ""
        facts["hint"] = f"the old ones serve on{taken_back}; novapulse logs says more"
    return Refused(str(error), facts)
