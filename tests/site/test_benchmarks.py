"""The benchmarks' own parts: what they read, what they promise, what they draw."""

from __future__ import annotations

import json

import pytest

from benchmarks import flame, wrk
from benchmarks.__main__ import LATEST
from benchmarks.catalogue import MEASUREMENTS, chosen
from benchmarks.goals import GOALS, at_least, at_most
from benchmarks.measure import Figure

REPORT = """\
Running 3s test @ http://127.0.0.1:1/
  1 threads and 32 connections
  Thread Stats   Avg      Stdev     Max   +/- Stdev
    Latency     1.65ms    2.81ms  28.90ms   88.37%
    Req/Sec    39.50k     5.54k   49.08k    73.33%
  Latency Distribution
     50%  651.00us
     75%    1.56ms
     90%    5.15ms
     99%    1.20s
  117926 requests in 3.00s, 9.67MB read
  Socket errors: connect 1, read 2, write 0, timeout 3
  Non-2xx or 3xx responses: 4
Requests/sec:  39308.61
Transfer/sec:      3.22MB
"""


def test_a_report_of_the_load_tool_is_read_with_its_failures() -> None:
    load = wrk.read(REPORT)
    assert load == wrk.Load(rps=39308.61, p50=0.651, p99=1200.0, errors=10)
    without = [line for line in REPORT.splitlines() if "rrors" not in line]
    assert wrk.read("\n".join(without)).errors == 4


def test_something_else_than_a_report_is_not_taken_for_one() -> None:
    with pytest.raises(RuntimeError, match="unable to connect"):
        wrk.read("unable to connect to 127.0.0.1:1 Connection refused")


def test_every_goal_is_of_a_figure_that_is_measured() -> None:
    measured = [name for one in MEASUREMENTS for name in one.names]
    assert len(set(measured)) == len(measured)
    assert set(GOALS) <= set(measured)


def test_a_figure_is_chosen_by_name_and_a_wrong_name_is_told() -> None:
    assert [one.names for one in chosen(["warm_p99_c32"])] == [
        ("warm_rps_c32", "warm_p99_c32")
    ]
    assert chosen([]) == list(MEASUREMENTS)
    with pytest.raises(KeyError, match="warm_rps is none of"):
        chosen(["warm_rps"])


def test_the_last_measurement_has_every_figure() -> None:
    latest = json.loads(LATEST.read_text())
    measured = {name for one in MEASUREMENTS for name in one.names}
    assert set(latest["figures"]) == measured
    keys = {"ours", "reference", "ratio", "unit", "runs", "spread", "about"}
    assert all(keys <= set(figure) for figure in latest["figures"].values())


def test_a_figure_is_the_median_and_its_ratio_that_of_medians() -> None:
    row = Figure("x", "ms", "", [1.0, 9.0, 2.0], [4.0, 5.0, 3.0]).as_dict()
    assert (row["ours"], row["reference"], row["ratio"]) == (2.0, 4.0, 0.5)
    assert row["spread"] == [1.0, 9.0]
    assert at_most(0.5).is_met(row)
    assert not at_least(0.6).is_met(row)
    assert not at_most(1.9, "ours").is_met(row)


def test_a_flame_graph_is_as_wide_as_the_time() -> None:
    drawn = flame.draw({("loop", "a"): 3.0, ("loop", "b<"): 1.0}, "µs")
    assert "<title>loop: 4.00 µs, 100.0%</title>" in drawn
    assert "<title>a: 3.00 µs, 75.0%</title>" in drawn
    assert "<title>b&lt;: 1.00 µs, 25.0%</title>" in drawn
    assert 'x="900.0" y="0"' in drawn  # b begins where a ends
