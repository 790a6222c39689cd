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


def test_the_error_of_the_shift_goes_with_the_map() -> None:
    rmap = make_map(spectra([530.0, 531.0]), AXIS, SHIFT)
    np.testing.assert_array_equal(rmap.excitation_energy_errors, [0.01, 0.01])
    assert rmap.excitation_energy_errors.attrs["units"] == "eV"
    assert "excitation_energy_errors" not in make_map(spectra([530.0]), AXIS).coords


def timed() -> xr.Dataset:
    """Three spectra, the last two at one energy, five minutes apart and exposed for four."""
    start = np.datetime64("2024-07-05T00:00", "ns")
    return spectra([531.0, 530.0, 530.01]).assign_coords(
        time=("frame", start + np.arange(3) * np.timedelta64(300, "s")),
        exposure=("frame", [240.0] * 3, {"units": "s"}),
        voltage=("frame", [4.0, 4.2, 4.4], {"units": "V"}),
        voltage_errors=("frame", [0.01, 0.02, 0.04], {"units": "V"}),
        voltage_mask=("frame", [1, 2, 4], {"flag_masks": [1, 2, 4], "flag_meanings": "x y z"}),
        file=("frame", ["a", "b", "c"]),
    )


def test_points_know_when_they_were_exposed_and_their_channels() -> None:
    rmap = make_map(timed(), AXIS)
    assert rmap.time.dims == rmap.voltage.dims == ("excitation_energy",)
    assert rmap.time.values[1] == np.datetime64("2024-07-05T00:00")
    assert (rmap.exposure[1], rmap.voltage[1], rmap.voltage_errors[1]) == (240, 4.0, 0.01)
    assert rmap.voltage.attrs["units"] == "V"


def test_repeats_have_one_time_and_mean_channels() -> None:
    first = make_map(timed(), AXIS).isel(excitation_energy=0)
    # From 00:03 to 00:12.
    assert first.time == np.datetime64("2024-07-05T00:07:30")
    assert first.exposure == 540.0
    assert first.voltage == pytest.approx(4.3)
    assert first.voltage_errors == pytest.approx(0.03)
    assert first.voltage_mask == 6
    assert first.file == "b, c"
