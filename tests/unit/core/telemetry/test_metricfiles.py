"""Counters of processes that ended go on counting, each once; what they were is gone."""

import json
from pathlib import Path

from prometheus_client.mmap_dict import MmapedDict, mmap_key

from novapulse.core.telemetry import metricfiles, scrape


def write(directory: Path, file: str, name: str, value: float, **labels: str) -> None:
    family = name.removesuffix("_total").partition("_bucket")[0]
    values = MmapedDict(str(directory / f"{file}.db"))
    try:
        key = mmap_key(family, name, list(labels), list(labels.values()), "Some help.")
        values.write_value(key, value, 1.0)
    finally:
        values.close()


def numbers(directory: Path) -> dict[str, float]:
    """Name and label values to number."""
    return {
        " ".join((one.name, *(value for _, value in one.labels))): one.value
        for one in scrape.samples(directory)
    }


def test_processes_are_added_up_and_gauges_merged_as_they_want(tmp_path: Path):
    write(tmp_path, "counter_api-1.a", "x_total", 2, route="/a")
    write(tmp_path, "counter_api-2.b", "x_total", 3, route="/a")
    for number, instance in enumerate(("api-1.a", "api-2.b")):
        write(tmp_path, f"gauge_livemin_{instance}", "low", number)
        write(tmp_path, f"gauge_livemax_{instance}", "high", number)
        write(tmp_path, f"gauge_livesum_{instance}", "all", number + 1)
    assert numbers(tmp_path) == {"x_total /a": 5, "low": 0, "high": 1, "all": 3}


def test_an_ended_process_leaves_its_counts_and_nothing_else(tmp_path: Path):
    write(tmp_path, "counter_api-1.a", "x_total", 2)
    write(tmp_path, "histogram_api-1.a", "y_bucket", 4, le="1.0")
    write(tmp_path, "gauge_livesum_api-1.a", "in_use", 7)
    write(tmp_path, "counter_api-2.b", "x_total", 3)
    metricfiles.fold(tmp_path, ["api-1.a"])
    metricfiles.fold(tmp_path, ["api-1.a"])
    assert sorted(path.name for path in tmp_path.glob("*.db")) == ["counter_api-2.b.db"]
    found = numbers(tmp_path)
    assert found["x_total"] == 5
    assert "in_use" not in found
    write(tmp_path, "counter_api-1.c", "x_total", 1)
    metricfiles.fold(tmp_path, ["api-1.c"])
    assert numbers(tmp_path)["x_total"] == 6


def test_a_fold_that_was_cut_off_counts_nothing_twice(tmp_path: Path):
    write(tmp_path, "counter_api-1.a", "x_total", 2)
    kept = (tmp_path / "counter_api-1.a.db").read_bytes()
    metricfiles.fold(tmp_path, ["api-1.a"])
    (tmp_path / "counter_api-1.a.db").write_bytes(kept)  # it was not removed yet
    assert numbers(tmp_path)["x_total"] == 2
    metricfiles.fold(tmp_path, ["api-1.a"])
    assert numbers(tmp_path)["x_total"] == 2
    assert not list(tmp_path.glob("*.db"))


def test_all_that_is_gone_is_folded_at_a_start_and_the_living_are_left_alone(tmp_path: Path):
    for instance in ("api-1.a", "api-2.b", "migrate.c"):
        write(tmp_path, f"counter_{instance}", "x_total", 1)
    metricfiles.fold_gone(tmp_path, lambda: ["api-2.b"])
    assert [path.name for path in tmp_path.glob("*.db")] == ["counter_api-2.b.db"]
    assert numbers(tmp_path) == {"x_total": 3}


def test_a_file_without_content_is_passed_over(tmp_path: Path):
    (tmp_path / "counter_api-1.a.db").touch()
    assert numbers(tmp_path) == {}
    assert scrape.text(tmp_path) == b""


def test_the_archive_holds_sums_only(tmp_path: Path):
    write(tmp_path, "counter_api-1.a", "x_total", 2, route="/a")
    metricfiles.fold(tmp_path, ["api-1.a"])
    archive = json.loads((tmp_path / metricfiles.ARCHIVE).read_bytes())
    assert archive["folded"] == ["api-1.a"]
    assert list(archive["sums"]["counter"].values()) == [2]
