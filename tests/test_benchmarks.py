from __future__ import annotations

import pytest

from benchmarks.timing import Row, copy_bandwidth, times


def test_best_and_median_leave_out_the_first_call(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = 0.0
    costs = iter([9.0, 0.004, 0.002, 0.003])

    def call() -> None:
        nonlocal clock
        clock += next(costs)

    monkeypatch.setattr("time.perf_counter", lambda: clock)
    assert times(call, 3) == pytest.approx((2.0, 3.0))


def test_a_row_tells_how_many_times_faster() -> None:
    row = Row("read", (2.0, 3.0), "other", (5.0, 6.0), 0.5)
    assert row.cells() == ["read", "2.0 (3.0)", "other", "5.0 (6.0)", "2.50", "0.5"]


def test_the_memory_has_a_speed() -> None:
    assert 1e8 < copy_bandwidth() < 1e13
