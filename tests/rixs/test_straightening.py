from __future__ import annotations

import numpy as np
import pytest
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st

from calibration.curvature import Curvature
from calibration.gain import Gain
from rixs.straightening import straighten, sum_frame


def images(counts: np.ndarray, mask: np.ndarray | None = None) -> xr.Dataset:
    ds = xr.Dataset(
        {"counts": (("frame", "y", "x"), counts, {"units": "ADU"})},
        coords={
            "excitation_energy": ("frame", np.arange(len(counts)) + 530.0, {"units": "eV", "long_name": "E"})
        },
        attrs={"kind": "images", "background": "subtracted"},
    )
    if mask is not None:
        ds["counts_mask"] = (
            ("frame", "y", "x"),
            mask.astype(np.uint8),
            {"flag_masks": [1], "flag_meanings": "spike"},
        )
    return ds


def bent(rows: int, *coefficients: float) -> Curvature:
    zero = tuple(tuple(0.0 for _ in coefficients) for _ in coefficients)
    return Curvature(coefficients=coefficients, covariance=zero, rows=rows)


class Shifted(Curvature):
    """Rows moved by any shift."""

    def shift(self) -> np.ndarray:
        return np.array(self.strip_shifts)


def sum_rows(counts: np.ndarray, shift: np.ndarray) -> np.ndarray:
    """Return the sums of frames (frame, y, x) whose rows are moved back by `shift`."""
    moved = Shifted((), (), len(shift), strip_shifts=tuple(shift))
    none = np.zeros(counts.shape[1:], np.uint8)
    gain = Gain(gain=118.0, read_noise=4.0)
    return np.array([sum_frame(frame.astype(float), none, moved, gain)[0] for frame in counts])


@settings(deadline=None, max_examples=50)
@given(
    shift=st.lists(st.floats(-7, 7), min_size=3, max_size=3),
    seed=st.integers(0, 1000),
)
def test_counts_are_conserved(shift: list[float], seed: int) -> None:
    counts = np.random.default_rng(seed).integers(-50, 1000, (2, 3, 9))
    summed = sum_rows(counts, np.array(shift))
    np.testing.assert_allclose(summed.sum(axis=1), counts.sum(axis=(1, 2)), rtol=1e-12)


@settings(deadline=None, max_examples=50)
@given(shift=st.floats(-3, 3), at=st.integers(4, 15))
def test_the_centre_of_a_line_moves_back_by_the_shift(shift: float, at: int) -> None:
    counts = np.zeros((1, 1, 20))
    counts[0, 0, at] = 1
    summed = sum_rows(counts, np.array([shift]))[0]
    pad = (summed.size - 20) // 2
    assert summed @ (np.arange(summed.size) - pad) == pytest.approx(at - shift)


def test_straight_rows_sum_exactly(gain: Gain) -> None:
    counts = np.random.default_rng(0).integers(0, 60000, (2, 8, 12)).astype(np.uint16)
    spectra = straighten(images(counts), Curvature.straight(8), gain)
    np.testing.assert_array_equal(spectra.intensity, counts.sum(axis=1, dtype=int))
    np.testing.assert_array_equal(spectra.pixel, np.arange(12))


def test_a_bent_line_becomes_straight(gain: Gain) -> None:
    rows = 9
    u = np.linspace(-1, 1, rows)
    counts = np.zeros((1, rows, 30), int)
    counts[0, np.arange(rows), (15 + 4 * u).round().astype(int)] = 1000
    spectra = straighten(images(counts), bent(rows, 4.0), gain)
    line = spectra.intensity.sel(pixel=15).item()
    assert line == pytest.approx(9000)


def test_masked_pixels_are_made_up_for_by_the_live_rows(gain: Gain) -> None:
    counts = np.full((1, 8, 5), 100)
    mask = np.zeros((1, 8, 5), bool)
    mask[0, :2, 3] = True
    counts[0, :2, 3] = 30000
    spectra = straighten(images(counts, mask), Curvature.straight(8), gain)
    np.testing.assert_array_equal(spectra.intensity[0], [800] * 5)
    np.testing.assert_array_equal(spectra.live_rows[0], [8, 8, 8, 6, 8])


def test_a_pixel_without_half_of_its_rows_is_not_measured(gain: Gain) -> None:
    mask = np.zeros((1, 8, 5), bool)
    mask[0, :5, 2] = True
    spectra = straighten(images(np.ones((1, 8, 5), int), mask), Curvature.straight(8), gain)
    np.testing.assert_array_equal(np.isnan(spectra.intensity[0]), [False, False, True, False, False])
    np.testing.assert_array_equal(np.isnan(spectra.intensity_errors[0]), np.isnan(spectra.intensity[0]))


@pytest.mark.parametrize("rate", [0.0, 0.005, 0.05, 1.0])
def test_errors_are_the_scatter(rate: float, gain: Gain) -> None:
    # Sums over 4 pixels: the splitting correlates neighbours.
    rng = np.random.default_rng(1)
    photons = rng.poisson(rate, (400, 16, 40))
    counts = np.rint(photons * gain.gain + rng.normal(0, gain.read_noise, photons.shape)).astype(int)
    spectra = straighten(images(counts), bent(16, 0.8, -0.5), gain).sel(pixel=slice(4, 35))
    sums = spectra.intensity.values.reshape(400, 8, 4).sum(axis=2)
    sigma = np.sqrt((spectra.intensity_errors.values**2).reshape(400, 8, 4).sum(axis=2).mean())
    assert sums.std() / sigma == pytest.approx(1, abs=0.06)


def test_a_detector_without_noise_still_has_errors() -> None:
    silent = Gain(gain=100.0, read_noise=0.0)
    spectra = straighten(images(np.zeros((1, 8, 5), int)), Curvature.straight(8), silent)
    np.testing.assert_array_equal(spectra.intensity_errors, np.full((1, 5), 100.0))
