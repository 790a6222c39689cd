"""E0 is where larch finds it."""

from __future__ import annotations

import numpy as np
import pytest

from xas import simulate
from xas.rise import steepest_rise, steepest_rises

ENERGY = simulate.energy_axis()
FOIL = simulate.absorption(ENERGY, width=2.0, white_line=0.0, shells=simulate.FOIL)
AXES = {
    "fine": ENERGY,
    "coarse": np.arange(8200.0, 8700.0, 3.0),
    "short": np.arange(8330.0, 8360.0, 0.5),
    "late": np.arange(8341.0, 8600.0, 0.4),
}


@pytest.mark.parametrize("axis", AXES)
@pytest.mark.parametrize("noise", [0.0, 3e-3, 3e-2])
@pytest.mark.filterwarnings("ignore:Mean of empty slice", "ignore:invalid value encountered")
def test_it_is_the_point_larch_finds(axis: str, noise: float) -> None:
    from larch.xafs import find_e0

    energy = AXES[axis]
    random = np.random.default_rng(3)
    mu = simulate.absorption(energy) + random.normal(0, noise, (10, energy.size))
    theirs = [find_e0(energy, row) for row in mu]
    np.testing.assert_array_equal(steepest_rises(energy, mu), theirs)


def test_a_single_bad_point_is_not_the_edge() -> None:
    mu = simulate.absorption(ENERGY)
    mu[200:] += 0.3 * (np.arange(mu.size - 200) == 0)
    assert abs(steepest_rise(ENERGY, mu) - 8345) < 1


def test_scans_do_not_change_each_other() -> None:
    mu = simulate.absorption(ENERGY) + np.random.default_rng(0).normal(0, 0.02, (30, ENERGY.size))
    alone = [steepest_rise(ENERGY, row) for row in mu]
    np.testing.assert_array_equal(steepest_rises(ENERGY, mu), alone)
    assert len(set(alone)) > 3
