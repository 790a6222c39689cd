"""Curvature: how far the image of one energy shifts from row to row of the detector.

Strips of rows are compared with the sum of the other strips of the same frame, and the cross-correlations are
added up over the frames: every frame keeps its own lines sharp, whatever the energy. The position of the
maximum of a strip's correlation is its shift; a polynomial through the shifts is the curvature.

* Only pixels with the charge of a photon enter. Read noise and the fixed pattern of the detector would
  correlate at zero shift and hide the lines.
* A strip is never compared with itself nor with the strips beside it, which share photons with it.
* A band-pass removes what is broader than a line: broad bands have no position to speak of.
* The error of a shift follows from the photons: with C(l) = Σ p(x) t(x+l), δl = −C'/C'', so that
  var(l) = Σ (t'² var p + p'² var t) / C''².
* Correlations that peak at zero shift for all strips, narrower than any line (hot columns), are recognised
  and refused, as is a scan in which too few strips have signal.

The shift is zero at the central row. Positive means that the line lies at a higher pixel.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy import fft

from beamline.errors import CalibrationError
from calibration.gain import PHOTON, Gain
from calibration.records import Calibration

if TYPE_CHECKING:
    import xarray as xr

Array = np.ndarray[Any, np.dtype[np.float64]]
Indices = np.ndarray[Any, np.dtype[np.intp]]
Complex = np.ndarray[Any, np.dtype[np.complex128]]

ORDER, STRIPS, MAX_SHIFT = 2, 16, 10.0

LINE, BROAD = 1.5, 12.0
"""Standard deviations (px) of the band-pass: of a line, and of what is too broad to be one."""

SMOOTHING = (1.0, 2.0, 4.0, 10.0)
"""Standard deviations (px) with which templates may be smoothed."""

FEW = 2.0
"""Photons under the smoothing below which the slope of a template says little."""

SIGNIFICANT = 5.0
"""A strip counts when its correlation exceeds its own noise so many times."""


@dataclass(frozen=True)
class Curvature(Calibration):
    """Shift of a line along the slit, as a polynomial of the row.

    Attributes
    ----------
    coefficients
        c₁, c₂ … (px) in shift(u) = c₁ u + c₂ u² …, where u runs from −1 to 1 over the rows.
    covariance
        Their covariance, px².
    rows
        Rows of the images it holds for.
    strip_rows, strip_shifts, strip_errors
        What the polynomial was fitted to: central row, shift and its error (px) of every strip used.
    chi2_reduced
        Of that fit; the covariance is scaled up by it where it is more than 1.
    """

    coefficients: tuple[float, ...]
    covariance: tuple[tuple[float, ...], ...]
    rows: int
    strip_rows: tuple[float, ...] = ()
    strip_shifts: tuple[float, ...] = ()
    strip_errors: tuple[float, ...] = ()
    chi2_reduced: float = 0.0

    @classmethod
    def straight(cls, rows: int) -> Curvature:
        """Return the curvature of straight lines: rows are summed as they are."""
        return cls(coefficients=(), covariance=(), rows=rows)

    def shift(self) -> Array:
        """Return the shift of every row, px."""
        powers = _powers(self.rows, np.arange(self.rows, dtype=float), len(self.coefficients))
        return np.asarray(powers @ np.array(self.coefficients))

    def shift_errors(self) -> Array:
        """Return the standard deviation of the shift of every row, px."""
        powers = _powers(self.rows, np.arange(self.rows, dtype=float), len(self.coefficients))
        covariance = np.array(self.covariance).reshape(len(self.coefficients), len(self.coefficients))
        return np.asarray(np.sqrt(np.einsum("ri,ij,rj->r", powers, covariance, powers)))


def calibrate(
    images: xr.Dataset, gain: Gain, order: int = ORDER, strips: int = STRIPS, max_shift: float = MAX_SHIFT
) -> Curvature:
    """Measure the curvature from the images of a scan.

    Parameters
    ----------
    images
        Kind ``images``; pixels flagged in ``counts_mask`` are left out.
    gain
        Tells photons from noise.
    order
        Order of the polynomial.
    strips
        Strips the rows are divided into.
    max_shift
        Largest shift (px) between a strip and the others.

    Raises
    ------
    CalibrationError
        Too few strips have sharp lines, or what correlates is a fixed pattern of the detector.
    """
    rows = images.sizes["y"]
    strip = strip_of_rows(rows, strips)
    profiles = []
    for i in range(images.sizes["frame"]):
        signal = images["counts"][i].values.astype(np.float32) - np.float32(gain.offset)
        signal[signal <= PHOTON * gain.gain] = 0
        if "counts_mask" in images:
            signal[images["counts_mask"][i].values != 0] = 0
        borders = np.flatnonzero(np.diff(strip, prepend=-1))
        profiles.append(np.add.reduceat(signal, borders, axis=0, dtype=float))
    return from_profiles(np.array(profiles), strip, gain, order, max_shift)


def strip_of_rows(rows: int, strips: int = STRIPS) -> Indices:
    """Return the strip every row belongs to."""
    strips = max(min(strips, rows // 2), 1)
    borders = np.linspace(0, rows, strips + 1).round().astype(int)
    return np.asarray(np.repeat(np.arange(strips), np.diff(borders)))


def from_profiles(
    profiles: Array, strip: Indices, gain: Gain, order: int = ORDER, max_shift: float = MAX_SHIFT
) -> Curvature:
    """Measure the curvature from the charge of photons in strips of rows.

    Parameters
    ----------
    profiles
        Charge (frame, strip, x) in ADU.
    strip
        Strip of every row (`strip_of_rows`).
    gain, order, max_shift
        As in `calibrate`.

    Raises
    ------
    CalibrationError
        As `calibrate` does.
    """
    profiles = profiles.astype(np.float32)
    rows, strips = strip.size, profiles.shape[1]
    if strips < order + 3:
        raise CalibrationError(
            "images", f"have {rows} rows, too few for a curvature", "use Curvature.straight"
        )
    borders = np.append(np.flatnonzero(np.diff(strip, prepend=-1)), rows)
    design = np.array(
        [
            _powers(rows, np.arange(a, b, dtype=float), order).mean(axis=0)
            for a, b in itertools.pairwise(borders)
        ]
    )
    _refuse_fixed_pattern(profiles, gain)

    coefficients: Array = np.zeros(order)
    width: float | None = None
    for _ in range(3):
        known = design @ coefficients
        if not coefficients.any():
            residual, errors = _strip_shifts(profiles, known, gain, max_shift)
        else:
            residual, errors, width = _refined_shifts(profiles, known, gain, max_shift, width)
        good = np.isfinite(errors)
        if good.sum() < max(order + 3, strips // 2):
            raise CalibrationError(
                "curvature",
                f"only {good.sum()} of {strips} strips of rows have sharp lines",
                "calibrate with a scan that has an elastic line, or use Curvature.straight",
            )
        shifts = design @ coefficients + residual
        # The reference of a strip is the mean of the others: a constant is free.
        matrix = np.column_stack([np.ones(strips), design])[good] / errors[good, None]
        solution, *_ = np.linalg.lstsq(matrix, shifts[good] / errors[good], rcond=None)
        coefficients = np.asarray(solution[1:], dtype=np.float64)
    covariance = np.linalg.inv(matrix.T @ matrix)[1:, 1:]
    free = int(good.sum()) - order - 1
    misfit = float(((matrix @ solution - shifts[good] / errors[good]) ** 2).sum())
    _refuse_zero_shift(shifts[good] / errors[good])
    scale = max(1.0, misfit / free)
    return Curvature(
        coefficients=tuple(map(float, coefficients)),
        covariance=tuple(tuple(map(float, row)) for row in covariance * scale),
        rows=rows,
        strip_rows=tuple(
            float(a + b - 1) / 2 for (a, b), g in zip(itertools.pairwise(borders), good, strict=True) if g
        ),
        strip_shifts=tuple(map(float, shifts[good] - solution[0])),
        strip_errors=tuple(map(float, errors[good])),
        chi2_reduced=misfit / free,
    )


def _powers(rows: int, row: Array, order: int) -> Array:
    """Return u, u², … of every row, with u from −1 to 1 over the detector."""
    u = 2 * row / max(rows - 1, 1) - 1
    return np.asarray(u[:, None] ** np.arange(1, order + 1))


def _strip_shifts(profiles: Array, known: Array, gain: Gain, max_shift: float) -> tuple[Array, Array]:
    """Return what is left of each strip's shift without `known`, and its error (NaN: no signal)."""
    size = _length(profiles, max_shift)
    k = np.fft.rfftfreq(size).astype(np.float32)
    bandpass = np.exp(-0.5 * (2 * np.pi * k * LINE) ** 2) - np.exp(-0.5 * (2 * np.pi * k * BROAD) ** 2)
    moved = fft.rfft(profiles, size, axis=2) * np.exp(2j * np.pi * k * known[:, None].astype(np.float32))
    others = _others(moved)
    cross = (np.conj(moved) * others).sum(axis=0) * bandpass  # (strip, k)
    noise = _correlation_noise(moved, others, bandpass, profiles, gain, size)
    slope_noise = _correlation_noise(moved, others, bandpass * 2j * np.pi * k, profiles, gain, size)

    lags = np.arange(-int(max_shift), int(max_shift) + 1)
    table = fft.irfft(cross, size, axis=1)[:, lags]
    lag = lags[np.argmax(table, axis=1)].astype(float)
    wave = 2j * np.pi * k
    weight = np.full(k.size, 2.0)
    weight[0] = weight[-1] = 1.0
    for _ in range(20):
        phase = cross * np.exp(wave * lag[:, None]) * weight / size
        height, slope, bend = (np.real(phase * wave**n).sum(axis=1) for n in range(3))
        step = np.where(bend < 0, -slope / np.where(bend < 0, bend, 1), 0)
        lag = lag + np.clip(step, -0.5, 0.5)
        if np.abs(step).max() < 1e-9:
            break
    usable = (bend < 0) & (height > SIGNIFICANT * noise) & (np.abs(lag) < max_shift)
    errors = np.where(usable, slope_noise / np.where(usable, -bend, 1), np.nan)
    return -lag, errors


