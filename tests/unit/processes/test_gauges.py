from pathlib import Path

from prometheus_client.parser import text_string_to_metric_families

from novapulse.processes.gauges import Gauges


def samples(path: Path) -> dict[tuple[str, ...], float]:
    families = text_string_to_metric_families(path.read_text())
    return {
        (one.name, *one.labels.values()): one.value for family in families for one in family.samples
    }


def test_states_restarts_and_the_last_reload_are_valid_prometheus_text(tmp_path: Path):
    path = tmp_path / "supervisor.prom"
    gauges = Gauges(path)
    row = {"name": "api-1", "part": "serving", "state": "ready", "restarts": 2}
    gauges.update({"processes": [row, {**row, "part": "rising", "state": "starting"}]})
    found = samples(path)
    assert found["novapulse_process_state", "api-1", "ready"] == 1
    assert found["novapulse_process_state", "api-1", "starting"] == 0
    assert found["novapulse_process_restarts_total", "api-1"] == 2
    assert found["novapulse_config_last_reload_successful",] == 1
    gauges.reloaded(well=False)
    assert samples(path)["novapulse_config_last_reload_successful",] == 0


def test_a_file_that_can_not_be_written_is_no_error(tmp_path: Path):
    gauges = Gauges(tmp_path / "missing" / "supervisor.prom")
    gauges.update({"processes": []})
    gauges.reloaded(well=True)
