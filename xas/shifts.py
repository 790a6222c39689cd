"""By how much spectra of one foil are shifted against the first of them.

Spectrum i, shown at energies E, is that of the first, F, seen through a shift and a change of thickness and
background, F a spline through the first spectrum as smooth as its noise asks for:

    yᵢ(E) = a F(E + δᵢ) + b + c (E - E₀),    E from E₀ - 30 to E₀ + 60 eV.

(An interpolation of noisy points would scatter least half way between them and pull δ there.) The fit begins
at the best of shifts 1 eV apart over ±15 eV, because the edge of a foil has several rises, and goes on by
Gauss and Newton in (δ, a, b, c) with a loss that lets single bad points go (soft L1). All spectra are fitted
at once: a row of an array is a spectrum, and padding weighs nothing.

The error of δᵢ is what the noise of the spectrum's own points does to its position (Cramér-Rao for the
linearised fit), made larger by √χ² where the fit is worse than the noise.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from xas.noise import point_noise
from xas.normalization import steepest_rise

Array = np.ndarray[Any, np.dtype[np.float64]]

WINDOW = (-30.0, 60.0)
"""What is fitted around the edge, eV."""
REACH = 15.0
"""Largest shift (eV) that is looked for to either side."""
START = 1.0
"""Distance of the shifts the fit may begin at, eV: a third of the width of a rise."""
SOFT = 3.0
"""Residuals far beyond so many standard deviations count in proportion, not as their square."""
UNLIKE = "does not look like"
"""What is said of a spectrum that is not that of the first foil."""
BATCH = 128
"""Spectra fitted at once: what the caches hold."""


@dataclass(frozen=True)
class Shifts:
    """What was found for each spectrum, arrays of shape (scan,).

    Attributes
    ----------
    shift, errors
        δ and its standard deviation, eV; NaN where `problem` says why.
    problem
        "" where the spectrum is that of the first foil.
    """

    shift: Array
    errors: Array
    problem: tuple[str, ...]


def find_shifts(axes: Sequence[Array], spectra: Sequence[Array], template: int = 0) -> Shifts:
    """Return the shifts against one spectrum, the first if not said otherwise.

    Parameters
    ----------
    axes, spectra
        Of each scan its energies (eV), increasing, and the absorption of the foil; without gaps.
    template
        Number of the spectrum the others are compared with. What it lacks cannot be made up for: it covers
        the edge.
    """
    energy, target = axes[template], spectra[template]
    e0 = steepest_rise(energy, target)
    near = (energy > e0 + WINDOW[0] - 2 * REACH) & (energy < e0 + WINDOW[1] + 2 * REACH)
    curve = _template(energy[near], target[near], point_noise(energy, target, e0)[near])
    limits = float(energy[near][0]), float(energy[near][-1])
    span = float(np.ptp(target[(energy > e0 + WINDOW[0]) & (energy < e0 + WINDOW[1])]))
    found = [
        _batch(axes[n : n + BATCH], spectra[n : n + BATCH], curve, limits, e0, span)
        for n in range(0, len(axes), BATCH)
    ]
    shift, errors = (np.concatenate([getattr(part, name) for part in found]) for name in ("shift", "errors"))
    # what smoothing does to F shifts all spectra alike, the first one too
    return Shifts(shift - shift[template], errors, tuple(text for part in found for text in part.problem))


def _template(energy: Array, target: Array, sigma: Array) -> Callable[..., Array]:
    from scipy.interpolate import UnivariateSpline

    spline: Callable[..., Array] = UnivariateSpline(energy, target, w=1 / sigma, s=energy.size, k=3)
    return spline


def _batch(
    axes: Sequence[Array],
    spectra: Sequence[Array],
    curve: Callable[..., Array],
    limits: tuple[float, float],
    e0: float,
    span: float,
) -> Shifts:
    """Fit some spectra at once."""
    x, y, there = _padded(axes, spectra, e0 + WINDOW[0] - REACH, e0 + WINDOW[1] + REACH)
    start = _starts(x, y, there, curve, limits, e0)
    # from here on the points that take part do not change, or the sum of squares would jump
    weights = (there & (x > e0 + WINDOW[0] - start[:, None]) & (x < e0 + WINDOW[1] - start[:, None])).astype(
        float
    )
    sigma = np.ones_like(x)
    for n, (axis, values) in enumerate(zip(axes, spectra, strict=True)):
        noise = point_noise(axis, values, e0 - start[n])
        # below and above the edge there is one value each
        sigma[n] = np.where(x[n] < e0 - start[n], noise[0], noise[-1])
    shift, coefficients, residuals, gradient = _fitted(x, y, weights / sigma, curve, limits, e0, start)
    chi2 = np.array([_median_square(r, w) for r, w in zip(residuals, weights, strict=True)])
    errors = np.sqrt(np.maximum(1.0, chi2) / gradient)
    misfit = np.sqrt((residuals * sigma) ** 2 @ np.ones(x.shape[1]) / np.maximum(weights.sum(axis=1), 1))
    problem = []
    for n in range(len(axes)):
        covered = (
            axes[n][0] < e0 - start[n] - 10 and axes[n][-1] > e0 - start[n] + 10 and weights[n].sum() >= 20
        )
        like = 0.05 < coefficients[n, 0] < 20 and misfit[n] <= 0.1 * span * coefficients[n, 0]
        settled = abs(shift[n] - start[n]) < 3 * START
        problem.append("does not cover the edge" if not covered else UNLIKE if not (like and settled) else "")
    bad = np.array([bool(text) for text in problem])
    return Shifts(np.where(bad, np.nan, shift), np.where(bad, np.nan, errors), tuple(problem))


def _padded(
    axes: Sequence[Array], spectra: Sequence[Array], low: float, high: float
) -> tuple[Array, Array, Any]:
    """Return the points between two energies as arrays (scan, point), and which of these are points."""
    ranges = [(int(np.searchsorted(axis, low, "right")), int(np.searchsorted(axis, high))) for axis in axes]
    width = max(1, *(stop - begin for begin, stop in ranges))
    x, y = np.full((len(axes), width), 0.5 * (low + high)), np.zeros((len(axes), width))
    there = np.zeros((len(axes), width), dtype=bool)
    for n, (begin, stop) in enumerate(ranges):
        x[n, : stop - begin], y[n, : stop - begin] = axes[n][begin:stop], spectra[n][begin:stop]
        there[n, : stop - begin] = True
    return x, y, there


def _starts(
    x: Array, y: Array, there: Any, curve: Callable[..., Array], limits: tuple[float, float], e0: float
) -> Array:
    """Return for each spectrum the best of some shifts, a, b and c being solved for at each of them."""
    grid = np.arange(limits[0], limits[1], 0.25)
    table = curve(grid)
    weights = there.astype(float)
    line = np.stack([weights, weights * (x - e0)], axis=2)
    basis, _ = np.linalg.qr(line)

    def without_line(values: Array) -> Array:
        return np.asarray(values - np.einsum("npk,nk->np", basis, np.einsum("npk,np->nk", basis, values)))

    data = without_line(weights * y)
    shifts = np.arange(-REACH, REACH + 0.5 * START, START)
    gain = np.empty((shifts.size, x.shape[0]))
    for row, shift in zip(gain, shifts, strict=True):
        model = without_line(weights * np.interp(x + shift, grid, table))
        overlap = np.einsum("np,np->n", model, data)
        # an upside-down foil is none
        row[:] = np.maximum(overlap, 0.0) ** 2 / np.maximum(np.einsum("np,np->n", model, model), 1e-300)
    return np.asarray(shifts[np.argmax(gain, axis=0)])


def _fitted(
    x: Array,
    y: Array,
    weights: Array,
    curve: Callable[..., Array],
    limits: tuple[float, float],
    e0: float,
    start: Array,
) -> tuple[Array, Array, Array, Array]:
    """Return shifts, (a, b, c), residuals over σ, and the information on δ in 1/eV², for each spectrum."""
    shift, loss = start.copy(), np.ones_like(x)
    scaled = weights * (x - e0) / WINDOW[1]
    for _ in range(25):
        inside = np.clip(x + shift[:, None], *limits)
        design = np.stack([weights * curve(inside), weights, scaled], axis=2)
        slope = weights * curve(inside, 1)
        coefficients = _solve(design * loss[..., None], weights * y * loss)
        residuals = weights * y - np.einsum("npk,nk->np", design, coefficients)
        loss = (1 + (residuals / SOFT) ** 2) ** -0.25  # its square weighs: soft L1
        columns = np.concatenate([(coefficients[:, :1] * slope)[..., None], design], axis=2)
        step = _solve(columns * loss[..., None], residuals * loss)[:, 0]
        shift = shift + np.clip(step, -START, START)
        if np.abs(step).max() < 1e-6:
            break
    gradient = columns[..., 0]
    along = np.einsum("npk,nk->np", design, _solve(design, gradient))
    return shift, coefficients, residuals, np.maximum(np.sum((gradient - along) ** 2, axis=1), 1e-300)


def _solve(design: Array, values: Array) -> Array:
    """Return the least-squares solutions of each row: design (scan, point, column), values (scan, point)."""
    normal = np.einsum("npi,npj->nij", design, design)
    # a spectrum without points has no solution, and is told apart later
    size = np.maximum(np.einsum("nii->ni", normal), 1e-300)
    scale = 1 / np.sqrt(size)
    normal = normal * scale[:, :, None] * scale[:, None, :] + 1e-14 * np.eye(design.shape[2])
    right = np.einsum("npi,np->ni", design, values) * scale
    return np.asarray(scale * np.linalg.solve(normal, right[..., None])[..., 0])


def _median_square(residuals: Array, weights: Array) -> float:
    """Return χ² per point from the median, which the points that let go do not change."""
    used = residuals[weights > 0]
    return float(np.median(used**2)) / 0.4549 if used.size else 1.0