def _refined_shifts(
    profiles: Array, known: Array, gain: Gain, max_shift: float, width: float | None
) -> tuple[Array, Array, float]:
    """Return the same as `_strip_shifts` at the photons' own limit, and the smoothing (px) this took.

    With the level λ(x) of a line, Σ p λ'/λ moves with the shift more steeply against its noise than any other
    sum does (the score of Poisson counts). The template is smoothed by `width`, or by that of `SMOOTHING`
    which leaves the smallest errors.
    """
    size = _length(profiles, max_shift)
    columns = profiles.shape[2]
    wave = (2j * np.pi * np.fft.rfftfreq(size)).astype(np.complex64)
    phase = np.exp(wave * known[:, None].astype(np.float32))
    moved = fft.rfft(profiles.astype(np.float32), size, axis=2) * phase
    strips = fft.irfft(moved, size, axis=2)[..., :columns]
    found = []
    for sigma in SMOOTHING if width is None else (width,):
        smooth = moved * np.exp(0.5 * (sigma * wave) ** 2)
        level = np.maximum(_others(fft.irfft(smooth, size, axis=2)[..., :columns]), 0)
        # A few photons under the smoothing are needed before a slope means anything.
        level += np.float32(FEW * gain.gain / (2 * np.sqrt(np.pi) * sigma))
        score = _others(fft.irfft(smooth * wave, size, axis=2)[..., :columns]) / level
        information = -np.einsum("fsx,fsx->s", strips, np.gradient(score, axis=2), dtype=float)
        scale = np.where(information > 0, information, np.nan)
        shift = -np.einsum("fsx,fsx->s", strips, score, dtype=float) / scale
        noise = gain.gain * np.einsum("fsx,fsx,fsx->s", strips, score, score, dtype=float)
        errors = np.sqrt(np.maximum(noise, 0)) / scale
        found.append((float(np.nansum(errors**-2.0)), shift, errors, sigma))
    _, shift, errors, sigma = max(found, key=lambda each: each[0])
    return shift, errors, sigma


