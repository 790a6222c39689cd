"""How noisy a scan is, from the scan itself.

Absorption files rarely hold what a counting error needs (gains of the amplifiers, several detectors in
parallel), so the noise is taken from the scatter of neighbouring points. Each point is compared with the
cubic through its four neighbours: a smooth μ(E) leaves nothing of itself, white noise of standard deviation σ
leaves a residual of σ √(1 + Σ w²) with w the interpolation weights (pseudo-residuals: T. Gasser, L. Sroka,
C. Jennen-Steinmetz, Biometrika 73 (1986) 625, here of third order instead of first). σ is the root mean
square of those within four times their robust spread, once below the edge and once above it, because the
absorption, and with it the noise, differs there.

σ is itself uncertain: residuals overlap, so that n of them know it only as well as ν = n / 2.63 independent
ones (1 + 2 Σ ρ² of their autocorrelation ρ, on an even axis). A result divided by an error made of such a σ
scatters like Student's t, whose standard deviation is √(ν / (ν - 2)): σ is made larger by that.

Noise that is the same in neighbouring points (smoothed, interpolated or merged scans, drifts) is not seen:
σ is then too small.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np

from xas.grid import Grid
from xas.kernels import find_glitches, spread_of_rows

Array = np.ndarray[Any, np.dtype[np.float64]]

MARGIN = 20.0
"""Points closer to the edge than this (eV) are not used: there μ(E) bends too fast for the cubic."""
FEWEST = 10
"""With fewer residuals on one side of the edge, all of the scan serve."""
GLITCH = 20.0, 0.03
"""A point that stands out by so many standard deviations, and by this part of the edge step, is a glitch."""
OVERLAP = 2.63
"""How many residuals know σ as well as one independent one."""


def point_noise(energy: Array, mu: Array, e0: float) -> Array:
    """Return the standard deviation of each point of μ(E): one value below `e0`, one above.

    Parameters
    ----------
    energy
        Axis in eV, increasing, shape (energy,).
    mu
        Absorption, same shape.
    e0
        Edge energy in eV.
    """
    return np.asarray(points_noise(energy, mu[None], np.array([e0]))[0])


def points_noise(energy: Array, mu: Array, e0: Array) -> Array:
    """Return `point_noise` for many scans of one axis.

    Parameters
    ----------
    energy
        Shape (energy,).
    mu
        Shape (scan, energy), without gaps.
    e0
        Shape (scan,); where it is not finite one value serves the whole scan.

    Returns
    -------
    array
        Shape (scan, energy).
    """
    out = np.empty(mu.shape)
    if not energy.size:
        return out
    # rounding is noise too: what is printed with six digits has no smaller error than that
    floor = np.maximum(1e-9 * np.ptp(mu, axis=1), np.finfo(float).tiny)
    if energy.size < 5:
        out[:] = floor[:, None]
        return out
    weights = _weights(Grid(energy))
    inner = energy[2:-2]
    for edge in np.unique(e0):  # one group for all that are not finite
        rows = np.flatnonzero(e0 == edge) if np.isfinite(edge) else np.flatnonzero(~np.isfinite(e0))
        chosen = mu[rows]
        whole = 0, inner.size
        below = 0, int(np.searchsorted(inner, edge - MARGIN))
        above = int(np.searchsorted(inner, edge + MARGIN, side="right")), inner.size
        low, high = (
            np.maximum(
                _scale(chosen, weights, *(side if side[1] - side[0] >= FEWEST else whole)), floor[rows]
            )
            for side in (below, above)
        )
        at = np.searchsorted(energy, edge)
        out[rows, :at] = low[:, None]
        out[rows, at:] = high[:, None]
    return out


def glitches(energy: Array, mu: Array, sigma: Array, e0: Array, step: Array) -> Any:
    """Return the point of every scan that is neither noise nor fine structure; -1 where there is none.

    Parameters
    ----------
    energy
        Shape (energy,).
    mu, sigma
        Shape (scan, energy).
    e0, step
        Shape (scan,); points within `MARGIN` of E0 are not looked at.
    """
    found = np.full(mu.shape[0], -1)
    if energy.size >= 5:
        near = np.stack([np.searchsorted(energy, e0 + side * MARGIN) for side in (-1, 1)], axis=1)
        sigmas, share = GLITCH
        given = np.ascontiguousarray(mu), _weights(Grid(energy)), np.ascontiguousarray(sigma)
        find_glitches(*given, near, sigmas, share * step, found)
    return found


@lru_cache(maxsize=64)
def _weights(grid: Grid) -> Array:
    """Return what a residual is of its five points, shape (energy - 4, 5)."""
    x = grid.energy
    steps = [x[2 + j : x.size - 2 + j] for j in (-2, -1, 1, 2)]
    centre = x[2:-2]
    weights = np.empty((centre.size, 5))
    weights[:, 2] = 1.0
    for i, column in enumerate((0, 1, 3, 4)):
        weight = np.ones(centre.size)
        for other in range(4):
            if other != i:
                weight = weight * (centre - steps[other]) / (steps[i] - steps[other])
        weights[:, column] = -weight
    return np.asarray(weights / np.sqrt(np.sum(weights**2, axis=1, keepdims=True)))


def _scale(mu: Array, weights: Array, first: int, stop: int) -> Array:
    """Return σ of each row from some residuals, without the few that are no noise (edges, glitches).

    The median alone would do, but knows σ from n points only half as well.
    """
    found = np.empty((mu.shape[0], 2))
    spread_of_rows(mu, weights, first, stop, 4 * 1.4826, found)
    known = np.maximum(found[:, 1] / OVERLAP, 3.0)  # of fewer than three nothing is known, not even this
    return np.asarray(found[:, 0] * np.sqrt(known / (known - 2)))
