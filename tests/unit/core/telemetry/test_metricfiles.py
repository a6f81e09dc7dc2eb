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


def test_what_a_scrape_has_read_of_a_file_it_does_not_read_again(tmp_path: Path):
    """But its numbers: by count of work, however quick the machine is."""
    for number in range(300):  # more than a first look takes
        write(tmp_path, "counter_api-1.a", "x_total", 1, route=f"/{number}")
    assert len(numbers(tmp_path)) == 300
    keys, plans = scrape._key.cache_info(), scrape.plan_of.cache_info()
    write(tmp_path, "counter_api-1.a", "x_total", 7, route="/250")
    found = numbers(tmp_path)
    assert found["x_total /250"] == 7
    assert found["x_total /251"] == 1
    assert scrape._key.cache_info() == keys
    assert scrape.plan_of.cache_info().misses == plans.misses
    write(tmp_path, "counter_api-1.a", "x_total", 3, route="/new")
    found = numbers(tmp_path)
    assert (len(found), found["x_total /new"], found["x_total /250"]) == (301, 3, 7)
    assert scrape._key.cache_info().misses == keys.misses + 1


def test_a_file_of_the_same_name_that_is_another_one_is_read_anew(tmp_path: Path):
    write(tmp_path, "counter_api-1.a", "x_total", 1, route="/a")
    write(tmp_path, "counter_api-1.b", "x_total", 1, route="/b")
    assert numbers(tmp_path) == {"x_total /a": 1, "x_total /b": 1}
    (tmp_path / "counter_api-1.b.db").replace(tmp_path / "counter_api-1.a.db")
    assert numbers(tmp_path) == {"x_total /b": 1}


def test_keys_of_two_versions_are_one_series_under_the_first_help(tmp_path: Path):
    write(tmp_path, "counter_api-1.a", "x_total", 2, route="/a")
    path = tmp_path / "counter_api-1.a.db"
    path.write_bytes(path.read_bytes().replace(b"Some help.", b"Other one."))
    write(tmp_path, "counter_api-2.b", "x_total", 3, route="/a")
    text = scrape.text(tmp_path).decode()
    assert text.splitlines()[1:] == ["# TYPE x_total counter", 'x_total{route="/a"} 5.0']


def test_the_archive_holds_sums_only(tmp_path: Path):
    write(tmp_path, "counter_api-1.a", "x_total", 2, route="/a")
    metricfiles.fold(tmp_path, ["api-1.a"])
    archive = json.loads((tmp_path / metricfiles.ARCHIVE).read_bytes())
    assert archive["folded"] == ["api-1.a"]
    assert list(archive["sums"]["counter"].values()) == [2]