def _length(profiles: Array, max_shift: float) -> int:
    """Return a length of transforms that lets nothing wrap around onto a line."""
    from scipy.fft import next_fast_len

    return int(next_fast_len(profiles.shape[2] + int(2 * max_shift + 4 * max(BROAD, *SMOOTHING)), real=True))


def _others(transforms: Any) -> Any:
    """Return, for every strip, the sum of the strips that are neither it nor beside it."""
    total = transforms.sum(axis=1, keepdims=True)
    near = transforms.copy()
    near[:, 1:] += transforms[:, :-1]
    near[:, :-1] += transforms[:, 1:]
    return total - near


def _correlation_noise(
    moved: Complex, others: Complex, filtered: Complex | Array, profiles: Array, gain: Gain, size: int
) -> Array:
    """Return the standard deviation of a strip's filtered correlation, from the photons in both factors."""
    columns = profiles.shape[2]
    reference = fft.irfft(others * filtered, size, axis=2)[..., :columns]
    strip = fft.irfft(moved * np.conj(filtered), size, axis=2)[..., :columns]
    others_charge = _others(profiles)
    variance = gain.gain * (reference**2 * profiles + strip**2 * others_charge).sum(axis=(0, 2))
    return np.asarray(np.sqrt(variance))


def _refuse_fixed_pattern(profiles: Array, gain: Gain) -> None:
    """Refuse correlations with a spike at zero lag that is narrower than a line can be."""
    size = _length(profiles, MAX_SHIFT)
    k = np.fft.rfftfreq(size).astype(np.float32)
    highpass = 1 - np.exp(-0.5 * (2 * np.pi * k * BROAD) ** 2)
    moved = fft.rfft(profiles, size, axis=2)
    others = _others(moved)
    correlation = fft.irfft((np.conj(moved) * others).sum(axis=(0, 1)) * highpass, size)
    beside = correlation[[1, -1]].sum(), correlation[[2, -2]].sum()
    expected = (4 * beside[0] - beside[1]) / 6  # even polynomial through lags ±1 and ±2
    excess = correlation[0] - expected
    noise = np.sqrt((_correlation_noise(moved, others, highpass, profiles, gain, size) ** 2).sum())
    # A line of the narrowest sampled width (2 px FWHM) exceeds the polynomial by 0.25 of its height.
    if excess > SIGNIFICANT * noise and excess > 0.5 * correlation[0]:
        raise CalibrationError(
            "curvature",
            "what the rows have in common is a fixed pattern of the detector, not lines",
            "mask hot columns, subtract dark frames, or use Curvature.straight",
        )


def _refuse_zero_shift(pulls: Array) -> None:
    """Refuse shifts that all agree with zero far better than photons allow."""
    from scipy.stats import chi2

    if (pulls**2).sum() < chi2.ppf(1e-6, pulls.size):
        raise CalibrationError(
            "curvature",
            "all strips are at zero shift, more exactly than photons can tell: a fixed pattern correlates",
            "mask hot columns, subtract dark frames, or use Curvature.straight",
        )
