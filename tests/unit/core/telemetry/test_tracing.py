"""Traces that nobody wants cost nothing; where spans go."""

import subprocess
import sys

import pytest

from novapulse.core.settings.tracing import Tracing
from novapulse.core.telemetry import tracing
from novapulse.core.telemetry.otlp import address_of


def test_without_a_collector_opentelemetry_is_not_even_loaded():
    code = (
        "import sys, novapulse.processes.api, novapulse.processes.consumer\n"
        "from novapulse.core.settings import Settings\n"
        "from novapulse.core.telemetry import tracing\n"
        "tracing.configure(Settings().tracing, process='x')\n"
        "print(*(name for name in sys.modules if 'opentelemetry' in name or name == 'requests'))"
    )
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert said.stdout.strip() == ""


def test_without_a_collector_there_is_no_span_and_nothing_travels():
    assert (
        tracing.enter_request({b"traceparent": b"00-" + b"a" * 32 + b"-" + b"b" * 16 + b"-01"})
        is None
    )
    with tracing.span("x") as span:
        assert span is None
    assert tracing.traceparent() is None
    tracing.shut_down()


@pytest.mark.parametrize("endpoint", ["http://c:4318", "http://c:4318/", "http://c:4318/v1/traces"])
def test_a_collector_is_named_with_or_without_its_path(endpoint: str):
    assert address_of(endpoint) == "http://c:4318/v1/traces"


def test_a_collector_that_hangs_holds_no_exit_up(monkeypatch: pytest.MonkeyPatch):
    class Hanging:
        def close(self, seconds: float) -> None:
            assert seconds < 1

    monkeypatch.setattr(tracing._switch, "backend", Hanging())
    tracing.shut_down()
    assert tracing.traceparent() is None
    assert Tracing().endpoint == ""
