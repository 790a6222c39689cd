"""Excitation axis: the constant by which a monochromator is off, from a reference absorption.

The first main peak of the O K absorption of TiO2 is put at 531.0 eV (Liu, Xu et al., Nature Energy 7 (2022),
doi 10.1038/s41560-022-01036-3). The position is the maximum of a cubic fitted around the top, over three
ranges. The range of the three positions, which comes from the neighbouring peaks and the shape, is part of
the error beside the counting error: the latter alone is several times too small.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from beamline.errors import CalibrationError
from calibration.records import Calibration

if TYPE_CHECKING:
    import xarray as xr

Array = np.ndarray[Any, np.dtype[np.float64]]

PROMINENCE = 0.2
"""A main peak rises above the dip after it by this part of the whole scan's range."""

WIDTHS = (0.4, 0.5, 0.6)
"""Half widths of the fitted range, in full widths at half maximum."""


@dataclass(frozen=True)
class Shift(Calibration):
    """What is added to stated excitation energies.

    Attributes
    ----------
    value, error
        The shift and its standard deviation, eV.
    reference
        Energy the reference peak is put at, eV.
    position
        Energy at which the monochromator stated it, eV.
    """

    value: float
    error: float
    reference: float
    position: float


LARGEST = 5.0
"""Monochromators are off by less than this (eV)."""


def calibrate(scan: xr.Dataset, reference: float = 531.0, largest: float = LARGEST) -> Shift:
    """Measure the shift with the absorption of a reference.

    Parameters
    ----------
    scan
        Kind ``xas.scans``: mu (energy), with mu_errors where they are known.
    reference
        True energy of the first main peak, eV.
    largest
        A peak farther from the reference than this (eV) is another one.

    Raises
    ------
    CalibrationError
        The scan has no peak, stops within it, its first main peak is farther than `largest` from the
        reference, or cannot be fitted.
    """
    if scan["mu"].dims != ("energy",):
        raise CalibrationError("mu", f"has dims {scan['mu'].dims}", "give one scan of the reference")
    energy = scan["energy"].values.astype(float)
    mu = scan["mu"].values.astype(float)
    errors = scan["mu_errors"].values if "mu_errors" in scan else None
    top, fwhm = _first_peak(energy, mu)
    off = reference - energy[top]
    if abs(off) > largest:
        raise CalibrationError(
            "reference scan",
            f"has its first main peak at {energy[top]:.2f} eV, {abs(off):.1f} eV from {reference:g} eV",
            f"is it a scan of this reference and edge? A shift beyond {largest:g} eV needs largest=",
        )
    fits = [_maximum(energy, mu, errors, energy[top], half * fwhm) for half in WIDTHS]
    positions = np.array([position for position, _ in fits])
    counting = float(np.median([error for _, error in fits]))
    position = float(np.median(positions))
    error = float(np.hypot(counting, np.ptp(positions)))
    return Shift(value=reference - position, error=error, reference=reference, position=position)


def _first_peak(energy: Array, mu: Array) -> tuple[int, float]:
    """Return the index of the first main maximum and its full width at half maximum (eV)."""
    from scipy.signal import find_peaks, peak_widths

    peaks, _ = find_peaks(mu, prominence=PROMINENCE * np.ptp(mu))
    if peaks.size == 0:
        raise CalibrationError("reference scan", "has no main peak", "does it cover the edge?")
    first = peaks[:1]
    _, _, left, right = peak_widths(mu, first, rel_height=0.5)
    points = np.arange(energy.size)
    return int(first[0]), float(np.interp(right[0], points, energy) - np.interp(left[0], points, energy))


def _maximum(
    energy: Array, mu: Array, errors: Array | None, start: float, half: float
) -> tuple[float, float]:
    """Return position and counting error (eV) of the maximum of a cubic fitted within `half` of `start`."""
    window = np.abs(energy - start) <= half
    if window.sum() < 6:
        raise CalibrationError(
            "reference scan",
            f"has {window.sum()} points within {half:.2f} eV of its first peak, 6 are needed",
            "measure the reference in finer steps",
        )
    t, y = (energy[window] - start) / half, mu[window]
    sigma = np.ones(t.size) if errors is None else errors[window]
    design = t[:, None] ** np.arange(4)
    coefficients, *_ = np.linalg.lstsq(design / sigma[:, None], y / sigma, rcond=None)
    covariance = np.linalg.inv((design / sigma[:, None]).T @ (design / sigma[:, None]))
    if errors is None:
        covariance *= ((y - design @ coefficients) ** 2).sum() / (t.size - 4)
    _, b, c, d = coefficients
    root = c**2 - 3 * b * d
    # The maximum is where b + 2 c t + 3 d t² = 0 with a falling slope; written so that d may vanish.
    at = -b / (c - np.sqrt(root)) if root > 0 and c < 0 else np.inf
    if abs(at) > 1:
        raise CalibrationError("reference scan", "has no maximum at its first peak", "is it a peak?")
    gradient = np.array([0.0, 1.0, 2 * at, 3 * at**2]) / (2 * c + 6 * d * at)
    return float(start + at * half), float(half * np.sqrt(gradient @ covariance @ gradient))
