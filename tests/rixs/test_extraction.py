"""Frames one by one: what is added later is what it would have been, and what is known is known of each."""

from __future__ import annotations

import numpy as np
import pytest
import xarray as xr

import rixs
from beamline.errors import CalibrationError, SchemaError
from calibration import excitation
from calibration.curvature import Curvature
from calibration.excitation import Shift
from calibration.gain import Gain
from rixs import simulate
from rixs.repeats import CHANGED, WITH_DOSE, compare

GAIN = Gain(gain=118.0, read_noise=4.0)
BENT = Curvature((0.3, -0.25), ((1e-6, 0.0), (0.0, 1e-6)), 64)


@pytest.fixture(scope="module")
def scan() -> xr.Dataset:
    data = simulate.scan(seed=3)
    return data.assign_coords(file=("frame", [f"frame-{i}" for i in range(data.sizes["frame"])]))


def test_extraction_is_its_steps_one_after_the_other(scan: xr.Dataset) -> None:
    steps = rixs.straighten(rixs.mask_spikes(scan, GAIN), BENT, GAIN)
    xr.testing.assert_equal(rixs.extract(scan, BENT, GAIN), steps)


def test_frames_added_later_give_the_same_numbers(scan: xr.Dataset) -> None:
    whole = rixs.extract(scan, BENT, GAIN)
    part = rixs.extract(scan.isel(frame=slice(0, 5)), BENT, GAIN)
    for new in (scan.isel(frame=slice(5, None)), scan):  # the new frames, or all of them
        grown = rixs.extend(part, new, BENT, GAIN)
        xr.testing.assert_equal(grown, whole)
        xr.testing.assert_equal(rixs.extend(grown, scan, BENT, GAIN), whole)
    rmap, again = rixs.reduce(whole), rixs.reduce(grown)
    xr.testing.assert_equal(rmap, again)


def test_frames_with_another_curvature_are_not_added(scan: xr.Dataset) -> None:
    part = rixs.extract(scan.isel(frame=slice(0, 5)), BENT, GAIN)
    with pytest.raises(SchemaError, match="same curvature"):
        rixs.extend(part, scan, Curvature((5.0,), ((1e-6,),), 64), GAIN)


def test_a_partial_scan_gives_a_partial_map(scan: xr.Dataset) -> None:
    whole = rixs.reduce(scan)
    part = rixs.reduce(scan.isel(frame=slice(0, 9)))
    assert part.sizes["excitation_energy"] == 9
    assert abs(float(part.intensity.sum() / whole.intensity[:9].sum()) - 1) < 0.02


def test_order_of_the_frames_does_not_matter_to_a_map(scan: xr.Dataset) -> None:
    axis = _axis()
    mixed = scan.isel(frame=np.random.default_rng(1).permutation(scan.sizes["frame"]))
    maps = [rixs.reduce(each, emission=axis, curvature=BENT, gain=GAIN) for each in (scan, mixed)]
    np.testing.assert_allclose(maps[0].intensity, maps[1].intensity, rtol=1e-9, atol=1e-9)


def _axis() -> object:
    from calibration.emission import EmissionAxis

    return EmissionAxis((526.0, 0.125, 0.0), ((1e-6, 0, 0), (0, 1e-8, 0), (0, 0, 1e-12)), 95.5)


# Energies


def test_a_shift_is_applied_once(scan: xr.Dataset) -> None:
    shift = Shift(value=0.3, error=0.01, reference=531.0, position=530.7)
    spectra = rixs.normalize(rixs.extract(scan, BENT, GAIN))
    corrected = rixs.correct_energies(spectra, shift)
    np.testing.assert_allclose(corrected.excitation_energy - spectra.excitation_energy, 0.3)
    with pytest.raises(CalibrationError, match="corrected already"):
        rixs.correct_energies(corrected, shift)
    with pytest.raises(CalibrationError, match="corrected already"):
        rixs.make_map(corrected, _axis(), shift)  # type: ignore[arg-type]


