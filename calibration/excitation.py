"""Excitation axis: the constant by which a monochromator is off, from a reference absorption.

The first main peak of the O K absorption of TiO2 is put at 531.0 eV (Liu, Xu et al., Nature Energy 7 (2022),
doi 10.1038/s41560-022-01036-3). Its position is the centre of a pseudo-Voigt line on a straight background,
fitted around the top: a symmetric line keeps its centre where a background under it moves its maximum. The
counting error is that of the fit, scaled with its scatter where that is larger. How far the centre moves
when less of the peak is fitted is what the shape is not known by; it is part of the error where the counts
are good enough to show it.

A map of the reference serves as well: what it emits at an excitation energy, summed over the emission, is a
fluorescence yield. Its points are few, so that its shift is known less well than that of a scan of its own.
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

WIDTHS = (0.85, 0.65)
"""Half widths of the fitted range in full widths at half maximum: that of the result, and a narrower one."""


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
    drift, drift_errors
        By how much the shift grows from the first point of a scan to the last, eV; `value` holds for the
        middle. Known from references before and after it (`between`).
    """

    value: float
    error: float
    reference: float
    position: float
    drift: float = 0.0
    drift_errors: float = 0.0

    def at(self, spectra: xr.Dataset) -> Array:
        """Return what is added to the stated energy of each spectrum (eV), in the order they were taken."""
        frames = spectra.sizes["frame"]
        progress = np.arange(frames) / max(frames - 1, 1) - 0.5
        return np.asarray(self.value + self.drift * progress)


CORRECTION = "excitation_correction"
"""Attribute of spectra whose energies are corrected: the shift at the middle of the scan, eV."""

LARGEST = 5.0
"""Monochromators are off by less than this (eV)."""


def calibrate(
    scan: xr.Dataset,
    reference: float = 531.0,
    largest: float = LARGEST,
    emission: tuple[float, float] | None = None,
) -> Shift:
    """Measure the shift with the absorption of a reference.

    Parameters
    ----------
    scan
        Kind ``xas.scans``: mu (energy), with mu_errors where they are known. Or kind ``rixs.map``, of the
        reference, whose `fluorescence_yield` is taken; or a ``rixs.cut`` of it over the excitation energy.
    reference
        True energy of the first main peak, eV.
    largest
        A peak farther from the reference than this (eV) is another one.
    emission
        Of a map: emission energies (eV) that are integrated; all there are where not given.

    Raises
    ------
    CalibrationError
        The scan has no peak, stops within it, its first main peak is farther than `largest` from the
        reference, or cannot be fitted; or the excitation energies of a map are corrected already.
    """
    if "mu" not in scan and "excitation_energy" in scan.coords:
        scan = _absorption(scan, emission)
    elif emission is not None:
        raise CalibrationError("emission", "is given for a scan, not for a map", "leave it out")
    if scan["mu"].dims != ("energy",):
        raise CalibrationError("mu", f"has dims {scan['mu'].dims}", "give one scan of the reference")
    energy = scan["energy"].values.astype(float)
    mu = scan["mu"].values.astype(float)
    errors = scan["mu_errors"].values if "mu_errors" in scan else None
    top, fwhm = _first_peak(energy, mu)
    off = reference - energy[top]
    if not abs(off) <= largest:
        raise CalibrationError(
            "reference scan",
            f"has its first main peak at {energy[top]:.2f} eV, {abs(off):.1f} eV from {reference:g} eV",
            f"is it a scan of this reference and edge? A shift beyond {largest:g} eV needs largest=",
        )
    position, counting = _centre(energy, mu, errors, energy[top], WIDTHS[0] * fwhm, fwhm)
    # Coarse steps leave no smaller range: then the shape is taken on trust.
    smaller = min(max(WIDTHS[1] * fwhm, 3.5 * float(np.median(np.diff(energy)))), WIDTHS[0] * fwhm)
    narrow, wider = _centre(energy, mu, errors, energy[top], smaller, fwhm)
    # Both share their points: the narrower scatters about the wider by the difference of their variances.
    chance = max(wider**2 - counting**2, 0.0)
    shape = max((narrow - position) ** 2 - 2 * chance, 0.0)
    error = float(np.sqrt(counting**2 + shape))
    return Shift(value=reference - position, error=error, reference=reference, position=position)


def fluorescence_yield(rmap: xr.Dataset, emission: tuple[float, float] | None = None) -> xr.Dataset:
    """Sum a map over its emission: a yield that stands for the absorption.

    Parameters
    ----------
    rmap
        Kind ``rixs.map``.
    emission
        First and last emission energy (eV). Where not given, all pixels measured at every point: the elastic
        line is among them, and should not leave the detector within the peak.

    Returns
    -------
    Dataset
        Kind ``xas.scans``: mu (energy) per 10⁶ counts of I0, with errors where the map has them: those of the
        photons, and that of I0 where it is in counts.

    Raises
    ------
    CalibrationError
        No pixel was measured at every point.
    """
    import xarray as xr

    values, axis = rmap["intensity"].values, rmap["emission_energy"].values
    lo, hi = emission or (-np.inf, np.inf)
    used = np.isfinite(values).all(axis=0) & (axis >= lo) & (axis <= hi)
    if used.sum() < 2:
        raise CalibrationError("map", f"has no emission at {lo:g} to {hi:g} eV measured at every point")
    # Bins as wide as their distance: per eV times this is what the pixel counted.
    width = np.abs(np.gradient(axis))[used]
    mu = values[:, used] @ width
    scans = xr.Dataset(
        {"mu": ("energy", mu)},
        coords={"energy": rmap["excitation_energy"].values},
        attrs={"yield": "fluorescence of a map, summed over its emission"},
    )
    if "intensity_errors" in rmap:
        variance = rmap["intensity_errors"].values[:, used] ** 2 @ width**2
        # The flux is one number for all pixels of a point: its error does not average out in their sum.
        if "i0" in rmap.coords and rmap["i0"].attrs.get("units") == "count":
            variance = variance + mu**2 / np.abs(rmap["i0"].values)
        scans["mu_errors"] = ("energy", np.sqrt(variance))
    return scans


