from __future__ import annotations

import numpy as np
import pytest

from beamline.errors import FitError
from xas.drifts import model_drift

SIGMA = 0.02


def series(seed: int, n: int = 60, jump: float = 0.0, at: int = 25) -> tuple[np.ndarray, np.ndarray]:
    """Return the true shifts and those measured."""
    t = np.arange(n) / n
    true = 0.8 * t - 0.5 * t**2 + np.where(np.arange(n) >= at, jump, 0.0)
    return true, true + np.random.default_rng(seed).normal(0, SIGMA, n)


def test_a_smooth_drift_has_no_jumps_and_right_errors() -> None:
    pulls, found = [], 0
    for seed in range(120):
        true, shifts = series(seed)
        drift = model_drift(shifts, np.full(shifts.size, SIGMA))
        pulls.append((drift.shift - true) / drift.errors)
        found += len(drift.jumps)
    assert found <= 3
    assert np.std(pulls) == pytest.approx(1.0, abs=0.12)
    assert abs(np.mean(pulls)) < 3 / np.sqrt(120)


def test_a_jump_is_found_where_it_is_with_its_size() -> None:
    pulls, others = [], 0
    for seed in range(80):
        _, shifts = series(seed, jump=0.5)
        drift = model_drift(shifts, np.full(shifts.size, SIGMA))
        found = {at: (size - 0.5) / error for at, size, error in drift.jumps}
        pulls.append(found.pop(25))
        others += len(found)
    assert others <= 2
    assert np.std(pulls) == pytest.approx(1.0, abs=0.3)


def test_errors_that_are_too_small_make_the_model_less_sure() -> None:
    _, shifts = series(0)
    drift = model_drift(shifts, np.full(shifts.size, SIGMA))
    doubtful = model_drift(shifts, np.full(shifts.size, 0.5 * SIGMA))
    assert doubtful.reduced_chi2 == pytest.approx(4 * drift.reduced_chi2, rel=0.3)
    assert doubtful.errors.mean() > 0.7 * drift.errors.mean()


def test_a_scan_without_a_shift_gets_that_of_the_model() -> None:
    true, shifts = series(0)
    shifts[[0, 30]] = np.nan
    drift = model_drift(shifts, np.full(shifts.size, SIGMA))
    assert np.abs(drift.shift - true)[[0, 30]].max() < 0.05


def test_times_count() -> None:
    hours = np.array([0.0, 1.0, 2.0, 3.0, 20.0, 21.0, 22.0, 40.0])
    drift = model_drift(0.01 * hours, np.full(8, 1e-3), hours)
    assert drift.jumps == ()
    np.testing.assert_allclose(drift.shift, 0.01 * hours, atol=1e-6)


def test_too_few_shifts_are_refused() -> None:
    with pytest.raises(FitError, match="4 are needed"):
        model_drift(np.array([0.0, 1.0, np.nan, 2.0]), np.full(4, 0.1))
