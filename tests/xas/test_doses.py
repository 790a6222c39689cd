from __future__ import annotations

import numpy as np
import pytest

import xas
from beamline.errors import SchemaError
from xas import simulate
from xas.doses import change_with_dose, order_of

ENERGY = simulate.energy_axis()
TRUTH = simulate.absorption(ENERGY)


@pytest.mark.parametrize("levels", [(1e-3, 1e-3), (1e-3, 1e-3, 1e-3), (1e-3, 2e-3, 1e-3, 3e-3, 1e-3)])
def test_p_values_of_nothing_are_uniform(levels: tuple[float, ...]) -> None:
    rng = np.random.default_rng(0)
    sigma = np.array(levels)[:, None] * np.ones(ENERGY.size)
    dose = np.arange(float(len(levels)))
    p = [
        change_with_dose(ENERGY, TRUTH + rng.normal(0, sigma), sigma, dose, True).p_value for _ in range(150)
    ]
    for level in (0.1, 0.5, 0.9):
        assert np.mean(np.array(p) < level) == pytest.approx(
            level, abs=3 * np.sqrt(level * (1 - level) / 150)
        )


def test_thickness_and_background_are_no_change() -> None:
    rng = np.random.default_rng(1)
    factor = np.array([1.0, 1.1, 1.2, 1.3])[:, None]
    rows = factor * TRUTH + 0.1 * factor + 1e-4 * factor * (ENERGY - 8345)
    sigma = np.full(rows.shape, 1e-3)
    found = change_with_dose(ENERGY, rows + rng.normal(0, sigma), sigma, np.arange(4.0), True)
    assert found.p_value > 1e-3


def test_a_change_is_found_with_its_spectrum() -> None:
    rng = np.random.default_rng(1)
    rows = np.array([simulate.absorption(ENERGY, white_line=0.6 - 0.005 * n) for n in range(5)])
    sigma = np.full(rows.shape, 1e-3)
    found = change_with_dose(ENERGY, rows + rng.normal(0, sigma), sigma, np.arange(5.0), True)
    assert found.p_value < 1e-6
    assert found.energy[np.argmin(found.difference)] == pytest.approx(8349, abs=1.5)


def test_a_drift_of_the_axis_is_no_dose_where_no_foil_was() -> None:
    rows = np.array([simulate.absorption(ENERGY + 0.05 * n) for n in range(4)])
    rows = rows + np.random.default_rng(2).normal(0, 1e-3, rows.shape)
    sigma = np.full(rows.shape, 1e-3)
    assert change_with_dose(ENERGY, rows, sigma, np.arange(4.0), True).p_value < 1e-6
    assert change_with_dose(ENERGY, rows, sigma, np.arange(4.0), False).p_value > 1e-3


def test_the_order_is_that_of_dose_or_time() -> None:
    scans = xas.align([simulate.scan(n) for n in range(3)], reference=None)
    assert order_of(scans).tolist() == [0, 1, 2]
    times = np.array(["2024-01-01T02:00", "2024-01-01T01:00", "2024-01-01T00:00"], "M8[ns]")
    timed = scans.assign_coords(time=("scan", times))
    assert np.argsort(order_of(timed)).tolist() == [2, 1, 0]
    assert order_of(timed.assign_coords(dose=("scan", [3.0, 7.0, 5.0]))).tolist() == [3, 7, 5]
    assert 0 <= xas.dose_test(timed).p_value <= 1


def test_one_scan_is_no_series() -> None:
    with pytest.raises(SchemaError, match="two or more"):
        xas.dose_test(simulate.scan(0))
