"""The scatter of a line through correlated points is as much larger as is stated."""

from __future__ import annotations

import math

import numpy as np
import pytest
import xarray as xr

from calibration.correlation import MOST, inflation

USED = np.ones(200, dtype=bool)


def pattern(rho: float) -> xr.Dataset:
    return xr.Dataset({"correlation": ("two_theta", np.full(USED.size, rho))})


def test_independent_points_stay_as_they_are() -> None:
    assert inflation(xr.Dataset(), USED) == 1.0
    assert inflation(pattern(0.0), USED) == 1.0
    assert inflation(pattern(math.nan), USED) == 1.0


def test_more_than_next_neighbours_are_not_believed() -> None:
    assert inflation(pattern(3.0), USED) == MOST


@pytest.mark.parametrize("share", [0.2, 0.5])
def test_the_scatter_of_a_slow_curve_is_as_much_larger(share: float) -> None:
    rng, draws = np.random.default_rng(5), 4000
    noise = rng.standard_normal((draws, USED.size + 1))
    points = (1 - share) * noise[:, 1:] + share * noise[:, :-1]
    variance = (1 - share) ** 2 + share**2
    rho = share * (1 - share) / variance
    curve = np.exp(-0.5 * ((np.arange(USED.size) - 100) / 12.0) ** 2)
    found = points @ curve / (curve @ curve)
    ratio = found.var() / (variance / (curve @ curve))
    assert abs(ratio / inflation(pattern(rho), USED) - 1) < 3 * math.sqrt(2 / draws) + 0.01
