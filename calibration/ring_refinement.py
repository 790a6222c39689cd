r"""Least squares for the geometry: points on rings, robust, with the covariance.

Of a point of ring :math:`k` the miss, in pixels, is :math:`(2θ(y, x) - 2θ_k) / s\,|∇2θ|`. Its variance is
that of the point plus :math:`σ_s^2`, the same for all: what a detector deviates from a plane grid, which no
point knows. :math:`σ_s` is such that the misses are as large as they should be (median absolute deviation),
and 0 where counting explains them. Misses are weighted by Huber's rule (P. J. Huber, Ann. Math. Stat. 35
(1964) 73).
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from calibration import flat_detector
from calibration.flat_detector import Array
from calibration.ring_cells import Cells

HUBER = 1.5
"""Misses count in full up to so many standard deviations."""

OUTLIER = 6.0
"""Misses beyond so many standard deviations do not count."""

BLOCKS = (12, 4)
"""Blocks of azimuth and of rings whose misses may go together."""

STEPS = 30


class Fit(NamedTuple):
    """A detector, the covariance of its five parameters, σ_s (px), and which points were used."""

    detector: Array
    covariance: Array
    scatter: float
    used: np.ndarray[tuple[int, ...], np.dtype[np.bool_]]


def refine(detector: Array, cells: Cells, rings: Array, pixel: float) -> Fit | None:
    """Return the detector that fits points of rings; None where they do not determine it.

    Parameters
    ----------
    detector
        Where to begin.
    cells
        The points; they are not measured anew.
    rings
        2θ of the rings in rad.
    pixel
        Size of a pixel in m.
    """
    if cells.y.size < 12:
        return None
    target = rings[cells.ring]
    scale = np.array([detector[0], detector[0], detector[0], 1.0, 1.0])
    p = np.array([detector[0], *flat_detector.center(detector), detector[3], detector[4]]) / scale
    per_pixel = np.hypot(*flat_detector.slope(detector, cells.y, cells.x)) * pixel
    own = cells.error / per_pixel

    def miss(p: Array) -> Array:
        found = flat_detector.two_theta(flat_detector.from_center(*(p * scale)), cells.y, cells.x)
        return np.asarray((found - target) / per_pixel)

    scatter = 0.0
    used: np.ndarray[tuple[int, ...], np.dtype[np.bool_]] = np.ones(target.size, dtype=bool)
    weight = np.ones(target.size)
    normal = np.eye(5)
    for _ in range(STEPS):
        off = miss(p)
        weight, scatter, used = weigh(off, own)
        slopes = flat_detector.slopes(miss, p)
        normal = slopes.T @ (weight[:, None] * slopes)
        try:
            step = np.linalg.solve(normal, -slopes.T @ (weight * off))
        except np.linalg.LinAlgError:
            return None
        # A step may not turn the detector over.
        step *= min(1.0, 0.2 / max(float(np.abs(step).max()), 1e-30))
        p = p + step
        if not (np.isfinite(p).all() and p[0] > 0 and np.abs(p[3:]).max() < math.radians(60)):
            return None
        if float(step @ normal @ step) < 1e-6:
            break
    if np.linalg.cond(normal) > 1e14:
        return None
    q = p * scale
    off, slopes = miss(p), flat_detector.slopes(miss, p)
    together = _together(flat_detector.from_center(*q), cells, (weight * off)[:, None] * slopes, normal)
    covariance = np.linalg.inv(normal) * np.outer(scale, scale) * together
    to_poni = flat_detector.slopes(lambda p: flat_detector.from_center(*(p * scale)), p) / scale
    return Fit(flat_detector.from_center(*q), to_poni @ covariance @ to_poni.T, scatter, used)


def _together(detector: Array, cells: Cells, gradient: Array, normal: Array) -> float:
    """Return by how much misses that go together raise the covariance; 1 where each is on its own.

    Modules that stand askew push whole arcs the same way, and many points say no more than one. The
    gradients of chi² are summed over blocks of azimuth and radius: with independent misses their scatter is
    the normal matrix (P. J. Huber, Proc. 5th Berkeley Symp. 1 (1967) 221; K.-Y. Liang, S. L. Zeger,
    Biometrika 73 (1986) 13).
    """
    turn = (flat_detector.azimuth(detector, cells.y, cells.x) / (2 * np.pi) * BLOCKS[0]).astype(
        np.intp
    ) % BLOCKS[0]
    band = cells.ring * BLOCKS[1] // (int(cells.ring.max()) + 1)
    block = turn * BLOCKS[1] + band
    sums = np.stack(
        [np.bincount(block, weights=column, minlength=BLOCKS[0] * BLOCKS[1]) for column in gradient.T]
    )
    return max(1.0, float(np.trace(np.linalg.solve(normal, sums @ sums.T)) / normal.shape[0]))


def weigh(off: Array, own: Array) -> tuple[Array, float, np.ndarray[tuple[int, ...], np.dtype[np.bool_]]]:
    """Return the weight of every miss, σ_s, and which misses count; `own` are the errors of the points."""
    scatter = _scatter(off, own)
    sigma = np.hypot(own, scatter)
    pull = np.abs(off) / sigma
    used = pull < OUTLIER
    return np.where(used, np.minimum(1.0, HUBER / np.maximum(pull, 1e-12)), 0.0) / sigma**2, scatter, used


def _scatter(off: Array, own: Array) -> float:
    """Return σ_s (px): what has to be added to the errors to explain the misses."""
    square = off**2

    def typical(scatter: float) -> float:
        # The median of the square of a normal deviate is 0.455.
        return float(np.median(square / (own**2 + scatter**2))) / 0.4549

    if typical(0.0) <= 1.0:
        return 0.0
    low, high = 0.0, 1.4826 * float(np.median(np.abs(off))) + 1e-9
    while typical(high) > 1.0:
        high *= 2
    for _ in range(40):
        middle = (low + high) / 2
        low, high = (middle, high) if typical(middle) > 1.0 else (low, middle)
    return (low + high) / 2
