"""Emission axis: the energy of every pixel, from elastic lines.

The elastic line has the energy of the excitation, so it is the one line that walks along the detector as the
excitation is scanned, at one pixel per so many meV; fluorescence stays. Below the edge it is alone: it is
found there as the straight path through the peaks that the most spectra agree on, and fitted in each of them
by a Gaussian on a constant background. Then it is followed to higher energies for as long as it stays where
the axis so far expects it: on an edge, resonant emission close to it draws the peak away, slowly enough to
look like an axis of another dispersion. A scan that begins on its edge therefore has no axis of its own.

The axis is a parabola, E(x) = c₀ + c₁ t + c₂ t² with t = x − x̄. Elastic lines often cover a small part of it
only, and the emission of interest lies outside; where they cannot tell the curvature c₂, optics must: a
grating of fixed geometry images wavelength linearly, for which c₂ = c₁²/c₀. This enters as one more
measurement, with an uncertainty of half its value, so that the covariance extrapolates honestly and enough
lines overrule it. [The rule is inferred: a published table of the spectrograph at ALS 8.0.1
(picklerixs, channelsToEnergies++, 457 to 795 eV) is linear in wavelength within 0.02 eV.]
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from beamline.errors import CalibrationError
from calibration.records import Calibration

if TYPE_CHECKING:
    import xarray as xr

    from calibration.excitation import Shift

Array = np.ndarray[Any, np.dtype[np.float64]]
Indices = np.ndarray[Any, np.dtype[np.intp]]

DISPERSION = (0.002, 1.0)
"""Dispersions (eV/px) of soft X-ray spectrographs, coarsest limits."""

PATH = 1.5
"""A peak this close (px) to a path lies on it."""

OPTICS = 0.5
"""Relative uncertainty of the curvature that optics gives."""

HEIGHT = 6.0
"""A peak is higher than so many standard deviations of its spectrum's noise."""

AGREES = 3.0
"""A line belongs to the axis when it is off by no more than so many of its standard deviations."""

READ_BACK = 0.05
"""What the position of a line (px) is not known better than, whatever its photons say."""

FOLLOWS = 4.0
"""A line above the edge is given up when it raises chi² by more than this: 2 standard deviations."""

CHI2 = 2.0
"""Largest reduced chi² of an axis."""

SHORT = 0.08
"""Largest relative error of a dispersion; lines that leave more open cover too little."""

EDGE = 1.5
"""The emission of a scan that crosses an edge rises by this factor; one that rises less lies on one side."""

RISE = 0.08
"""Below the edge is where the emission has less than this part of its rise."""

BELOW = 3
"""Spectra below the edge that an axis needs."""

SHARE = 0.5
"""Below the edge the elastic line is on the path in more than this part of the spectra."""

GAP = 2
"""The line is given up when it is lost in more than so many spectra in a row."""

LINE = 2.0
"""Standard deviation (px) of the filter that finds lines."""


REMEDY = "give emission=, the axis of a scan that begins well below its edge"


@dataclass(frozen=True)
class EmissionAxis(Calibration):
    """Energy of a pixel, E(x) = c₀ + c₁ (x − x̄) + c₂ (x − x̄)².

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
        Of the fit to them; the covariance is scaled up by it where it is more than 1.
    """

    coefficients: tuple[float, float, float]
    covariance: tuple[tuple[float, ...], ...]
    center: float
    excitation_shift: float = 0.0
    energies: tuple[float, ...] = ()
    pixels: tuple[float, ...] = ()
    pixel_errors: tuple[float, ...] = ()
    chi2_reduced: float = 0.0

    def energy(self, pixel: Array | float) -> Array:
        """Return the energy (eV) at `pixel`."""
        return np.asarray(self._powers(pixel) @ np.array(self.coefficients))

    def energy_errors(self, pixel: Array | float) -> Array:
        """Return the standard deviation (eV) of the energy at `pixel`; errors of pixels are correlated."""
        powers = self._powers(pixel)
        return np.asarray(np.sqrt(np.einsum("...i,ij,...j->...", powers, np.array(self.covariance), powers)))

    def dispersion(self, pixel: Array | float) -> Array:
        """Return dE/dx (eV/px) at `pixel`."""
        t = np.asarray(pixel, float) - self.center
        return np.asarray(self.coefficients[1] + 2 * self.coefficients[2] * t)

    def _powers(self, pixel: Array | float) -> Array:
        return np.asarray((np.asarray(pixel, float) - self.center)[..., None] ** np.arange(3))


