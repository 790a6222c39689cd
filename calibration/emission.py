"""Emission axis: the energy of every pixel, from elastic lines.

The elastic line has the energy of the excitation. Lines are found below the edge, where they are alone
(`calibration.elastic`), and all spectra are fitted together, with the low-loss feature beside the line where
one may be (`calibration.elastic_fit`). No line is left out for where it lies, so that the covariance need not
know of a choice. Only if the lines above the edge do not fit one axis with those below, at odds of 1 to 10⁴,
is the axis made from those below alone: then resonant emission draws the others away, more than the model has
it. A scan that begins on its edge has no axis of its own.

Elastic lines often cover a small part of the axis only, and the emission of interest lies outside. There the
curvature decides. A grating of fixed geometry images wavelength linearly, which gives it; that enters with an
uncertainty, as does the drift of the spectrograph during the scan, which a scan in one direction cannot tell
from dispersion. [The rule is inferred: a published table of the spectrograph at ALS 8.0.1 (picklerixs,
channelsToEnergies++, 457 to 795 eV) is linear in wavelength within 0.02 eV.]
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from beamline.errors import CalibrationError
from calibration import elastic, elastic_fit
from calibration.elastic import BELOW, REMEDY
from calibration.records import Calibration

if TYPE_CHECKING:
    import xarray as xr

    from calibration.elastic_fit import ElasticFit
    from calibration.excitation import Shift

Array = np.ndarray[Any, np.dtype[np.float64]]

DRIFT = 0.1
"""Standard deviation of the drift over a scan (px) where nothing else is stated."""

DRIFTED = 2.0
"""A drift of more than so many of its standard deviations is taken out."""

ODDS = 1e-4
"""Lines that would scatter about their axis as they do by no better chance are not elastic."""

SHORT = 0.08
"""Largest relative error of a dispersion; lines that leave more open cover too little."""


@dataclass(frozen=True)
class EmissionAxis(Calibration):
    """Energy of a pixel, E(x) = c₀ + c₁ t + c₂ t² (polynomial), t = x − x̄.

    Of a grating it is c₀/(1 − c₁ t/c₀) + (c₂ − c₁²/c₀) t², which is the same to second order and linear in
    wavelength where c₂ = c₁²/c₀.

    Attributes
    ----------
    coefficients, covariance
        c₀ (eV), c₁ (eV/px), c₂ (eV/px²), and their covariance.
    center
        x̄, px.
    excitation_shift
        What had been added to the stated excitation energies, eV.
    energies, pixels, pixel_errors
        The elastic lines: corrected excitation energy (eV), position and its error (px).
    chi2_reduced
        Of these positions about the axis.
    equation
        "polynomial" or "grating".
    drift, drift_errors
        By how much lines moved to higher pixels from the first spectrum to the last, px. The axis is that of
        the middle of the scan.
    clock
        Times of the first and the last spectrum: seconds since 1970, or numbers of frames.
    """

    coefficients: tuple[float, float, float]
    covariance: tuple[tuple[float, ...], ...]
    center: float
    excitation_shift: float = 0.0
    energies: tuple[float, ...] = ()
    pixels: tuple[float, ...] = ()
    pixel_errors: tuple[float, ...] = ()
    chi2_reduced: float = 0.0
    equation: str = "polynomial"
    drift: float = 0.0
    drift_errors: float = 0.0
    clock: tuple[float, float] = (0.0, 1.0)

    def energy(self, pixel: Array | float) -> Array:
        """Return the energy (eV) at `pixel`."""
        t = np.asarray(pixel, float) - self.center
        if self.equation == "grating":
            return elastic_fit.energy_of(np.array(self.coefficients), t)
        return np.asarray((t[..., None] ** np.arange(3)) @ np.array(self.coefficients))

    def energy_errors(self, pixel: Array | float) -> Array:
        """Return the standard deviation (eV) of the energy at `pixel`; errors of pixels are correlated."""
        t = np.asarray(pixel, float) - self.center
        if self.equation == "grating":
            by = elastic_fit.axis_gradient(np.array(self.coefficients), t)
        else:
            by = t[..., None] ** np.arange(3)
        return np.asarray(np.sqrt(np.einsum("...i,ij,...j->...", by, np.array(self.covariance), by)))

    def dispersion(self, pixel: Array | float) -> Array:
        """Return dE/dx (eV/px) at `pixel`."""
        t = np.asarray(pixel, float) - self.center
        if self.equation == "grating":
            return elastic_fit.dispersion_of(np.array(self.coefficients), t)
        return np.asarray(self.coefficients[1] + 2 * self.coefficients[2] * t)

    def moved(self, spectra: xr.Dataset) -> Array:
        """Return how far (px) the lines of each spectrum have drifted from the axis; 0 where that may be."""
        first, last = self.clock
        if abs(self.drift) <= DRIFTED * self.drift_errors or last == first:
            return np.zeros(spectra.sizes["frame"])
        return np.asarray(self.drift * ((clock_of(spectra) - first) / (last - first) - 0.5))


def clock_of(spectra: xr.Dataset) -> Array:
    """Return when each spectrum was taken: seconds since 1970, or its number where that is not known."""
    for name in ("time", "timestamp"):
        if name in spectra.coords and not np.isnat(spectra[name].values).any():
            return np.asarray(spectra[name].values.astype("datetime64[ns]").astype(np.int64) / 1e9)
    return np.arange(spectra.sizes["frame"], dtype=float)


def calibrate(spectra: xr.Dataset, excitation: Shift | None = None, drift: float = DRIFT) -> EmissionAxis:
    """Find the elastic lines in the spectra of a scan and fit the axis.

    Parameters
    ----------
    spectra
        Kind ``rixs.spectra``: intensity (frame, pixel) with the coordinate ``excitation_energy``.
    excitation
        Correction of the stated excitation energies (`calibration.excitation`).
    drift
        How much (px, one standard deviation) the lines may move during the scan. A scan that comes back to
        energies it had before measures it; in any other, it goes into the errors.

    Raises
    ------
    CalibrationError
        Fewer than three spectra lie below the edge, or fewer than three of them or half of them have an
        elastic line on one path; the lines scatter about the axis as chance does in 1 of 10⁴ scans, or are
        too close for one; the axis turns back on the detector; or the energies are corrected already.
    """
    from calibration.excitation import CORRECTION, corrected_energies

    clock = clock_of(spectra)
    # A frame without flux has no line.
    seen = np.isfinite(spectra["intensity"].values).any(axis=1)
    if seen.sum() < BELOW:
        raise CalibrationError("emission axis", f"needs at least {BELOW} spectra with flux", REMEDY)
    energy = corrected_energies(spectra, excitation)[seen]
    pixel = spectra["pixel"].values.astype(float)
    intensity = spectra["intensity"].values[seen]
    ends = float(clock[seen].min()), float(clock[seen].max())
    tau = (clock[seen] - ends[0]) / max(ends[1] - ends[0], 1e-9) - 0.5
    errors = spectra["intensity_errors"].values[seen] if "intensity_errors" in spectra else None
    below, lines = elastic.find(pixel, energy, intensity, errors)
    if errors is None:
        noise = [elastic.noise_of(row) for row in intensity]
        errors = np.where(np.isfinite(intensity), np.array(noise)[:, None], np.nan)

    def fitted(which: list[elastic.Line]) -> ElasticFit | None:
        return elastic_fit.fit(pixel, energy, intensity, errors, tau, which, below, drift)

    found = fitted(lines)
    lonely = [line for line in lines if line[0] in below]
    if len(lonely) < len(lines) and (found is None or _improbable(found)):
        found = fitted(lonely)
    if found is None:
        raise CalibrationError("emission axis", "has its lines too close to the end of the detector", REMEDY)
    axis = EmissionAxis(
        coefficients=(float(found.axis[0]), float(found.axis[1]), float(found.axis[2])),
        covariance=tuple(tuple(map(float, row)) for row in found.covariance[:3, :3]),
        center=found.center,
        excitation_shift=excitation.value if excitation else float(spectra.attrs.get(CORRECTION, 0.0)),
        energies=tuple(map(float, energy[found.spectra])),
        pixels=tuple(map(float, found.positions)),
        pixel_errors=tuple(map(float, found.errors)),
        chi2_reduced=found.chi2_lines / max(found.spectra.size - 2, 1),
        equation="grating",
        drift=float(found.axis[3]),
        drift_errors=float(np.sqrt(found.covariance[3, 3])),
        clock=ends,
    )
    _check(axis, pixel, _improbable(found))
    return axis


def _improbable(found: ElasticFit) -> bool:
    """Tell whether the lines scatter about their axis more than chance allows."""
    from scipy.stats import chi2

    return bool(chi2.sf(found.chi2_lines, max(found.spectra.size - 3, 1)) < ODDS)


def _check(axis: EmissionAxis, pixel: Array, scattered: bool) -> None:
    """Refuse an axis that its lines do not make."""
    if scattered:
        raise CalibrationError(
            "emission axis",
            f"misses its {len(axis.energies)} lines (reduced chi² {axis.chi2_reduced:.1f}): not elastic",
            REMEDY,
        )
    error = float(np.sqrt(axis.covariance[1][1])) / abs(axis.coefficients[1])
    if error > SHORT:
        raise CalibrationError(
            "emission axis",
            f"has a dispersion known to {error:.0%} only: its {len(axis.energies)} lines lie too close",
            REMEDY,
        )
    if (np.sign(axis.dispersion(pixel)) != np.sign(axis.coefficients[1])).any():
        raise CalibrationError("emission axis", "turns back within the detector", "are these elastic lines?")
