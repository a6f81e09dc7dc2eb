from dataclasses import replace

import pytest

from supervisor.spec import ExitReadiness, ProcessSpec, check_specs


def make(
    name: str, *, role: str = "", needs: tuple[str, ...] = (), sockets: tuple[str, ...] = ()
) -> ProcessSpec:
    return ProcessSpec(
        name=name,
        role=role or name,
        argv=("x",),
        env={},
        readiness=ExitReadiness(),
        needs=frozenset(needs),
        sockets=sockets,
    )


def test_processes_that_fit_together_are_accepted():
    api = [make(f"api-{n}", role="api", needs=("redis",), sockets=("http",)) for n in (1, 2)]
    check_specs([make("redis"), *api], {"http"})


@pytest.mark.parametrize(
    ("specs", "complaint"),
    [
        ([], "at least one"),
        ([make("a"), make("a")], "unique"),
        ([make("a", needs=("redis",))], "a needs the role redis"),
        ([make("a", sockets=("http",))], "a needs the listener http"),
        ([replace(make("a"), fork_server="b")], "a is forked from the role b"),
        ([make("a", needs=("b",)), make("b", needs=("a",))], "circle"),
        ([make("a", needs=("a",))], "circle"),
    ],
)
def test_processes_that_could_never_start_are_refused(specs: list[ProcessSpec], complaint: str):
    with pytest.raises(ValueError, match=complaint):
        check_specs(specs, set())
