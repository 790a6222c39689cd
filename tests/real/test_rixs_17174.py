"""A real map: 48 points over the Co L3 edge, scan 17174 of ALS 8.0.1."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import xarray as xr

import beamline
import rixs
from beamline.errors import CalibrationError
from calibration import curvature, elastic, emission, gain
from calibration.curvature import Curvature
from calibration.gain import Gain
from rixs.normalization import normalize
from rixs.spikes import mask_spikes
from rixs.straightening import straighten


@pytest.fixture(scope="module")
def folder(data_dir: Path) -> Path:
    return data_dir / "rixs" / "als_bl801_irixs" / "irixs" / "2024-7-5" / "CCD Scan 17174"


@pytest.fixture(scope="module")
def scan(folder: Path) -> xr.Dataset:
    data = beamline.read(folder)
    assert isinstance(data, xr.Dataset)
    return data


@pytest.fixture(scope="module")
def rmap(scan: xr.Dataset) -> xr.Dataset:
    return rixs.reduce(scan)


@pytest.fixture(scope="module")
def detector(scan: xr.Dataset) -> Gain:
    return gain.calibrate(scan)


def test_column_sums_are_the_beamlines_own(scan: xr.Dataset, folder: Path, detector: Gain) -> None:
    own = beamline.read(folder, kind="rixs.spectra")
    ours = straighten(scan, Curvature.straight(64), detector)
    assert own.sizes["frame"] == 48
    np.testing.assert_array_equal(ours.intensity, own.intensity)


def test_one_image_equals_its_table_of_pixels(scan: xr.Dataset, folder: Path) -> None:
    table = np.loadtxt(folder / "Andor" / "cox17174-00020-2D.txt", skiprows=10, dtype=int)
    np.testing.assert_array_equal(scan.counts.values[19][table[:, 1], table[:, 0]], table[:, 2])


def test_the_scan_took_four_hours_from_its_first_stamp(scan: xr.Dataset) -> None:
    assert scan.timestamp.values[0] == np.datetime64("2024-07-05T22:18:24")
    assert scan.timestamp.values[-1] == np.datetime64("2024-07-06T02:18:47")


def test_photons_have_the_charge_seen_before(detector: Gain) -> None:
    # 175 ADU with the pedestal left by clipping, which adds some 18 ADU to the nine pixels of an event.
    assert detector.gain == pytest.approx(160, abs=20)
    assert detector.events > 1000


def test_the_five_elastic_lines_below_the_edge(scan: xr.Dataset, detector: Gain) -> None:
    """Positions of lines in the plain column sums, found by hand in an independent analysis."""
    spectra = normalize(straighten(mask_spikes(scan, detector), Curvature.straight(64), detector))
    values = (
        spectra[name].values for name in ("pixel", "excitation_energy", "intensity", "intensity_errors")
    )
    below, lines = elastic.find(*values)
    np.testing.assert_array_equal(below[:5], range(5))
    singly = [line[1] for line in lines[:5]]
    np.testing.assert_allclose(singly, [1531.80, 1534.19, 1536.54, 1538.54, 1540.96], atol=0.1)
    axis = emission.calibrate(spectra)
    np.testing.assert_allclose(axis.energies[:5], [774.990, 775.506, 776.037, 776.505, 777.001], atol=1e-3)
    # With one width for all lines, as the axis has them, each moves by less than its own error.
    np.testing.assert_allclose(axis.pixels[:5], singly, atol=0.16)
    # Over 9 px, positions known to 0.16 px leave 2 % of the dispersion open.
    assert np.polyfit(axis.pixels[:5], axis.energies[:5], 1)[0] == pytest.approx(0.219, abs=0.005)
    assert axis.energy_errors(axis.pixels[0]) < 0.05
    assert axis.chi2_reduced < 1
    # The peak at 778.70 eV is 0.2 px off and would make it 0.223.
    assert axis.dispersion(axis.pixels[2]) == pytest.approx(0.219, abs=0.002)
    assert max(axis.energies) < 778.6


def test_lines_on_the_edge_are_not_taken_for_elastic(scan: xr.Dataset, detector: Gain) -> None:
    spectra = normalize(straighten(scan, Curvature.straight(64), detector))
    assert max(emission.calibrate(spectra).energies) < 779


@pytest.mark.parametrize("first", range(1, 7))
def test_a_scan_that_begins_nearer_its_edge_agrees_within_its_errors(
    scan: xr.Dataset, detector: Gain, first: int
) -> None:
    spectra = normalize(straighten(scan, Curvature.straight(64), detector))
    whole, part = emission.calibrate(spectra), emission.calibrate(spectra.isel(frame=slice(first, None)))
    at = np.array([1500.0, 1532.0])
    assert (np.abs(part.energy(at) - whole.energy(at)) < 2 * part.energy_errors(at)).all()


@pytest.mark.parametrize("first", [7, 8, 12, 16, 24])
def test_a_scan_that_begins_on_the_edge_is_refused(scan: xr.Dataset, detector: Gain, first: int) -> None:
    spectra = normalize(straighten(scan, Curvature.straight(64), detector))
    with pytest.raises(CalibrationError, match="emission axis"):
        emission.calibrate(spectra.isel(frame=slice(first, None)))


def test_the_lines_are_bent_by_half_a_pixel(scan: xr.Dataset, detector: Gain) -> None:
    found = curvature.calibrate(mask_spikes(scan, detector), detector)
    assert len(found.strip_rows) == 16
    assert 0.3 < np.ptp(found.shift()) < 0.9
    assert found.shift_errors().max() < 0.1
    assert found.chi2_reduced < 2


def test_the_first_point_with_half_the_flux_fits_in(rmap: xr.Dataset) -> None:
    np.testing.assert_array_equal(rmap.i0_mask, [1] + [0] * 47)
    # The line of the first point is as high as that of the second.
    heights = [
        rmap.intensity[i].sel(emission_energy=slice(774, 777)).integrate("emission_energy") for i in (0, 1)
    ]
    assert heights[0] == pytest.approx(float(heights[1]), rel=0.25)
    assert (rmap.intensity_errors[0] > rmap.intensity_errors[1]).mean() > 0.8


def test_elastic_lines_lie_at_zero_loss(rmap: xr.Dataset) -> None:
    for i in range(8):
        near = np.abs(rmap.energy_loss.values[i]) < 2
        top = np.argmax(np.where(near, rmap.intensity.values[i], -np.inf))
        assert abs(rmap.energy_loss.values[i, top]) < 0.35
