r"""How pixels are shared between bins: runs of weights, made once for a geometry.

A pixel lies in a run of neighbouring bins. Bounding box (``"bbox"``): it is spread evenly over its centre ±
the distance along the axis to its farthest corner, as pyFAI has it. ``"full"``: the weight of a bin is the
area that bin cuts out of the pixel, a quadrangle in the plane of axis and azimuth. What lies outside the
range is in no bin.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from xrd.pixels import compiled

if TYPE_CHECKING:
    from numpy.typing import NDArray


class Runs(NamedTuple):
    """Weights of pixels, pixel after pixel.

    Attributes
    ----------
    first
        First bin of every pixel.
    number
        How many bins the pixel lies in; 0 where it is not used.
    weights
        Parts of the pixels in their bins, all runs one after the other.
    """

    first: NDArray[np.uint32]
    number: NDArray[np.uint16]
    weights: NDArray[np.float32]


def bbox_runs(
    center: NDArray[np.float64],
    corners: NDArray[np.float64],
    row: NDArray[np.int32],
    low: float,
    high: float,
    bins: int,
) -> Runs:
    """Return the runs of pixels spread over their bounding boxes.

    Parameters
    ----------
    center, corners
        Positions along the axis of pixel centres (y, x) and of the corners (y + 1, x + 1).
    row
        Number of the sector of every pixel (y, x), whose bins follow those of the one before; -1: not used.
    low, high
        First and last edge of the bins.
    bins
        Bins of one sector.
    """
    first, number = _bbox_extent(center, corners, row, low, high, bins)
    weights = np.empty(int(number.sum(dtype=np.int64)), np.float32)
    _bbox_weights(center, corners, number, low, high, bins, weights)
    return Runs((first + bins * np.maximum(row, 0).ravel()).astype(np.uint32), number, weights)


def full_runs(
    corners: NDArray[np.float64],
    azimuth: NDArray[np.float64],
    row: NDArray[np.int32],
    low: float,
    high: float,
    bins: int,
) -> Runs:
    """Return the runs of pixels cut up by the bins; `azimuth` (deg) is that of the corners (y + 1, x + 1)."""
    first, number = _full_extent(corners, row, low, high, bins)
    weights = np.empty(int(number.sum(dtype=np.int64)), np.float32)
    _full_weights(corners, azimuth, first, number, low, high, bins, weights)
    return Runs((first + bins * np.maximum(row, 0).ravel()).astype(np.uint32), number, weights)


@compiled
def _box(center: Any, corners: Any, i: int, j: int, low: float, width: float) -> Any:
    """Return the extent of a pixel in bins; it does not reach beyond the beam."""
    middle = center[i, j]
    reach = max(
        max(abs(corners[i, j] - middle), abs(corners[i, j + 1] - middle)),
        max(abs(corners[i + 1, j] - middle), abs(corners[i + 1, j + 1] - middle)),
    )
    start = middle - reach
    if middle > 0.0:  # -d, which is negative, comes from the beam and not up to it
        start = max(start, 0.0)
    return (start - low) / width, (middle + reach - low) / width


@compiled
def _run(start: float, end: float, bins: int) -> Any:
    """Return the first bin of an extent and how many there are within the range."""
    # Compared before they are made whole: a corner in the beam lies at d = infinity.
    if not (end > 0.0 and start < bins and end - start < 60000.0):
        return 0, 0
    first = max(math.floor(start), 0)
    last = min(math.floor(end), bins - 1)
    return first, last - first + 1


@compiled
def _bbox_extent(center: Any, corners: Any, row: Any, low: float, high: float, bins: int) -> Any:
    rows, columns = center.shape
    first = np.zeros(rows * columns, np.int64)
    number = np.zeros(rows * columns, np.uint16)
    width = (high - low) / bins
    for i in range(rows):
        for j in range(columns):
            if row[i, j] >= 0:
                start, end = _box(center, corners, i, j, low, width)
                at, n = _run(start, end, bins)
                first[i * columns + j] = at
                number[i * columns + j] = n
    return first, number


@compiled
def _bbox_weights(
    center: Any, corners: Any, number: Any, low: float, high: float, bins: int, weights: Any
) -> None:
    rows, columns = center.shape
    width = (high - low) / bins
    at = 0
    for i in range(rows):
        for j in range(columns):
            n = int(number[i * columns + j])
            if n == 0:
                continue
            start, end = _box(center, corners, i, j, low, width)
            first, _ = _run(start, end, bins)
            for k in range(n):
                inside = min(end, first + k + 1.0) - max(start, first + float(k))
                weights[at + k] = inside / (end - start)
            at += n


@compiled
def _full_extent(corners: Any, row: Any, low: float, high: float, bins: int) -> Any:
    rows, columns = row.shape
    first = np.zeros(rows * columns, np.int64)
    number = np.zeros(rows * columns, np.uint16)
    width = (high - low) / bins
    for i in range(rows):
        for j in range(columns):
            if row[i, j] >= 0:
                a, b, c, d = corners[i, j], corners[i, j + 1], corners[i + 1, j + 1], corners[i + 1, j]
                start = (min(min(a, b), min(c, d)) - low) / width
                end = (max(max(a, b), max(c, d)) - low) / width
                at, n = _run(start, end, bins)
                first[i * columns + j] = at
                number[i * columns + j] = n
    return first, number


@compiled
def _full_weights(
    corners: Any, azimuth: Any, first: Any, number: Any, low: float, high: float, bins: int, weights: Any
) -> None:
    rows, columns = corners.shape[0] - 1, corners.shape[1] - 1
    width = (high - low) / bins
    u, v = np.empty(5), np.empty(5)
    at = 0
    for i in range(rows):
        for j in range(columns):
            n = int(number[i * columns + j])
            if n == 0:
                continue
            for k in range(4):
                # Around the pixel: (0, 0), (0, 1), (1, 1), (1, 0).
                y, x = i + k // 2, j + (k + 1) // 2 % 2
                u[k] = (corners[y, x] - low) / width - first[i * columns + j]
                turn = azimuth[y, x] - azimuth[i, j]
                v[k] = turn - 360.0 * round(turn / 360.0)
            u[4], v[4] = u[0], v[0]
            area = 0.0
            for k in range(4):
                area += 0.5 * (u[k + 1] - u[k]) * (v[k + 1] + v[k])
            if v.max() - v.min() < 180.0:
                weights[at : at + n] = 0.0
                for k in range(4):
                    _add_below(u[k], v[k], u[k + 1], v[k + 1], 1.0 / area, weights[at : at + n])
            else:  # the beam is in the pixel, which has all azimuths
                start, end = u.min(), u.max()
                for k in range(n):
                    weights[at + k] = (min(end, k + 1.0) - max(start, float(k))) / (end - start)
            at += n


@compiled
def _add_below(u0: float, v0: float, u1: float, v1: float, factor: float, weights: Any) -> None:
    """Add the signed area below a line to the bins it runs over."""
    if u0 == u1:
        return
    slope = (v1 - v0) / (u1 - u0)
    sign = 1.0 if u1 > u0 else -1.0
    low, high = min(u0, u1), max(u0, u1)
    for k in range(max(math.floor(low), 0), min(math.floor(high) + 1, weights.size)):
        start, end = max(low, float(k)), min(high, k + 1.0)
        if end > start:
            weights[k] += sign * factor * (end - start) * (v0 + slope * ((start + end) / 2 - u0))
