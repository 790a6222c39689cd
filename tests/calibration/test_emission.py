from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import xarray as xr

from beamline.errors import CalibrationError
from calibration import emission
from calibration.elastic_fit import OPTICS, READ_BACK
from calibration.excitation import Shift
from calibration.records import load_record

PIXEL = np.arange(200)


def spectra(
    energies: np.ndarray, position: np.ndarray, seed: int = 0, photons: float = 2000.0, fixed: bool = True
) -> xr.Dataset:
    """Elastic lines at `position`, above a fluorescence line that does not move."""
    rng = np.random.default_rng(seed)
    line = np.exp(-0.5 * ((PIXEL - position[:, None]) / 1.5) ** 2) / (1.5 * np.sqrt(2 * np.pi))
    still = np.exp(-0.5 * ((PIXEL - 50) / 3) ** 2) * 300 * fixed
    intensity = rng.poisson(photons * line + still + 5.0).astype(float)
    return xr.Dataset(
        {
            "intensity": (("frame", "pixel"), intensity, {"units": "ADU"}),
            "intensity_errors": (("frame", "pixel"), np.sqrt(np.maximum(intensity, 1))),
        },
        coords={"pixel": PIXEL, "excitation_energy": ("frame", energies)},
    )


ENERGIES = np.linspace(527.0, 533.0, 13)
"""At 0.1 eV/px and 526 eV at pixel 90: from px 100 to 160."""


def test_the_dispersion_is_found_beside_a_line_that_stays() -> None:
    axis = emission.calibrate(spectra(ENERGIES, (ENERGIES - 526) / 0.1 + 90))
    assert len(axis.energies) == 13
    assert axis.energy(130.0) == pytest.approx(530.0, abs=0.01)
    assert axis.dispersion(130.0) == pytest.approx(0.1, rel=0.01)


def test_an_axis_may_fall_with_the_pixel() -> None:
    axis = emission.calibrate(spectra(ENERGIES, 160 - (ENERGIES - 527) / 0.1))
    assert axis.dispersion(130.0) == pytest.approx(-0.1, rel=0.01)


def test_the_errors_of_the_axis_are_its_scatter() -> None:
    pixels = np.array([60.0, 100.0, 130.0, 160.0])
    center = 130.0
    pulls = []
    for seed in range(60):
        rng = np.random.default_rng([seed, 2])
        # Linear in wavelength, as optics has it, but for what is not known of it.
        aberration = rng.normal(0, OPTICS) * 0.1**2 / 530
        grid = np.linspace(0, 200, 2001)
        of_pixel = 530 / (1 - (grid - center) * 0.1 / 530) + aberration * (grid - center) ** 2
        moved = rng.normal(0, emission.DRIFT) * np.linspace(-0.5, 0.5, ENERGIES.size)
        position = np.interp(ENERGIES, of_pixel, grid) + moved
        data = spectra(ENERGIES, position, seed, fixed=False)
        stated = ENERGIES + rng.normal(0, READ_BACK, ENERGIES.size)
        axis = emission.calibrate(data.assign_coords(excitation_energy=("frame", stated)))
        truth = np.interp(pixels, grid, of_pixel)
        pulls.append((axis.energy(pixels) - truth) / axis.energy_errors(pixels))
    mean, scatter = np.mean(pulls, axis=0), np.std(pulls, axis=0)
    assert (np.abs(mean) < 3 / np.sqrt(60)).all()
    assert (scatter[1:] > 0.7).all()
    # Far from the lines the uncertainty of the optics, which does not scatter, adds to the error.
    assert (scatter < 1.25).all()


def test_the_error_grows_where_there_are_no_lines() -> None:
    axis = emission.calibrate(spectra(ENERGIES[:5], (ENERGIES[:5] - 526) / 0.1 + 90))
    assert axis.energy_errors(20.0) > 10 * axis.energy_errors(110.0)


def test_a_straight_axis_lies_within_the_error_that_optics_leaves() -> None:
    axis = emission.calibrate(spectra(ENERGIES[:5], (ENERGIES[:5] - 526) / 0.1 + 90, fixed=False))
    assert abs(axis.energy(40.0) - (526 - 5)) < 3 * axis.energy_errors(40.0)


def test_enough_lines_overrule_the_optics() -> None:
    energies = np.linspace(524.0, 533.0, 40)
    true = spectra(energies, (energies - 526) / 0.05 + 50, photons=2e5, fixed=False)
    axis = emission.calibrate(true)
    optics = axis.coefficients[1] ** 2 / axis.coefficients[0]
    assert abs(axis.coefficients[2]) < 0.5 * optics


