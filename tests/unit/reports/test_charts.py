"""Counts as bars."""

import re

from hypothesis import given
from hypothesis import strategies as st

from novapulse.reports.charts import Chart, Tally, to_svg

BY_STATUS = Chart("By status", lambda row: row["status"])
BY_DAY = Chart("By day", lambda row: row["day"], lambda row: row["events"], is_by_name=True)


def tally(chart: Chart, rows: list[dict[str, object]]) -> Tally:
    found = Tally(chart)
    found.add(rows)
    return found


def test_the_longest_bar_is_first_and_the_rest_is_one() -> None:
    rows = [{"status": f"s{number}"} for number in range(30) for _ in range(30 - number)]
    bars = tally(BY_STATUS, rows).bars()
    assert bars[0] == ("s0", 30)
    assert len(bars) == 24
    assert bars[-1] == ("everything else", sum(range(1, 8)))
    assert sum(amount for _, amount in bars) == len(rows)


def test_days_are_in_their_order_and_many_become_months() -> None:
    few = [{"day": f"2026-01-{day:02}", "events": day} for day in range(20, 0, -1)]
    assert [name for name, _ in tally(BY_DAY, few).bars()][:2] == ["2026-01-01", "2026-01-02"]
    many = few + [{"day": f"2026-02-{day:02}", "events": 1} for day in range(1, 29)]
    assert tally(BY_DAY, many).bars() == [("2026-01", 210), ("2026-02", 28)]


def test_names_beyond_thousands_take_no_memory() -> None:
    found = tally(BY_STATUS, [{"status": f"s{number}"} for number in range(20_000)])
    assert len(found.counts) <= 5_001
    assert sum(found.counts.values()) == 20_000


@given(st.dictionaries(st.text(), st.integers(0, 10**9), max_size=30))
def test_what_is_drawn_is_no_markup_of_the_names(counts: dict[str, int]) -> None:
    chart = Chart("<title>", lambda row: row["name"], lambda row: row["n"])
    drawn = to_svg(tally(chart, [{"name": name, "n": n} for name, n in counts.items()]))
    tags = set(re.findall(r"<(/?\w+)", drawn))
    assert tags <= {"figcaption", "/figcaption", "svg", "/svg", "text", "/text", "rect", "p", "/p"}
