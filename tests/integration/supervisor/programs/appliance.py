"""A program under supervision, as the tests start it: `appliance.py DIRECTORY < description`.

The description is JSON: `processes`, each with the fields of its spec, and `listeners`.
"""

import json
import sys
from pathlib import Path

from supervisor import listeners as sockets
from supervisor.control import ControlError
from supervisor.headstart import HeadStart
from supervisor.lock import AlreadyRunning, InstanceLock
from supervisor.loop import Program, Supervisor
from supervisor.operations import Plan
from supervisor.sinks import FileSink, LogSink, StreamSink
from supervisor.spec import (
    Drain,
    ExitReadiness,
    MessageReadiness,
    Probe,
    ProbeReadiness,
    ProcessSpec,
    RestartPolicy,
    StopPolicy,
)
from supervisor.steps import AddStep, RemoveStep, RollStep, TellStep


def is_pong(reply: bytes) -> bool | None:
    return reply == b"PONG\n" if reply.endswith(b"\n") else None


def read_readiness(given):
    kind = given.pop("kind")
    if kind == "exit":
        return ExitReadiness()
    if kind == "message":
        return MessageReadiness(**{"start_timeout_seconds": 20, **given})
    probe = Probe(path=Path(given.pop("path")), request=b"PING\n", verdict=is_pong)
    return ProbeReadiness(probe=probe, **{"start_timeout_seconds": 20, **given})


def read_spec(given):
    restart = given.pop("restart", {})
    codes = restart.pop("fatal_first_exit_codes", (78,))
    return ProcessSpec(
        name=given.pop("name"),
        readiness=read_readiness(given.pop("readiness")),
        needs=frozenset(given.pop("needs", ())),
        argv=tuple(given.pop("argv")),
        sockets=tuple(given.pop("sockets", ())),
        drain=Drain[given.pop("drain", "SERVE_ON")],
        stop=StopPolicy(**given.pop("stop", {})),
        restart=RestartPolicy(fatal_first_exit_codes=frozenset(codes), **restart),
        **given,
    )


def plans(directory: Path):
    """`reload` reads a new table from a file; `tell` passes a message on."""

    def reload(_request):
        try:
            new = json.loads((directory / "table.json").read_text())
        except (OSError, ValueError) as error:
            raise ControlError(f"the table can not be read: {error}", code="broken") from error
        specs = {one["name"]: read_spec(one) for one in new["processes"]}
        known = new["known"]
        steps = [RollStep(name, specs[name]) for name in known if name in specs]
        steps += [AddStep(specs[n], i) for i, n in enumerate(specs) if n not in known]
        steps += [RemoveStep(name) for name in known if name not in specs]
        marks = ("commit", "abort", "keep", "close")
        done = {mark: (directory / f"reload-{mark}").touch for mark in marks}
        return Plan(steps=steps, summary={"processes": len(specs)}, **done)

    def tell(request):
        return Plan(steps=[TellStep(dict(request["message"]))])

    return {"reload": reload, "tell": tell}


def main() -> int:
    directory = Path(sys.argv[1])
    description = json.load(sys.stdin)
    log: LogSink = StreamSink()
    if "log_bytes" in description:
        log = FileSink(directory, max_bytes=description["log_bytes"], keep=2)
    listeners = {name: sockets.bind_tcp("127.0.0.1", 0) for name in description["listeners"]}
    for name, listener in listeners.items():
        (directory / f"{name}.port").write_text(str(listener.getsockname()[1]))
    head_start = None
    if "head_start" in description:
        begun = description["head_start"]
        head_start = HeadStart(begun["name"], argv=tuple(begun["argv"]), env=begun["env"])
        (directory / "begun").write_text(str(head_start.pid))
    supervisor = Supervisor(
        [read_spec(given) for given in description["processes"]],
        listeners=listeners,
        control_path=directory / "control.sock",
        lock=InstanceLock(directory / "lock"),
        log=log,
        program=Program(
            on_ready=(directory / "was-ready").touch,
            planners=plans(directory) if description.get("reloads") else {},
        ),
        head_start=head_start,
    )
    try:
        return supervisor.run()
    except AlreadyRunning as error:
        sys.stderr.write(f"{error}\n")
        return 75
    finally:
        for listener in listeners.values():
            listener.close()


sys.exit(main())