def calibrate(spectra: xr.Dataset, excitation: Shift | None = None) -> EmissionAxis:
    """Find the elastic lines in the spectra of a scan and fit the axis.

    Parameters
    ----------
    spectra
        Kind ``rixs.spectra``: intensity (frame, pixel) with the coordinate ``excitation_energy``.
    excitation
        Correction of the stated excitation energies (`calibration.excitation`).

    Raises
    ------
    CalibrationError
        Fewer than three spectra lie below the edge, or fewer than three of them or half of them have an
        elastic line on one path; the lines do not fit an axis (reduced chi² above `CHI2`) or are too close
        for one; or the axis turns back on the detector.
    """
    offset = excitation.value if excitation is not None else 0.0
    # A frame without flux has no line.
    spectra = spectra.isel(frame=np.isfinite(spectra["intensity"].values).any(axis=1))
    if spectra.sizes["frame"] < BELOW:
        raise CalibrationError("emission axis", f"needs at least {BELOW} spectra with flux", REMEDY)
    energy = spectra["excitation_energy"].values + offset
    pixel = spectra["pixel"].values.astype(float)
    intensity = spectra["intensity"].values
    errors = spectra["intensity_errors"].values if "intensity_errors" in spectra else None
    peaks = [_peaks(pixel, row) for row in intensity]
    order = np.argsort(energy, kind="stable")
    below = _below_edge(order, intensity)
    start, slope = _path(energy[below], [peaks[i] for i in below])

    def line(i: int, expected: float, within: float) -> tuple[float, float, float] | None:
        """Return the line of spectrum `i` near `expected` (px): energy, position, error."""
        near = [p for p in peaks[i] if abs(p - expected) < within]
        if not near:
            return None
        nearest = min(near, key=lambda p: abs(p - expected))
        fit = _fit_line(pixel, intensity[i], None if errors is None else errors[i], nearest)
        return None if fit is None else (float(energy[i]), *fit)

    middle = energy[below].mean()
    found = [line(i, start + slope * (energy[i] - middle), PATH) for i in below]
    lines = _agreeing([item for item in found if item is not None])
    if len(lines) <= SHARE * below.size:
        raise CalibrationError(
            "emission axis",
            f"only {len(lines)} of {below.size} spectra below the edge have an elastic line on one path",
            f"is the scan above its edge? {REMEDY}",
        )
    axis = _fit_axis(lines, offset)
    lost = 0
    for i in order[np.isin(order, below, invert=True)]:
        expected = pixel[int(np.argmin(np.abs(axis.energy(pixel) - energy[i])))]
        width = axis.energy_errors(expected) / abs(axis.dispersion(expected))
        item = line(i, float(expected), PATH + float(width))
        longer = _fit_axis([*lines, item], offset) if item is not None and _agrees(axis, item) else axis
        if item is not None and longer is not axis and _chi2(longer) - _chi2(axis) < FOLLOWS:
            lost = 0
            lines.append(item)
            axis = longer
        else:
            lost += 1
            if lost > GAP:
                break
    _check(axis, pixel)
    return axis