def between(before: Shift, after: Shift) -> Shift:
    """Return the shift of a scan from references before and after it: the mean, and the drift between them.

    Parameters
    ----------
    before, after
        Of the reference measured just before and just after the scan.

    Raises
    ------
    CalibrationError
        They put the reference at different energies.
    """
    if before.reference != after.reference:
        raise CalibrationError(
            "references", f"are put at {before.reference:g} and {after.reference:g} eV", "use one of them"
        )
    drift, errors = after.value - before.value, float(np.hypot(before.error, after.error))
    return Shift(
        value=(before.value + after.value) / 2,
        error=errors / 2,
        reference=before.reference,
        position=(before.position + after.position) / 2,
        drift=drift,
        drift_errors=errors,
    )


def corrected_energies(spectra: xr.Dataset, shift: Shift | None) -> Array:
    """Return the excitation energies (eV) of spectra, corrected.

    Raises
    ------
    CalibrationError
        They are corrected already: a shift is applied once.
    """
    stated = np.asarray(spectra["excitation_energy"].values, float)
    if shift is None:
        return stated
    if CORRECTION in spectra.attrs:
        raise CalibrationError(
            "excitation energies", "are corrected already", "apply a shift once; leave excitation= out"
        )
    return stated + shift.at(spectra)


def _absorption(ds: xr.Dataset, emission: tuple[float, float] | None) -> xr.Dataset:
    """Return a map, or a cut of one over the excitation energy, as an absorption."""
    # Every map says by how much its energies were corrected, if they were.
    if "excitation_shift" in ds.attrs or CORRECTION in ds.attrs:
        raise CalibrationError(
            "map of the reference",
            "has its excitation energies corrected already",
            "make it without excitation=: the shift is that of stated energies",
        )
    if ds["intensity"].dims == ("excitation_energy", "emission_energy"):
        return fluorescence_yield(ds, emission)
    if ds["intensity"].dims != ("excitation_energy",):
        raise CalibrationError(
            "intensity", f"has dims {ds['intensity'].dims}", "give a map, or a cut over excitation"
        )
    names = {"intensity": "mu", "intensity_errors": "mu_errors", "excitation_energy": "energy"}
    seen = np.flatnonzero(np.isfinite(ds["intensity"].values))
    kept = ds[[name for name in ("intensity", "intensity_errors") if name in ds]].isel(excitation_energy=seen)
    return kept.rename({name: new for name, new in names.items() if name in kept.variables})


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


def _centre(
    energy: Array, mu: Array, errors: Array | None, start: float, half: float, fwhm: float
) -> tuple[float, float]:
    """Return centre and standard deviation (eV) of the line within `half` of `start`."""
    from scipy.optimize import least_squares

    window = np.abs(energy - start) <= half
    if window.sum() < 7:
        raise CalibrationError(
            "reference scan",
            f"has {window.sum()} points within {half:.2f} eV of its first peak, 7 are needed",
            "measure the reference in finer steps",
        )
    x, y = energy[window] - start, mu[window]
    sigma = np.full(x.size, float(np.ptp(y)) / 100) if errors is None else errors[window]

    def misfit(p: Array) -> Array:
        height, centre, width, lorentz, base, slope = p
        z = (x - centre) / (width * fwhm)
        line = lorentz / (1 + 4 * z**2) + (1 - lorentz) * np.exp(-4 * np.log(2) * z**2)
        return np.asarray((np.ptp(y) * height * line + base + slope * x - y) / sigma)

    guess = [1.0, 0.0, 1.0, 0.3, float(y.min()), 0.0]
    low, high = [0, -half, 0.3, 0, -np.inf, -np.inf], [np.inf, half, 3.0, 1, np.inf, np.inf]
    best = least_squares(misfit, guess, bounds=(low, high), x_scale=[1, fwhm / 10, 1, 1, 1, 1])
    # At a limit the shape is as it is there; only what is free has a covariance.
    free = best.active_mask == 0
    if not free[1] or best.x[0] < PROMINENCE:
        raise CalibrationError("reference scan", "has no maximum at its first peak", "is it a peak?")
    jacobian = best.jac[:, free]
    covariance = np.linalg.pinv(jacobian.T @ jacobian)
    scale = 2 * best.cost / max(x.size - int(free.sum()), 1)
    if errors is not None:
        scale = max(scale, 1.0)
    place = int(free[:1].sum())
    return float(start + best.x[1]), float(np.sqrt(scale * covariance[place, place]))
