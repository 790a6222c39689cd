from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import xarray as xr

from calibration.emission import EmissionAxis
from calibration.excitation import Shift
from rixs.mapping import make_map

AXIS = EmissionAxis(
    coefficients=(525.0, 0.5, 0.0), covariance=((1e-4, 0, 0), (0, 1e-6, 0), (0, 0, 1e-12)), center=1.0
)
SHIFT = Shift(value=0.36, error=0.01, reference=531.0, position=530.64)


def spectra(energies: list[float], i0: list[float] | None = None) -> xr.Dataset:
    frames = len(energies)
    i0 = i0 or [1e6] * frames
    value = np.arange(3 * frames, dtype=float).reshape(frames, 3) + 1
    return xr.Dataset(
        {
            "intensity": (("frame", "pixel"), value, {"units": "ADU/megacount"}),
            "intensity_errors": (("frame", "pixel"), np.full((frames, 3), 2.0)),
        },
        coords={
            "pixel": [0, 1, 2],
            "excitation_energy": ("frame", energies),
            "i0": ("frame", i0, {"units": "count", "long_name": "I0"}),
        },
    )


def test_pixels_become_energies_and_intensities_per_ev() -> None:
    rmap = make_map(spectra([530.0, 531.0]), AXIS)
    np.testing.assert_allclose(rmap.emission_energy, [524.5, 525.0, 525.5])
    np.testing.assert_allclose(rmap.intensity, np.array([[1, 2, 3], [4, 5, 6]]) / 0.5)
    np.testing.assert_allclose(rmap.intensity_errors, 4.0)
    np.testing.assert_allclose(rmap.energy_loss[0], [5.5, 5.0, 4.5])


def test_points_are_put_in_order() -> None:
    rmap = make_map(spectra([531.0, 530.0]), AXIS)
    np.testing.assert_array_equal(rmap.excitation_energy, [530.0, 531.0])
    np.testing.assert_allclose(rmap.intensity[0], [8, 10, 12])


def test_an_axis_that_falls_with_the_pixel_is_turned() -> None:
    rmap = make_map(spectra([530.0]), replace(AXIS, coefficients=(525.0, -0.5, 0.0)))
    np.testing.assert_allclose(rmap.emission_energy, [524.5, 525.0, 525.5])
    np.testing.assert_allclose(rmap.intensity[0], [6, 4, 2])


@pytest.mark.parametrize("of_axis", [0.0, 0.36, -1.0])
def test_both_axes_move_together_and_the_loss_stays(of_axis: float) -> None:
    axis = replace(AXIS, coefficients=(525.0 + of_axis, 0.5, 0.0), excitation_shift=of_axis)
    before, after = make_map(spectra([530.0, 531.0]), axis), make_map(spectra([530.0, 531.0]), axis, SHIFT)
    np.testing.assert_allclose(after.excitation_energy - before.excitation_energy.values, 0.36)
    np.testing.assert_allclose(after.emission_energy.values - before.emission_energy.values, 0.36)
    np.testing.assert_allclose(after.energy_loss.values, before.energy_loss.values)


def test_repeats_are_added_up_by_their_flux() -> None:
    rmap = make_map(spectra([530.0, 530.01, 531.0], [3e6, 1e6, 1e6]), AXIS)
    assert rmap.repeats.values.tolist() == [2, 1]
    assert rmap.excitation_energy[0] == pytest.approx(530.0025)
    np.testing.assert_allclose(rmap.intensity[0], np.array([1.75, 2.75, 3.75]) / 0.5)
    np.testing.assert_allclose(rmap.intensity_errors[0], 4 * np.sqrt(0.75**2 + 0.25**2))
    assert rmap.i0[0] == 4e6


def test_the_error_of_the_axis_goes_with_the_map() -> None:
    rmap = make_map(spectra([530.0]), AXIS)
    np.testing.assert_allclose(rmap.emission_energy_errors, AXIS.energy_errors(np.arange(3.0)))
