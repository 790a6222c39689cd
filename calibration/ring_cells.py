r"""Where a ring is: its centre in cells of azimuth, by least squares on the pixels themselves.

In a cell (a ring times a sector of azimuth) the signal of a pixel at 2θ is taken as

.. math:: s = h\, e^{-(2θ - c)^2 / 2w^2} + b_0 + b_1 (2θ - 2θ_0)

with five free numbers. All cells are fitted at once: pixels are sorted by cell, so that the sums of the
normal equations are sums over runs. Nothing is binned. The error of the centre is that of the fit, scaled by
its own residuals: no gain has to be known.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from calibration import flat_detector
from calibration.frames import Frame

Array = np.ndarray[Any, np.dtype[np.float64]]
Indices = np.ndarray[Any, np.dtype[np.intp]]

FEWEST = 12
"""Pixels a cell needs."""

FEW = 30
"""A cell of so many pixels knows its noise as well as all cells together tell it."""

SETTLED = 1e-5
"""A centre that moves by less, in units of the reach, has settled."""

UNSETTLED = 0.05
"""The fit ends when all but this part of the cells have settled: those without a ring never do."""

STEPS = 12
"""Steps of the fit; a centre that still moves then is not used."""

HEIGHT = 5.0
"""A line is higher than so many of its standard deviations."""


class Cells(NamedTuple):
    """Cells in which a ring was found: one number of each."""

    ring: Indices
    sector: Indices
    center: Array  # 2θ, rad
    error: Array  # rad
    width: Array  # standard deviation of the line, rad
    y: Array  # a point of the ring in the cell, m
    x: Array


class Pixels(NamedTuple):
    """Live pixels near rings: signal, position (m), 2θ and azimuth (rad), number of the ring."""

    signal: Array
    y: Array
    x: Array
    two_theta: Array
    azimuth: Array
    ring: Indices


def near_rings(frame: Frame, detector: Array, rings: Array, reach: Array) -> Pixels:
    """Return the live pixels within `reach` (rad, of each ring) of `rings` (2θ in rad, rising).

    Their signal is corrected for solid angle and polarisation, as it will be when patterns are made: the
    slope of both draws the maximum of a ring inwards, by 0.03 px for broad rings at 40 deg.
    """
    y = (np.arange(frame.signal.shape[0]) + 0.5)[:, None] * frame.pixel_size[0]
    x = (np.arange(frame.signal.shape[1]) + 0.5)[None, :] * frame.pixel_size[1]
    angle = flat_detector.two_theta(detector, y, x)
    middle = (rings[1:] + rings[:-1]) / 2
    ring = np.searchsorted(middle, angle)
    rows, columns = np.nonzero(frame.live & (np.abs(angle - rings[ring]) < reach[ring]))
    near_y, near_x = y[rows, 0], x[0, columns]
    return Pixels(
        frame.signal[rows, columns]
        / flat_detector.normalization(detector, near_y, near_x, frame.polarization),
        near_y,
        near_x,
        angle[rows, columns],
        flat_detector.azimuth(detector, near_y, near_x),
        ring[rows, columns],
    )


def fit_cells(pixels: Pixels, detector: Array, rings: Array, reach: Array, sector: Indices) -> Cells:
    """Fit the ring in every cell.

    Parameters
    ----------
    pixels
        From `near_rings`, with the same `detector`, `rings` and `reach`.
    sector
        Number of the sector of each pixel, from 0.
    """
    sectors = int(sector.max()) + 1 if sector.size else 1
    key = pixels.ring * sectors + sector
    order = np.argsort(key, kind="stable")
    order = order[_crowded(key[order])]
    key = key[order]
    if not key.size:
        none = np.zeros(0)
        index = np.zeros(0, dtype=np.intp)
        return Cells(index, index, none, none, none, none, none)
    start = np.flatnonzero(np.diff(key, prepend=-1))
    cell = np.repeat(np.arange(start.size), np.diff(start, append=key.size))
    ring = pixels.ring[order][start]
    half = reach[ring]
    signal = pixels.signal[order]
    # Of each cell, 2θ runs from -1 to 1 and the signal from about 0 to 1.
    t = (pixels.two_theta[order] - rings[ring][cell]) / half[cell]
    size = np.diff(start, append=key.size)
    level = np.minimum.reduceat(signal, start)
    height = np.maximum(np.maximum.reduceat(signal, start) - level, 1e-30)
    s = signal / height[cell]
    parameters = _start(t, s, cell, start)
    for _ in range(STEPS):
        h, c, w, b0, b1 = parameters.T
        u = (t - c[cell]) / w[cell]
        shape = np.exp(-0.5 * u * u)
        expected = h[cell] * shape
        columns = [shape, expected * u / w[cell], expected * u * u / w[cell], np.ones_like(t), t]
        miss = s - expected - b0[cell] - b1[cell] * t
        # The variance of counts is their number; a floor keeps empty pixels from deciding.
        weight = 1 / np.maximum(expected + (b0[cell] + b1[cell] * t), 0.05 * np.maximum(h, 0.05)[cell])
        normal, right = _normal_equations(columns, miss, weight, start)
        chi2 = np.add.reduceat(weight * miss * miss, start)
        diagonal = np.einsum("nii->ni", normal)
        damped = normal + 1e-3 * np.eye(5) * np.maximum(diagonal, 1e-12)[:, None, :]
        step = np.linalg.solve(damped, right[..., None])[..., 0]
        step[:, 1] = np.clip(step[:, 1], -0.2, 0.2)
        step[:, 2] = np.clip(step[:, 2], -0.3 * w, 0.5 * w)
        parameters = parameters + step
        parameters[:, 1] = np.clip(parameters[:, 1], -1.0, 1.0)
        parameters[:, 2] = np.clip(parameters[:, 2], 0.02, 1.0)
        moved = np.abs(step[:, 1])
        if (moved > SETTLED).mean() < UNSETTLED:
            break
    h, c, w, _, _ = parameters.T
    with np.errstate(all="ignore"):
        covariance = _inverse(damped) * (_gain(chi2, size - 5, height) / height)[:, None, None]
        error = np.sqrt(covariance[:, 1, 1])
        clear = h > HEIGHT * np.sqrt(covariance[:, 0, 0])
    both = np.minimum.reduceat(t, start) < c - 1.2 * w
    both &= np.maximum.reduceat(t, start) > c + 1.2 * w
    good = (
        clear
        & both
        & np.isfinite(error)
        & (error > 0)
        & (error < 0.2)
        & (moved < 0.02 * np.maximum(w, error))
    )
    good &= (np.abs(c) < 0.85) & (w < 0.6)
    center = rings[ring] + c * half
    y, x = _on_ring(pixels, order, start, np.maximum(s * shape, 0), detector, center, cell)
    found = np.flatnonzero(good)
    return Cells(
        ring[found],
        (key[start] % sectors)[found],
        center[found],
        (error * half)[found],
        (w * half)[found],
        y[found],
        x[found],
    )


def _crowded(key: Indices) -> Indices:
    """Return which of sorted keys occur at least `FEWEST` times."""
    _, count = np.unique(key, return_counts=True)
    return np.flatnonzero(np.repeat(count >= FEWEST, count))


def _start(t: Array, s: Array, cell: Indices, start: Indices) -> Array:
    """Return first values: height, centre, width, constant and slope of every cell."""
    # The profile of the cell in 24 bins: its top is the line's, its lower quartile the background.
    bins = 24
    index = cell * bins + np.clip(((t + 1) * bins / 2).astype(np.intp), 0, bins - 1)
    count = np.bincount(index, minlength=start.size * bins).reshape(-1, bins)
    total = np.bincount(index, weights=s, minlength=start.size * bins).reshape(-1, bins)
    # Three bins together, so that a single pixel makes no top.
    wide_count = count.copy()
    wide_total = total.copy()
    wide_count[:, 1:] += count[:, :-1]
    wide_count[:, :-1] += count[:, 1:]
    wide_total[:, 1:] += total[:, :-1]
    wide_total[:, :-1] += total[:, 1:]
    with np.errstate(all="ignore"):
        mean = np.where(wide_count > 2, wide_total / wide_count, np.nan)
    filled = np.where(np.isfinite(mean), mean, np.inf)
    background = np.sort(filled, axis=1)[:, bins // 5]
    top = np.where(np.isfinite(mean), mean, -np.inf)
    best = np.argmax(top, axis=1)
    height = np.maximum(top[np.arange(start.size), best] - background, 0.02)
    height = np.where(np.isfinite(height), height, 0.5)
    above = np.where(np.isfinite(mean), mean, -np.inf) > (background + 0.5 * height)[:, None]
    width = np.clip(above.sum(axis=1) * 2 / bins / 2.355, 0.06, 0.4)
    center = (best + 0.5) * 2 / bins - 1
    background = np.where(np.isfinite(background), background, 0.0)
    return np.stack([height, center, width, background, np.zeros(start.size)], axis=1)


def _normal_equations(
    columns: list[Array], miss: Array, weight: Array, start: Indices
) -> tuple[Array, Array]:
    count = len(columns)
    normal = np.empty((start.size, count, count))
    right = np.empty((start.size, count))
    for i in range(count):
        weighted = columns[i] * weight
        right[:, i] = np.add.reduceat(weighted * miss, start)
        for j in range(i, count):
            normal[:, i, j] = normal[:, j, i] = np.add.reduceat(weighted * columns[j], start)
    diagonal = np.einsum("nii->ni", normal)
    diagonal += 1e-12 + 1e-9 * diagonal
    return normal, right


def _gain(chi2: Array, free: Indices, height: Array) -> Array:
    """Return variance over signal of every cell: its own, drawn to that of all where its pixels are few."""
    own = chi2 / np.maximum(free, 1) * height
    return np.asarray((np.maximum(free, 0) * own + FEW * np.median(own)) / (np.maximum(free, 0) + FEW))


def _inverse(matrices: Array) -> Array:
    try:
        return np.asarray(np.linalg.inv(matrices))
    except np.linalg.LinAlgError:
        return np.asarray(np.linalg.pinv(matrices))


def _on_ring(
    pixels: Pixels,
    order: Indices,
    start: Indices,
    weight: Array,
    detector: Array,
    center: Array,
    cell: Indices,
) -> tuple[Array, Array]:
    """Return the point of 2θ = `center` next to the middle of the light in the cell."""
    total = np.maximum(np.add.reduceat(weight, start), 1e-30)
    y = np.add.reduceat(weight * pixels.y[order], start) / total
    x = np.add.reduceat(weight * pixels.x[order], start) / total
    for _ in range(2):
        sy, sx = flat_detector.slope(detector, y, x)
        step = (center - flat_detector.two_theta(detector, y, x)) / np.maximum(sy**2 + sx**2, 1e-30)
        y, x = y + step * sy, x + step * sx
    return y, x