def _check(axis: EmissionAxis, pixel: Array) -> None:
    """Refuse an axis that its lines do not make."""
    reduced = _chi2(axis, READ_BACK) / max(len(axis.energies) - 2, 1)
    if reduced > CHI2:
        raise CalibrationError(
            "emission axis",
            f"misses its {len(axis.energies)} lines (reduced chi² {reduced:.1f}): they are not elastic",
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


def _peaks(pixel: Array, spectrum: Array) -> list[float]:
    """Return the positions of the lines in a spectrum, the highest eight."""
    from scipy.ndimage import gaussian_filter1d

    filled = np.nan_to_num(spectrum, nan=float(np.nanmedian(spectrum)))
    line = gaussian_filter1d(filled, LINE) - gaussian_filter1d(filled, 4 * LINE)
    noise = 1.4826 * float(np.median(np.abs(line - np.median(line))))
    top = (line[1:-1] >= line[:-2]) & (line[1:-1] > line[2:]) & (line[1:-1] > HEIGHT * noise)
    found = np.flatnonzero(top) + 1
    return [float(pixel[i]) for i in sorted(found, key=lambda i: -line[i])[:8]]


def _path(energy: Array, peaks: list[list[float]]) -> tuple[float, float]:
    """Return the straight path (px at the mean energy, px/eV) that passes peaks of the most spectra."""
    frame = np.array([i for i, row in enumerate(peaks) for _ in row], dtype=np.intp)
    position = np.array([p for row in peaks for p in row])
    x = energy[frame] - energy.mean() if frame.size else np.array([])
    first, second = np.triu_indices(frame.size, 1)
    step = x[second] - x[first]
    with np.errstate(divide="ignore", invalid="ignore"):
        slope = (position[second] - position[first]) / step
        # Peaks less than 3 px apart say too little about a slope.
        possible = (np.abs(1 / slope) > DISPERSION[0]) & (np.abs(1 / slope) < DISPERSION[1])
    possible &= np.abs(position[second] - position[first]) >= 3
    slopes = slope[possible]
    starts = position[first][possible] - slopes * x[first][possible]
    best = (0, 0.0, 0.0, 0.0)
    for a, b in zip(starts, slopes, strict=True):
        miss = np.abs(position - a - b * x)
        on_path = miss < PATH
        votes = len(set(frame[on_path].tolist()))
        if (votes, -float(miss[on_path].sum())) > (best[0], best[1]):
            best = (votes, -float(miss[on_path].sum()), a, b)
    if best[0] < 3:
        raise CalibrationError(
            "emission axis",
            "no elastic line: no three spectra have peaks that walk with the excitation energy",
            REMEDY,
        )
    return best[2], best[3]


def _fit_line(
    pixel: Array, spectrum: Array, errors: Array | None, start: float
) -> tuple[float, float] | None:
    """Return position and error (px) of the line near `start`, or None where no Gaussian fits."""
    from scipy.optimize import curve_fit

    def model(x: Array, height: float, center: float, sigma: float, base: float) -> Array:
        return np.asarray(height * np.exp(-0.5 * ((x - center) / sigma) ** 2) + base)

    window = (np.abs(pixel - start) <= 3 * LINE) & np.isfinite(spectrum)
    x, y = pixel[window], spectrum[window]
    if x.size < 8:
        return None
    # A fit weighted with the counting error of each pixel would be drawn to pixels that fluctuated low.
    sigma = None if errors is None else np.full(x.size, np.sqrt(np.mean(errors[window] ** 2)))
    try:
        best, covariance = curve_fit(
            model,
            x,
            y,
            p0=(np.ptp(y), start, LINE, y.min()),
            sigma=sigma,
            absolute_sigma=sigma is not None,
            bounds=((0, start - 4, 0.4, -np.inf), (np.inf, start + 4, 4 * LINE, np.inf)),
        )
    except (RuntimeError, ValueError):
        return None
    error = float(np.sqrt(covariance[1, 1]))
    return (float(best[1]), error) if 0 < error < 1 else None


def _agreeing(lines: list[tuple[float, float, float]]) -> list[tuple[float, float, float]]:
    """Drop lines off the straight line through the others by more than `AGREES` of their errors."""
    while len(lines) > 3:
        energy, position, error = np.array(lines).T
        slope, start = np.polyfit(energy - energy.mean(), position, 1, w=1 / error)
        miss = np.abs(position - start - slope * (energy - energy.mean()))
        pull = miss / np.hypot(error, READ_BACK)
        if pull.max() <= AGREES:
            break
        lines = [item for i, item in enumerate(lines) if i != int(pull.argmax())]
    if len(lines) < 3:
        raise CalibrationError(
            "emission axis",
            f"{len(lines)} elastic lines are too few",
            REMEDY,
        )
    return lines


def _agrees(axis: EmissionAxis, line: tuple[float, float, float]) -> bool:
    """Tell whether a line lies where the axis so far expects it."""
    energy, position, error = line
    miss = abs(float(axis.energy(position)) - energy)
    sigma = np.hypot(np.hypot(error, READ_BACK) * axis.dispersion(position), axis.energy_errors(position))
    return bool(miss < AGREES * sigma)


def _below_edge(order: Indices, intensity: Array) -> Indices:
    """Return the spectra below the edge in order of energy: before the emission has risen by `RISE`.

    Emission is what stands above the median of a spectrum: a pedestal, such as the one clipping leaves, does
    not count. Where it does not rise there is no edge, and all spectra are on one side of it.
    """
    total = np.array([np.nansum(row - np.nanmedian(row)) for row in intensity])[order]
    top = int(np.argmax(total))
    lowest = float(total[: top + 1].min())
    if total[top] < EDGE * lowest:
        return order
    low = total[: top + 1] < lowest + RISE * (total[top] - lowest)
    count = int(np.flatnonzero(low)[-1]) + 1
    if count < BELOW:
        raise CalibrationError(
            "emission axis",
            f"only {count} spectra lie below the edge, where the elastic line is alone; {BELOW} are needed",
            REMEDY,
        )
    return np.asarray(order[:count])


def _chi2(axis: EmissionAxis, known: float = 0.0) -> float:
    """Return chi² of the lines, of which no position is better known than `known` (px)."""
    position, energy = np.array(axis.pixels), np.array(axis.energies)
    miss = (axis.energy(position) - energy) / axis.dispersion(position)
    return float((miss**2 / (np.array(axis.pixel_errors) ** 2 + known**2)).sum())


def _fit_axis(lines: list[tuple[float, float, float]], offset: float) -> EmissionAxis:
    """Fit the parabola to lines (energy, pixel, error), with the curvature that optics gives as a prior."""
    energy, position, pixel_errors = np.array(lines).T
    center = float(np.average(position, weights=pixel_errors**-2))
    t = position - center
    slope, start = np.polyfit(t, energy, 1, w=1 / pixel_errors)
    optics = slope**2 / start
    sigma = pixel_errors * abs(slope)
    design = np.column_stack([np.ones_like(t), t, t**2]) / sigma[:, None]
    prior = np.array([[0.0, 0.0, 1 / (OPTICS * optics)]])
    matrix = np.vstack([design, prior])
    target = np.append(energy / sigma, 1 / OPTICS)
    solution, *_ = np.linalg.lstsq(matrix, target, rcond=None)
    misfit = float(((design @ solution - energy / sigma) ** 2).sum())
    reduced = misfit / max(len(energy) - 2, 1)
    # The scatter of the lines scales the errors of the lines, not that of the optics.
    information = design.T @ design / max(1.0, reduced) + prior.T @ prior
    covariance = np.linalg.inv(information)
    return EmissionAxis(
        coefficients=(float(solution[0]), float(solution[1]), float(solution[2])),
        covariance=tuple(tuple(map(float, row)) for row in covariance),
        center=center,
        excitation_shift=offset,
        energies=tuple(map(float, energy)),
        pixels=tuple(map(float, position)),
        pixel_errors=tuple(map(float, pixel_errors)),
        chi2_reduced=reduced,
    )
