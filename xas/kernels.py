"""The loops over all points of all scans, compiled: one pass over the memory instead of twenty.

What they calculate is said where they are called, in `xas.fits` and `xas.noise`.
"""

from __future__ import annotations

from typing import Any

import numba
import numpy as np

Array = np.ndarray[Any, np.dtype[np.float64]]


@numba.njit(cache=True)
def normalise_rows(
    mu: Array,
    sigma: Array,
    basis: Array,
    line: Array,
    line_response: Array,
    step: Array,
    step_response: Array,
    over: Array,
    nearest: Any,
    rows: Any,
    norm: Array,
    errors: Array,
    flat: Array,
    pre_edge: Array,
    post_edge: Array,
) -> None:
    """Fill `rows` of the last five arrays, shape (…, energy), from the fits of `xas.fits.Fits`.

    `line_response` has the shape (scan or 1, 2, energy), `nearest` (scan,) is the point nearest to E0.
    """
    points = mu.shape[1]
    for n in range(mu.shape[0]):
        row = rows[n]
        p = line_response[n if line_response.shape[0] > 1 else 0]
        s = step_response[n]
        c00 = c01 = c11 = c02 = c12 = c22 = 0.0
        for e in range(points):
            v = sigma[n, e] ** 2
            c00 += v * p[0, e] * p[0, e]
            c01 += v * p[0, e] * p[1, e]
            c11 += v * p[1, e] * p[1, e]
            c02 += v * p[0, e] * s[e]
            c12 += v * p[1, e] * s[e]
            c22 += v * s[e] * s[e]
        at = over[n, nearest[n]]
        for e in range(points):
            b0, b1 = basis[e, 0], basis[e, 1]
            below = line[n, 0] * b0 + line[n, 1] * b1
            y = (mu[n, e] - below) / step[n]
            # var(μ - b·l - norm Δμ): the noise of the point, of line and step, and how they go together
            shared = b0 * p[0, e] + b1 * p[1, e] + y * s[e]
            together = c00 * b0 * b0 + 2 * c01 * b0 * b1 + c11 * b1 * b1
            together += y * (2 * (c02 * b0 + c12 * b1) + c22 * y)
            variance = sigma[n, e] ** 2 * (1 - 2 * shared) + together
            norm[row, e] = y
            errors[row, e] = np.sqrt(max(variance, 0.0)) / abs(step[n])
            flat[row, e] = y if e < nearest[n] else y - (over[n, e] - at) / step[n]
            pre_edge[row, e] = below
            post_edge[row, e] = below + over[n, e]


@numba.njit(cache=True)
def spread_of_rows(mu: Array, weights: Array, first: int, stop: int, clip: float, out: Array) -> None:
    """Fill `out` (scan, 2) with rms and number of the residuals `first` to `stop` that are no outliers.

    A residual is the sum of five points of a scan times its row of `weights` (energy - 4, 5); one beyond
    `clip` times their median size is an outlier.
    """
    count = stop - first
    stride = max(1, count // 128)  # enough to say what stands out
    size = np.empty(count)
    for n in range(mu.shape[0]):
        for i in range(count):
            e = first + i
            total = 0.0
            for j in range(5):
                total += weights[e, j] * mu[n, e + j]
            size[i] = abs(total)
        limit = clip * np.median(size[::stride])
        total, kept = 0.0, 0
        for i in range(count):
            if size[i] <= limit:
                total += size[i] ** 2
                kept += 1
        out[n, 0] = np.sqrt(total / kept)
        out[n, 1] = kept


@numba.njit(cache=True)
def find_glitches(
    mu: Array, weights: Array, sigma: Array, near: Any, sigmas: float, least: Array, found: Any
) -> None:
    """Write to `found` (scan,) the point that stands out most from its neighbours; -1 where none does.

    One stands out whose pseudo-residual is above `sigmas` times its `sigma` and above `least` (scan,); the
    points `near` (scan, 2), from the first to before the second, are left out.
    """
    for n in range(mu.shape[0]):
        most = 0.0
        found[n] = -1
        for e in range(weights.shape[0]):
            if near[n, 0] <= e + 2 < near[n, 1]:
                continue
            total = 0.0
            for j in range(5):
                total += weights[e, j] * mu[n, e + j]
            size = abs(total)
            if size > most and size > least[n] and size > sigmas * sigma[n, e + 2]:
                most = size
                found[n] = e + 2
