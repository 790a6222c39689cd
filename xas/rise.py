"""E0 as the field's programs find it: the point of the axis where μ(E) rises most steeply.

The steepest point of dμ/dE is looked for twice, the second time within 75 points of the first, with dμ/dE
smoothed by a Lorentzian about as wide as the steps of the axis. A point counts only if its neighbours are
steep, too, which keeps single bad points out; the outermost 2 % of the axis cannot be E0. Steps, limits and
the reflection of the curve at its ends are those of larch's find_e0 (M. Newville, J. Phys. Conf. Ser. 430
(2013) 012007), so that both name the same point.

Smoothing is linear, so it is one matrix for every place of the window, which serves all scans of an axis.

On a foil with a noise of 1 % of the step this point jumps to the second maximum, 12 eV higher, in a third of
the scans: a place to begin, no measure of valence.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np

from xas.grid import Grid

Array = np.ndarray[Any, np.dtype[np.float64]]
Integers = np.ndarray[Any, np.dtype[np.int64]]

WINDOW = 75
"""Points to either side of the first guess in which the second one is looked for."""
BLOCK = 256
"""Scans worked on together, so that their arrays stay in the processor's cache."""
STEEP = 0.6
"""A point is steep if dμ/dE is above this part of its range."""


def steepest_rise(energy: Array, mu: Array) -> float:
    """Return E0 of one scan in eV; see `steepest_rises`."""
    return float(steepest_rises(energy, mu[None])[0])


def steepest_rises(energy: Array, mu: Array) -> Array:
    """Return E0 in eV for every scan: shape (scan,).

    Parameters
    ----------
    energy
        Axis in eV, increasing, shape (energy,), at least 10 points.
    mu
        Absorption without gaps, shape (scan, energy).
    """
    x = energy[:-1]  # larch leaves the last point out
    starts = range(0, mu.shape[0], BLOCK)
    first = np.concatenate([_steepest(_slopes(x, mu[start : start + BLOCK, :-1])) for start in starts])
    found = np.empty(mu.shape[0])
    size = energy.size
    for index in np.unique(first).tolist():
        rows = np.flatnonzero(first == index)
        near, begin = float(x[index]), max(3, index - WINDOW)
        stop = min(index + WINDOW, size - 3)
        if index < 0.05 * size:  # a glitch at the begin of a scan
            near, begin, stop = float(energy.mean()), max(3, index - 20), size - 3
        step = 0.5 * (max(0.01, min(1.0, _usual_step(x))) + max(0.01, min(1.0, near / 25000.0)))
        part = energy[begin : stop - 1]
        slopes = _slopes(part, mu[rows, begin : stop - 1])
        at = _steepest(slopes @ _smoothing(Grid(part), step).T)
        found[rows] = np.where(at < 1, energy[begin + 2], part[at])
    return found


def _slopes(x: Array, y: Array) -> Array:
    """Return dy/dx over two steps of the axis, one at its ends; y of shape (scan, energy)."""
    slopes = np.empty(y.shape)
    slopes[:, 1:-1] = (y[:, 2:] - y[:, :-2]) / (x[2:] - x[:-2])
    for end, next_to in ((0, 1), (-1, -2)):
        slopes[:, end] = (y[:, next_to] - y[:, end]) / (x[next_to] - x[end])
    return slopes


def _steepest(slopes: Array) -> Integers:
    """Return the index of the largest slope with steep neighbours; 0 where there is none."""
    size = slopes.shape[1]
    margin = max(3, int(size * 0.02))
    inner = slopes[:, margin:-margin]
    low = inner.min(axis=1)
    height = np.maximum(inner.max(axis=1) - low, 1e-10)
    least = low + (STEEP if size > 20 else 0.3) * height
    best = margin + np.argmax(slopes[:, margin : size - margin + 1], axis=1)
    rows = np.arange(best.size)
    sure = np.minimum(slopes[rows, best - 1], slopes[rows, best + 1]) > least
    for row in np.flatnonzero(~sure):  # hardly ever: the largest slope is that of a single bad point
        best[row] = _steep_with_neighbours((slopes[row] - low[row]) / height[row], margin)
    return np.asarray(best)


def _steep_with_neighbours(relative: Array, margin: int) -> int:
    """Return the index of the largest slope of a scan whose neighbours are steep, too; 0 for none."""
    size = relative.size
    threshold = STEEP if size > 20 else 0.3
    steep = relative > threshold
    if steep.sum() < 3:  # too few steep points: ask for less
        for part in (0.5, 0.25):
            if steep.sum() <= 3:
                steep = relative > part * threshold
    if steep.sum() < 3:
        steep[:] = True
    possible = np.zeros(size, dtype=bool)
    possible[1:-1] = steep[1:-1] & steep[:-2] & steep[2:]
    possible[:margin] = possible[size - margin + 1 :] = False
    best = int(np.argmax(np.where(possible, relative, 0.0)))
    return best if possible[best] and relative[best] > 0 else 0


def _usual_step(x: Array) -> float:
    """Return the mean of the ten smallest steps of the axis, the smallest hundredth left out."""
    skipped = int(0.01 * x.size)
    if not skipped:
        return 1.0
    steps = np.sort(np.diff(x[:-1][skipped:-skipped]))
    return float(steps[skipped : skipped + 10].mean())


@lru_cache(maxsize=256)
def _smoothing(grid: Grid, step: float) -> Array:
    """Return the matrix that convolves a curve on `grid` with a Lorentzian of half width `step` (eV).

    The curve is laid on an even axis of that step (linearly), reflected at both ends, convolved, and read at
    the points of the grid again.
    """
    x = grid.energy
    low, high = (step * int((end + sign * 5 * step) / step) for end, sign in ((x[0], -1), (x[-1], 1)))
    count = min(1 + int(abs(high - low + 0.1 * step) / step), 50 * x.size)
    even = np.linspace(low, high, count)
    kernel = 1 / (1 + (np.arange(2 * count) - count) ** 2)
    kernel /= kernel.sum()
    below = np.clip(np.searchsorted(even, x, side="right") - 1, 0, count - 2)
    part = (x - even[below]) / (even[below + 1] - even[below])
    # row i of the convolution is the reversed kernel from i on, over the reflected curve (3 count - 1 points)
    padded = np.zeros(5 * count - 2)
    padded[count - 1 : 3 * count - 1] = kernel[::-1]
    rows = np.lib.stride_tricks.sliding_window_view(padded, 3 * count - 1)
    wide = (1 - part)[:, None] * rows[count - 1 - below] + part[:, None] * rows[count - 2 - below]
    folded = wide[:, count - 1 : 2 * count - 1].copy()
    folded[:, 1:] += wide[:, : count - 1][:, ::-1]
    folded += wide[:, 2 * count - 1 :][:, ::-1]
    # np.interp to the even axis, constant beyond the ends, as a matrix
    upper = np.clip(np.searchsorted(x, even, side="right"), 1, x.size - 1)
    share = np.clip((even - x[upper - 1]) / (x[upper] - x[upper - 1]), 0, 1)
    spread = np.zeros((count, x.size))
    spread[np.arange(count), upper - 1] = 1 - share
    spread[np.arange(count), upper] += share
    return np.asarray(folded @ spread)
