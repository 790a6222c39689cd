"""Normalisation on tabulated absorption: MBACK.

Far from the edge μ is that of free atoms, f''(E), and a smooth background of the measurement:

    s μ(E) = f''(E) + Σ cᵢ (E - E0)ⁱ,    i = 0 … degree,

fitted below and above the edge, both sides with equal weight (T.-C. Weng, G. S. Waldo, J. E. Penner-Hahn,
J. Synchrotron Rad. 12 (2005) 506); f'' of Chantler's tables (xraydb), as larch has it. The edge step and the
pre-edge line are then those of the right side, normalised like a scan, and divided by s.

With X = (μ, -(E - E0)ⁱ), θ = (s, c) minimises |W (f'' - X θ)|². A change dμ of the data changes X, hence

    dθ = (Xᵀ W² X)⁻¹ (dXᵀ W² ρ - Xᵀ W² s dμ),    ρ = f'' - X θ,

from which step and line have their errors.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import Any

import numpy as np

from xas.fits import Fits, basis, fit_polynomials
from xas.grid import Grid
from xas.ranges import NoRoom, Range, Ranges, find_ranges

Array = np.ndarray[Any, np.dtype[np.float64]]

PRE_END = -50.0
POST_BEGIN = 100.0
"""Where the fits end and begin, eV from E0, if they are not given."""
DEGREE = 3


def fit_mback(
    energy: Array,
    mu: Array,
    sigma: Array,
    e0: float,
    choice: Mapping[str, Any],
    limits: Range,
    element: str,
) -> Fits:
    """Fit scans that share E0.

    Parameters
    ----------
    energy, mu, sigma
        As in `xas.fits.Fits`.
    e0
        Edge energy, eV; the nearest point of the axis is used.
    choice
        Keys pre, post and degree: ranges in eV from E0, and the degree of the background.
    limits
        Energies the ranges must not go beyond.
    element
        Of the absorber.

    Raises
    ------
    NoRoom
        A range holds too few points, or nothing is tabulated for the element.
    """
    e0 = float(energy[np.abs(energy - e0).argmin()])
    pre = choice.get("pre") or (max(energy[0], limits[0]) - e0, PRE_END)
    post = choice.get("post") or (POST_BEGIN, min(energy[-1], limits[1]) - e0)
    if not (pre[0] < pre[1] and post[0] < post[1]):
        raise NoRoom("has no data 50 eV below and 100 eV above the edge", "give pre= and post=")
    f2 = _tabulated(Grid(energy), element)
    degree = DEGREE if choice.get("degree") is None else int(choice["degree"])
    low = slice(_at_or_below(energy, e0 + pre[0]), int(np.abs(energy - e0 - pre[1]).argmin()) + 1)
    high = slice(int(np.abs(energy - e0 - post[0]).argmin()), _at_or_below(energy, e0 + post[1]) + 1)
    used = np.zeros(energy.size, dtype=bool)
    weights = np.zeros(energy.size)
    for side in (low, high):
        used[side] = True
        weights[side] = 1 / np.sqrt(side.stop - side.start)
    if used.sum() < degree + 4:
        raise NoRoom(f"has {int(used.sum())} points in the ranges of MBACK", "give pre= and post=")
    powers = basis(energy, energy[used], degree)
    theta, response = _solved(mu, f2, powers, weights**2)
    s, c = theta[:, :1], theta[:, 1:]
    # the right side, f'' + background, is normalised like a scan
    shape = {"convention": "larch", "pre": tuple(pre), "post": tuple(post), "degree": 2}
    ranges = find_ranges(energy, e0, shape, limits)
    ones = np.full(mu.shape[0], e0)
    right = f2 + c @ powers.T
    fitted = fit_polynomials(
        energy, right, sigma, ones, Ranges(ranges.pre, ranges.post, 2, ranges.flat), True
    )
    step_row = fitted.step_response[0]  # the same for all: they share E0

    # everything is the right side's over s; d(x/s) = (dx - (x/s) ds) / s, with dx through c only
    def response_of(row: Array, value: Array) -> Array:
        through_c = np.einsum("i,nie->ne", row @ powers, response[:, 1:])
        return np.asarray((through_c - value[:, None] * response[:, 0]) / s)

    step, line = fitted.step / s[:, 0], fitted.line / s
    line_response = np.stack([response_of(fitted.line_response[i], line[:, i]) for i in range(2)], axis=1)
    return Fits(
        energy,
        mu,
        sigma,
        ones,
        fitted.basis,
        line,
        line_response,
        step,
        response_of(step_row, step),
        fitted.over / s,
    )


def _solved(mu: Array, f2: Array, powers: Array, weights: Array) -> tuple[Array, Array]:
    """Return θ = (s, c), shape (scan, terms), and dθ/dμ, shape (scan, terms, energy)."""
    count, terms = mu.shape[0], powers.shape[1] + 1
    weighted = powers * weights[:, None]
    normal = np.empty((count, terms, terms))
    normal[:, 0, 0] = mu**2 @ weights
    normal[:, 0, 1:] = normal[:, 1:, 0] = -(mu @ weighted)
    normal[:, 1:, 1:] = powers.T @ weighted
    right = np.empty((count, terms))
    right[:, 0] = mu @ (weights * f2)
    right[:, 1:] = -(f2 @ weighted)
    inverse = np.linalg.pinv(normal, hermitian=True)
    theta = np.einsum("nij,nj->ni", inverse, right)
    residual = (f2 - theta[:, :1] * mu + theta[:, 1:] @ powers.T) * weights
    change = np.empty((count, terms, mu.shape[1]))
    change[:, 0] = residual - theta[:, :1] * mu * weights
    change[:, 1:] = theta[:, :1, None] * weighted.T
    return theta, np.einsum("nij,nje->nie", inverse, change)


def _at_or_below(energy: Array, value: float) -> int:
    return max(int(np.searchsorted(energy, value, side="right")) - 1, 0)


@lru_cache(maxsize=64)
def _tabulated(grid: Grid, element: str) -> Array:
    """Return f'' of an element in electrons per atom (Chantler)."""
    import xraydb

    try:
        return np.asarray(xraydb.f2_chantler(element, grid.energy), dtype=float)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise NoRoom(
            f"has no tabulated absorption: {element!r} is no element", "read with element="
        ) from error