def test_references_before_and_after_make_a_drift() -> None:
    before, after = (excitation.calibrate(simulate.tio2(i, 0.36 + 0.05 * i)) for i in range(2))
    shift = excitation.between(before, after)
    assert abs(shift.drift - 0.05) < 3 * shift.drift_errors
    assert shift.value == pytest.approx(0.385, abs=3 * shift.error)
    spectra = xr.Dataset(coords={"excitation_energy": ("frame", [530.0, 531.0, 532.0])})
    np.testing.assert_allclose(shift.at(spectra), shift.value + shift.drift * np.array([-0.5, 0, 0.5]))
    with pytest.raises(CalibrationError, match="are put at"):
        excitation.between(before, Shift(0.36, 0.01, 530.0, 529.64))


def test_a_drift_of_the_spectrograph_is_measured_where_the_scan_turns_back() -> None:
    up = simulate.excitation_energies(527.0, 533.0, 0.4)
    energies = np.concatenate([up[::2], up[1::2][::-1]])
    scan = simulate.scan(1.0, 2, energies, drift=1.5)
    from calibration.emission import calibrate

    axis = calibrate(rixs.normalize(rixs.extract(scan, BENT, GAIN)), drift=1.0)
    assert abs(axis.drift - 1.5) < 3 * axis.drift_errors
    assert axis.drift_errors < 0.1
    one_way = calibrate(rixs.normalize(rixs.extract(simulate.scan(1.0, 2, up), BENT, GAIN)), drift=1.0)
    assert one_way.drift_errors > 0.5
    assert one_way.energy_errors(60.0) > 3 * axis.energy_errors(60.0)


# Repeats


def repeats(change: float, seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    expected = 400.0 * np.exp(-0.5 * ((np.arange(80) - 40) / 10) ** 2) + 20
    dose = np.arange(4.0)
    photons = rng.poisson(expected * (1 + change * dose[:, None]))
    return photons.astype(float), np.sqrt(np.maximum(photons, 1.0)), dose


def test_repeats_that_agree_have_a_chi2_of_one() -> None:
    found = [compare(*repeats(0.0, seed)) for seed in range(100)]
    assert np.mean([chi2 for chi2, _ in found]) == pytest.approx(1, abs=3 * np.sqrt(2 / 30 / 100))
    assert sum(flag != 0 for _, flag in found) <= 2


def test_repeats_that_change_with_dose_are_told() -> None:
    _, flag = compare(*repeats(0.05, 1))
    assert flag == CHANGED | WITH_DOSE


def test_a_single_spectrum_has_nothing_to_agree_with() -> None:
    chi2, flag = compare(np.ones((1, 16)), np.ones((1, 16)), np.zeros(1))
    assert np.isnan(chi2)
    assert flag == 0


# Photons


def test_photons_of_sparse_frames_are_counted() -> None:
    instrument = simulate.Spectrograph(cosmics=0.0, sharing=0.1)
    scan = simulate.scan(0.0, 1, simulate.excitation_energies(), instrument, flux=3e5)
    counted = rixs.count_photons(scan, BENT, GAIN)
    truth = simulate.expected_photons(0.0, simulate.excitation_energies(), instrument).sum(axis=(1, 2))
    expected = (truth * scan.i0.values / 1e6).sum()
    assert counted.intensity.sum() / 118 == pytest.approx(expected, abs=3 * np.sqrt(expected))
    # The variance is that of the photons, and a ninth of one for every bin.
    variance = float((counted.intensity_errors**2).sum()) / 118**2
    assert variance == pytest.approx(expected + counted.intensity.size / 9, abs=4 * np.sqrt(expected))


def test_bright_frames_are_not_counted(scan: xr.Dataset) -> None:
    with pytest.raises(SchemaError, match="events overlap"):
        rixs.count_photons(scan, BENT, GAIN)
