"""Where the absorption of a metal foil first rises steepest.

By convention the energy of an edge is the first maximum of dμ/dE of the metal. A maximum on the grid of a
noisy scan is no measure of it: with noise of 1 % of the step it jumps to the second rise, 10 to 12 eV higher.
Here the rise is found on a derivative smoothed over 3 eV (the first maximum of at least half the height of
the largest), and its position is the centre of an error function on a straight line,

    μ(E) = A erf((E - E₁)/w) + c₀ + c₁ (E - E₁),    E₁ - 8 eV < E < E₁ + 4 eV,

which uses the whole rise. Where the rise is not symmetric the centre depends on where the fit ends: half of
what it moves between ends 3 and 5 eV above, less what noise moves it, is part of its error beside the
counting error.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from beamline.errors import CalibrationError

Array = np.ndarray[Any, np.dtype[np.float64]]

SMOOTHING = 3.0
"""Full width at half maximum (eV) of the Gaussian the derivative is smoothed with."""

BELOW = 8.0
ENDS = (3.0, 4.0, 5.0)
"""Begin of the fit below E₁, and its ends above, eV."""


def first_inflection(energy: Array, mu: Array, errors: Array | None = None) -> tuple[float, float]:
    """Return the energy of the first inflection of an edge and its standard deviation, eV.

    Parameters
    ----------
    energy
        Increasing, eV, shape (energy,).
    mu
        Absorption of the foil, same shape.
    errors
        Standard deviations of μ; where not given, they are taken from the scatter about the fit.

    Raises
    ------
    CalibrationError
        There is no rise, or too few points in it.
    """
    start = _first_rise(energy, mu)
    fits = [_centre(energy, mu, errors, start, end) for end in ENDS]
    moved = fits[0][0] - fits[2][0]
    # of two estimates, the second from all the points of the first and more, noise parts as far as this
    by_noise = max(fits[0][1] ** 2 - fits[2][1] ** 2, 0.0)
    return fits[1][0], float(np.sqrt(fits[1][1] ** 2 + 0.25 * max(moved**2 - by_noise, 0.0)))


def _first_rise(energy: Array, mu: Array) -> float:
    """Return where the smoothed derivative has its first high maximum."""
    grid = np.arange(energy[0], energy[-1], 0.25)
    slope = smoothed_derivative(energy, mu, grid)
    inner = slope[1:-1]
    tops = np.flatnonzero((inner > slope[:-2]) & (inner >= slope[2:]) & (inner > 0.5 * slope.max())) + 1
    if not tops.size or slope.max() <= 0:
        raise CalibrationError("foil", "has no edge measured finely enough", "does the scan cover it?")
    return float(grid[tops[0]])


def smoothed_derivative(energy: Array, mu: Array, at: Array, width: float = SMOOTHING) -> Array:
    """Return dμ/dE: slopes of straight lines fitted with Gaussian weights of full width `width` (eV).

    It is 0 where fewer than six points lie within three standard deviations, or none to one side.
    """
    s = width / 2.3548
    first, last = np.searchsorted(energy, at - 3 * s), np.searchsorted(energy, at + 3 * s)
    most = int((last - first).max(initial=0))
    index = first[:, None] + np.arange(most)
    inside = index < last[:, None]
    index = np.minimum(index, energy.size - 1)
    x = np.where(inside, energy[index] - at[:, None], 0.0)
    weights = np.where(inside, np.exp(-0.5 * (x / s) ** 2), 0.0)
    y = mu[index]
    total = np.maximum(weights.sum(axis=1), 1e-30)
    mean = (weights * x).sum(axis=1) / total
    spread = (weights * (x - mean[:, None]) ** 2).sum(axis=1)
    enough = (last - first >= 6) & (x.min(axis=1, initial=0) < -s) & (x.max(axis=1, initial=0) > s)
    slope = (weights * (x - mean[:, None]) * y).sum(axis=1) / np.where(enough, spread, 1.0)
    return np.asarray(np.where(enough, slope, 0.0))


def _centre(energy: Array, mu: Array, errors: Array | None, start: float, end: float) -> tuple[float, float]:
    """Return E₁ and its counting error, eV."""
    from scipy.optimize import least_squares
    from scipy.special import erf

    centre, width = start, 3.0
    for _ in range(2):  # the second time the window sits on the centre
        near = (energy > centre - BELOW) & (energy < centre + end)
        x, y = energy[near], mu[near]
        if x.size < 8:
            raise CalibrationError("foil", f"has {x.size} points around its edge, 8 are needed", "step finer")
        sigma = np.ones(x.size) if errors is None else errors[near]

        def line(p: Array, x: Array = x, sigma: Array = sigma) -> Array:
            rise = erf((x - p[0]) / p[1])
            return np.column_stack([rise, np.ones(x.size), x - start]) / sigma[:, None]

        def residuals(p: Array, y: Array = y, sigma: Array = sigma, line: Any = line) -> Array:
            design = line(p)
            return np.asarray(y / sigma - design @ np.linalg.lstsq(design, y / sigma, rcond=None)[0])

        bounds = ([start - 4.0, 0.5], [start + 4.0, 10.0])
        found = least_squares(residuals, [centre, width], bounds=bounds, x_scale=(0.1, 0.5))
        centre, width = found.x
    design = line(found.x)
    rise, *_ = np.linalg.lstsq(design, y / sigma, rcond=None)
    t = (x - centre) / width
    bell = -rise[0] * 2 / np.sqrt(np.pi) * np.exp(-(t**2)) / width
    jacobian = np.column_stack([bell / sigma, bell * t / sigma, design])
    covariance = np.linalg.pinv(jacobian.T @ jacobian)
    if errors is None:
        # second differences: what the model misses is smooth, and belongs to the range of positions
        covariance *= float(np.mean(np.diff(found.fun, 2) ** 2)) / 6
    return float(centre), float(np.sqrt(covariance[0, 0]))