def test_a_line_that_resonant_emission_draws_away_is_given_up() -> None:
    position = (ENERGIES - 526) / 0.1 + 90
    position[5:] = position[5] + 0.3 * (position[5:] - position[5])
    data = spectra(ENERGIES, position)
    data["intensity"][5:] *= 4
    axis = emission.calibrate(data)
    assert max(axis.energies) < 529.5
    assert axis.dispersion(110.0) == pytest.approx(0.1, rel=0.02)


EDGE = 530.0
PULLED = np.arange(526.0, 533.0, 0.2)
"""Excitation energies over an edge at which resonant emission draws the elastic peak away."""


def over_an_edge(seed: int = 0) -> xr.Dataset:
    """Elastic lines at 0.1 eV/px up to the edge, and at 0.143 eV/px on it, where the emission rises."""
    walked = PULLED - 526 - 0.3 * np.maximum(PULLED - EDGE, 0)
    data = spectra(PULLED, 90 + walked / 0.1, seed, fixed=False)
    absorption = 1 / (1 + np.exp(-(PULLED - EDGE - 0.3) / 0.2))
    band = 100 * np.exp(-0.5 * ((PIXEL - 40) / 10) ** 2)
    emission_counts = np.random.default_rng(seed + 1000).poisson(absorption[:, None] * band)
    data["intensity"] = data["intensity"] + emission_counts * 5.0
    return data


@pytest.mark.parametrize("seed", range(5))
def test_lines_drawn_away_on_the_edge_do_not_bend_the_axis(seed: int) -> None:
    axis = emission.calibrate(over_an_edge(seed))
    assert max(axis.energies) < EDGE + 0.5
    off = axis.energy(np.array([90.0, 130.0])) - [526.0, 530.0]
    assert (np.abs(off) < 3 * axis.energy_errors(np.array([90.0, 130.0])) + 0.005).all()


@pytest.mark.parametrize("first", [EDGE, EDGE + 0.2, EDGE + 0.4])
def test_a_scan_that_begins_on_its_edge_has_no_axis_of_its_own(first: float) -> None:
    data = over_an_edge()
    with pytest.raises(CalibrationError, match="give emission="):
        emission.calibrate(data.isel(frame=data.excitation_energy >= first - 0.01))


@pytest.mark.parametrize("dead", [0, 20])
def test_a_frame_without_flux_is_left_out(dead: int) -> None:
    data = over_an_edge()
    data["intensity"][dead] = np.nan
    axis = emission.calibrate(data)
    assert axis.dispersion(110.0) == pytest.approx(0.1, rel=0.02)
    assert max(axis.energies) < EDGE + 0.5


def test_lines_that_fit_no_axis_are_refused() -> None:
    # Each line is known to 0.05 px, and no more than a third of them lie on one path.
    position = 90 + (ENERGIES - 526) / 0.1 + 0.6 * (np.arange(13) % 3 - 1)
    with pytest.raises(CalibrationError, match="give emission="):
        emission.calibrate(spectra(ENERGIES, position))


def test_lines_too_close_for_a_dispersion_are_refused() -> None:
    energies = np.linspace(527.0, 527.3, 4)
    with pytest.raises(CalibrationError, match="lie too close"):
        emission.calibrate(spectra(energies, (energies - 526) / 0.1 + 90, photons=50.0, fixed=False))


def test_the_shift_of_the_excitation_goes_into_the_axis() -> None:
    data = spectra(ENERGIES, (ENERGIES - 526) / 0.1 + 90)
    shifted = emission.calibrate(data, Shift(value=0.36, error=0.01, reference=531.0, position=530.64))
    assert shifted.energy(130.0) - emission.calibrate(data).energy(130.0) == pytest.approx(0.36, abs=1e-3)
    assert shifted.excitation_shift == 0.36


@pytest.mark.parametrize("count", [0, 1, 2])
def test_two_points_make_no_axis(count: int) -> None:
    with pytest.raises(CalibrationError, match="emission axis"):
        emission.calibrate(spectra(ENERGIES[:count], (ENERGIES[:count] - 526) / 0.1 + 90))


def test_fluorescence_alone_makes_no_axis() -> None:
    with pytest.raises(CalibrationError, match="no elastic line"):
        emission.calibrate(spectra(ENERGIES, (ENERGIES - 526) / 0.1 + 90, photons=0.0))


def test_the_record_comes_back_from_its_file(tmp_path: Path) -> None:
    axis = emission.calibrate(spectra(ENERGIES, (ENERGIES - 526) / 0.1 + 90))
    axis.save(tmp_path / "emission.json")
    assert load_record(tmp_path / "emission.json") == axis
    assert replace(axis, center=0.0).id != axis.id
