from __future__ import annotations

import pytest

from benchmarks.timing import Row, copy_bandwidth, race, times


def test_best_and_median_leave_out_the_first_call(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = 0.0
    costs = iter([9.0, 0.004, 0.002, 0.003])

    def call() -> None:
        nonlocal clock
        clock += next(costs)

    monkeypatch.setattr("time.perf_counter", lambda: clock)
    assert times(call, 3) == pytest.approx((2.0, 3.0))


def test_calls_in_a_race_take_turns(monkeypatch: pytest.MonkeyPatch) -> None:
    clock, order = 0.0, ""

    def call(name: str, cost: float) -> None:
        nonlocal clock, order
        clock += cost
        order += name

    monkeypatch.setattr("time.perf_counter", lambda: clock)
    first, second = race(2, lambda: call("a", 0.001), lambda: call("b", 0.002))
    assert order == "ababab"
    assert (first, second) == (pytest.approx((1.0, 1.0)), pytest.approx((2.0, 2.0)))


def test_a_row_tells_how_many_times_faster() -> None:
    row = Row("read", (2.0, 3.0), "other", (5.0, 6.0), 0.5)
    assert row.cells() == ["read", "2.0 (3.0)", "other", "5.0 (6.0)", "2.50", "0.5"]


def test_the_memory_has_a_speed() -> None:
    assert 1e8 < copy_bandwidth() < 1e13
