from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import xarray as xr

import rixs
from beamline.errors import SchemaError
from calibration import clip, dark, gain
from calibration.curvature import Curvature
from calibration.gain import Gain
from rixs import simulate
from rixs.simulated_spectrograph import pattern

GAIN = Gain(gain=118.0, read_noise=4.0)
ENERGIES = simulate.excitation_energies(527.0, 533.0, 0.4)
FINE = replace(simulate.FINE, pedestal=0.0, column_pattern=1.0, tilt=0.0, bow=0.0)


def spectra_of(instrument: simulate.Spectrograph, seed: int, oxidised: float = 0.0) -> xr.Dataset:
    scan = simulate.scan(oxidised, seed, ENERGIES, instrument)
    return rixs.extract(scan, Curvature.straight(instrument.rows), GAIN)


def test_the_pattern_of_columns_is_found_beside_the_photons() -> None:
    clean = rixs.subtract_background(spectra_of(FINE, 1))
    off = clean.row_background.mean("frame").values / FINE.rows - pattern(FINE)
    errors = clean.row_background_errors.mean("frame").values / FINE.rows
    assert (off / errors).std() == pytest.approx(1, abs=0.1)


def test_a_pedestal_that_drifts_is_taken_from_each_frame() -> None:
    scan = simulate.scan(0.0, 2, ENERGIES, replace(FINE, column_pattern=0.0))
    drifting = np.arange(ENERGIES.size, dtype=np.int32)[:, None, None]
    moved = scan.assign(counts=scan.counts + drifting)
    straight = Curvature.straight(FINE.rows)
    still, drifted = (rixs.subtract_background(rixs.extract(each, straight, GAIN)) for each in (scan, moved))
    off = (drifted.intensity - still.intensity).sum("pixel") / still.intensity.sum("pixel")
    assert (np.abs(off) < 0.02).all()


def test_totals_of_clipped_images_are_those_of_the_photons() -> None:
    instrument = replace(simulate.ALS_801, columns=192, center_energy=526.0, dispersion=0.125, tilt=0, bow=0)
    emission = instrument.energy(np.arange(192.0))
    ratios = []
    for seed in range(6):
        scan = simulate.scan(0.0, seed, ENERGIES, instrument)
        detector = gain.calibrate(scan)
        spectra = rixs.extract(scan, Curvature.straight(64), detector)
        clean = rixs.subtract_background(spectra, clip.calibrate(scan, detector))
        assert clean.attrs["clip_bias"].startswith("modelled")
        inside = (emission > 518) & (emission < 534)
        truth = simulate.true_map(0.0, ENERGIES, instrument, emission) * np.gradient(emission)
        expected = (truth * scan.i0.values[:, None] / 1e6)[:, inside].sum()
        ratios.append(float(clean.intensity.values[:, inside].sum() / expected))
        assert float(spectra.intensity.values[:, inside].sum() / expected) > 1.01
    assert np.mean(ratios) == pytest.approx(1, abs=0.01)


def test_a_clip_without_a_model_is_said_and_in_the_error() -> None:
    instrument = replace(FINE, clipped=True)
    spectra = spectra_of(instrument, 1)
    blind = rixs.subtract_background(spectra)
    assert blind.attrs["clip_bias"].startswith("not modelled")
    assert (blind.row_background_errors > 0).all()


def test_a_background_is_subtracted_once() -> None:
    clean = rixs.subtract_background(spectra_of(FINE, 1))
    with pytest.raises(SchemaError, match="subtracted already"):
        rixs.subtract_background(clean)


def test_sums_that_do_not_know_their_empty_pixels_are_refused() -> None:
    with pytest.raises(SchemaError, match=r"rixs\.extract"):
        rixs.subtract_background(spectra_of(FINE, 1).drop_vars("empty_level"))


def test_a_scan_with_its_darks_is_reduced() -> None:
    scan = simulate.scan(1.0, 4, simulate.excitation_energies(), simulate.FINE)
    with pytest.raises(SchemaError, match="give dark="):
        rixs.reduce(scan)
    offset = dark.calibrate(simulate.darks(simulate.FINE))
    rmap = rixs.reduce(scan, dark=offset)
    subtracted = rixs.subtract_dark(scan, offset)
    again = rixs.reduce(subtracted)
    np.testing.assert_allclose(rmap.intensity, again.intensity, rtol=1e-4, atol=1e-2)
    with pytest.raises(SchemaError, match="already"):
        rixs.reduce(subtracted, dark=offset)
    with pytest.raises(SchemaError, match="already"):
        rixs.subtract_dark(subtracted, offset)
    with pytest.raises(SchemaError, match="columns"):
        rixs.subtract_dark(simulate.scan(seed=1, spectrograph=simulate.Spectrograph(pedestal=1.0)), offset)


def test_columns_have_the_noise_they_scatter_by() -> None:
    """Columns of 2 to 8 ADU, detector-wide 4: errors follow, and where all are alike they are alike."""
    # Columns of half the noise come out 7 % high: drawn towards the others, as 39 degrees of freedom allow
    # (4 %), and with a fixed pattern that is known, and so subtracted, in part only.
    rng = np.random.default_rng(4)
    noise = np.repeat([2.0, 4.0, 8.0], 120)
    for sigma in (noise, np.full(360, 4.0)):
        counts = rng.normal(0.0, sigma, (40, 16, 360))
        images = xr.Dataset(
            {"counts": (("frame", "y", "x"), counts, {"units": "ADU"})},
            coords={"excitation_energy": ("frame", np.arange(40) + 530.0, {"units": "eV"})},
            attrs={"kind": "images", "background": "subtracted"},
        )
        clean = rixs.subtract_background(rixs.extract(images, Curvature.straight(16), GAIN))
        errors = np.sqrt((clean.intensity_errors.values**2).mean(axis=0) / 16)
        np.testing.assert_allclose(np.sqrt((errors**2).reshape(3, 120).mean(axis=1)), sigma[::120], rtol=0.1)
        pulls = clean.intensity.values / clean.intensity_errors.values
        assert pulls.std() == pytest.approx(1, abs=0.05)
    assert errors.std() / errors.mean() < 0.06
