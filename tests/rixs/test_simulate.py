"""Simulated scans are files of ALS 8.0.1, and what went in comes out."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr

import beamline
import rixs
from beamline.errors import SchemaError
from calibration import excitation
from rixs import simulate
from rixs.cuts import integration_weights

# The part of the detector around the O K edge.
DETECTOR = replace(simulate.ALS_801, columns=256, center_energy=526.0, dispersion=0.125)
STATES = {"pristine": 0.0, "charged": 1.0, "discharged": 0.05}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("rixs")
    return simulate.write_scans(place, STATES, seed=5, spectrograph=DETECTOR).parent


@pytest.fixture(scope="module")
def truth(folder: Path) -> Any:
    return json.loads((folder / "truth.json").read_text())


@pytest.fixture(scope="module")
def maps(folder: Path, truth: Any) -> dict[str, xr.Dataset]:
    shift = excitation.calibrate(beamline.read(folder / "SigScan_TiO2.txt"))
    return {
        state: rixs.reduce(beamline.read(folder / scan["folder"]), excitation=shift)
        for state, scan in truth["scans"].items()
    }


def test_the_files_hold_the_images(folder: Path, truth: Any) -> None:
    scan = beamline.read(folder / truth["scans"]["charged"]["folder"])
    assert isinstance(scan, xr.Dataset)
    assert scan["counts"].dtype == np.uint16
    assert scan["counts"].shape == (31, 64, 256)
    assert scan.attrs["clipped"] == "at zero"
    exact = simulate.scan(1.0, 5001, simulate.excitation_energies(step=0.2), DETECTOR, mono_offset=0.36)
    np.testing.assert_array_equal(scan["counts"].values, exact["counts"].values)


def test_sums_and_images_agree(folder: Path, truth: Any) -> None:
    place = folder / truth["scans"]["pristine"]["folder"]
    images, sums = beamline.read(place), beamline.read(place, kind="rixs.spectra")
    np.testing.assert_array_equal(images["counts"].sum("y").values, sums["intensity"].values)


def test_most_pixels_are_clipped_as_in_real_files(folder: Path, truth: Any) -> None:
    scan = beamline.read(folder / truth["scans"]["pristine"]["folder"])
    assert float((scan["counts"] == 0).mean()) == pytest.approx(0.5, abs=0.1)


def test_the_monochromator_is_off_and_drifts(folder: Path, truth: Any) -> None:
    scan = beamline.read(folder / truth["scans"]["pristine"]["folder"])
    off = np.array(truth["excitation_energies_eV"]) - scan["excitation_energy"].values
    assert off[0] == pytest.approx(0.36, abs=1e-8)
    assert off[-1] == pytest.approx(0.37, abs=1e-8)


def test_tio2_finds_the_offset(folder: Path, truth: Any) -> None:
    shift = excitation.calibrate(beamline.read(folder / "SigScan_TiO2.txt"))
    assert abs(shift.value - truth["mono_offset_eV"]) < 3 * shift.error


def test_tio2_emits_most_at_its_first_peak(folder: Path, truth: Any) -> None:
    scan = beamline.read(folder / truth["tio2"]["folder"])
    assert isinstance(scan, xr.Dataset)
    energy = scan["excitation_energy"].values + truth["mono_offset_eV"]
    emission = np.array(truth["emission_energy_eV"])
    # Below 528 eV there is no elastic line but in the first frames.
    band = scan["counts"].values[..., (emission > 524) & (emission < 528)].sum(axis=(1, 2))[6:]
    assert energy[6:][int(np.argmax(band / scan["i0"].values[6:]))] == pytest.approx(531.0, abs=0.25)


def test_the_feature_grows_and_vanishes(maps: dict[str, xr.Dataset], truth: Any) -> None:
    found = {}
    for state, rmap in maps.items():
        cut = rixs.window(rmap, *truth["window_eV"])
        weights = integration_weights(cut["emission_energy"].values, *truth["feature_eV"])
        gain = truth["gain_adu_per_photon"]
        area = weights @ np.nan_to_num(cut["intensity"].values) / gain
        error = np.sqrt(weights**2 @ np.nan_to_num(cut["intensity_errors"].values) ** 2) / gain
        assert abs(area - truth["scans"][state]["window_area"]) < 3.5 * error, state
        found[state] = area
    assert found["charged"] > 1.5 * found["pristine"]
    assert found["discharged"] < 1.1 * found["pristine"]


def test_the_emission_axis_is_found(maps: dict[str, xr.Dataset], truth: Any) -> None:
    axis = maps["charged"]["emission_energy"].values
    np.testing.assert_allclose(np.interp(523.7, truth["emission_energy_eV"], axis), 523.7, atol=0.1)


def test_the_true_area_is_that_of_the_true_map() -> None:
    energies = simulate.excitation_energies(step=0.2)
    emission = np.linspace(522.9, 524.5, 801)
    rmap = simulate.true_map(1.0, energies, DETECTOR, emission) / DETECTOR.gain
    cut = integration_weights(energies, *simulate.WINDOW) @ rmap
    assert simulate.true_area(1.0, energies, 0.25) == pytest.approx(np.trapezoid(cut, emission), rel=1e-4)


def test_negative_counts_are_refused(tmp_path: Path) -> None:
    images = simulate.scan(spectrograph=replace(DETECTOR, clipped=False), energies=np.array([530.0, 531.0]))
    with pytest.raises(SchemaError, match="clipped=True"):
        simulate.write_scan(tmp_path, images)
