"""Simulate, reduce, compare with the truth."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import xarray as xr

import beamline
import rixs
from calibration.excitation import Shift
from calibration.gain import Gain
from rixs import simulate
from rixs.cuts import integration_weights
from rixs.simulate import Spectrograph

SHIFT = Shift(value=0.3, error=0.01, reference=531.0, position=530.7)


def area(cut: xr.Dataset, lo: float, hi: float) -> tuple[float, float]:
    energy = cut.emission_energy.values
    width = np.where((energy >= lo) & (energy < hi), np.gradient(energy), 0.0)
    error = np.sqrt((width**2 * np.nan_to_num(cut.intensity_errors.values) ** 2).sum())
    return float((width * np.nan_to_num(cut.intensity.values)).sum()), float(error)


def test_window_areas_have_the_errors_they_claim() -> None:
    """The window's area over the oxidised-oxygen emission, over 100 seeds, with everything calibrated."""
    instrument = Spectrograph()
    seeds = 100
    pulls = []
    for seed in range(seeds):
        scan = simulate.scan(seed=seed, spectrograph=instrument, first_point=0.53, mono_offset=0.3)
        rmap = rixs.reduce(scan, excitation=SHIFT)
        cut = rixs.window(rmap, 530.6, 531.8)
        energy = rmap.excitation_energy.values
        truth = simulate.true_map(1.0, energy, instrument, cut.emission_energy.values)
        expected = cut.assign(
            intensity=("emission_energy", integration_weights(energy, 530.6, 531.8) @ truth)
        )
        found, error = area(cut, 522.9, 524.5)
        pulls.append((found - area(expected, 522.9, 524.5)[0]) / error)
    assert abs(np.mean(pulls)) < 3 / np.sqrt(seeds)
    assert np.std(pulls) == pytest.approx(1, abs=0.25)


def test_the_feature_is_found_where_it_is(simulated_map: xr.Dataset) -> None:
    cut = rixs.window(simulated_map, 530.6, 531.8).sel(emission_energy=slice(522, 528))
    assert cut.emission_energy[int(np.argmax(cut.intensity.values))] == pytest.approx(523.7, abs=0.2)


def test_a_pristine_sample_has_no_feature() -> None:
    charged = rixs.window(rixs.reduce(simulate.scan(oxidised=1.0, seed=7)), 530.6, 531.8)
    pristine = rixs.window(rixs.reduce(simulate.scan(oxidised=0.0, seed=8)), 530.6, 531.8)
    (a, da), (b, db) = area(charged, 523.2, 524.2), area(pristine, 523.2, 524.2)
    assert a - b > 20 * np.hypot(da, db)


def test_calibrations_used_stand_in_the_result(simulated_map: xr.Dataset) -> None:
    records = json.loads(simulated_map.attrs["calibrations"])
    assert set(records) == {"emission", "curvature", "gain"}


def test_calibrations_of_a_result_make_it_again(simulated_map: xr.Dataset) -> None:
    from calibration.records import restore

    records = json.loads(simulated_map.attrs["calibrations"])
    again = rixs.reduce(simulate.scan(seed=3), **{name: restore(r) for name, r in records.items()})
    xr.testing.assert_equal(again, simulated_map)


def test_the_map_is_valid_and_comes_back_from_a_file(simulated_map: xr.Dataset, tmp_path: Path) -> None:
    beamline.validate(simulated_map, "rixs.map")
    beamline.save(simulated_map, tmp_path / "map.nc")
    back = beamline.open(tmp_path / "map.nc")
    assert isinstance(back, xr.Dataset)
    xr.testing.assert_equal(back, simulated_map)


def test_input_is_left_alone() -> None:
    scan = simulate.scan(seed=3)
    before = scan.copy(deep=True)
    rixs.reduce(scan)
    xr.testing.assert_identical(scan, before)


def test_sums_saved_without_images_become_a_map(simulated_map: xr.Dataset, gain: Gain) -> None:
    scan = simulate.scan(seed=3, spectrograph=Spectrograph(tilt=0, bow=0, cosmics=0))
    sums = xr.Dataset(
        {
            "intensity": (("frame", "pixel"), scan.counts.values.sum(axis=1), {"units": "ADU"}),
            "live_rows": (("frame", "pixel"), np.full((scan.sizes["frame"], 192), 64)),
        },
        coords={"pixel": np.arange(192), "excitation_energy": scan.excitation_energy, "i0": scan.i0},
        attrs={"kind": "rixs.spectra"},
    )
    rmap = rixs.reduce(sums, gain=gain)
    found, error = area(rixs.window(rmap, 530.6, 531.8), 522.9, 524.5)
    expected, expected_error = area(rixs.window(simulated_map, 530.6, 531.8), 522.9, 524.5)
    assert abs(found - expected) < 4 * np.hypot(error, expected_error)


def test_simulation_repeats_itself() -> None:
    xr.testing.assert_identical(simulate.scan(seed=4), simulate.scan(seed=4))
    assert not simulate.scan(seed=4).counts.equals(simulate.scan(seed=5).counts)
