"""Loops over the pixels of an image: isolated photons, and the moments of columns without light."""

from __future__ import annotations

from typing import Any

import numba
import numpy as np

Signal = np.ndarray[Any, np.dtype[np.floating[Any]]]
Integers = np.ndarray[Any, np.dtype[np.int64]]
Floats = np.ndarray[Any, np.dtype[np.float64]]


@numba.njit(cache=True)
def isolated_events(signal: Signal, y: Integers, x: Integers, gate: float) -> Floats:
    """Return the 3 × 3 pixels (event, 9) around every isolated event among the pixels (y, x).

    It is the highest of its 3 × 3 pixels, no other pixel of the 5 × 5 around them is above `gate`, and the
    5 × 5 are within the image.
    """
    rows, columns = signal.shape
    found = np.empty((y.size, 9))
    count = 0
    for i in range(y.size):
        b, a = y[i], x[i]
        if b < 2 or b >= rows - 2 or a < 2 or a >= columns - 2:
            continue
        value = signal[b, a]
        alone = True
        for q in range(-2, 3):
            for p in range(-2, 3):
                other = signal[b + q, a + p]
                inside = abs(q) < 2 and abs(p) < 2
                if (inside and other > value) or (not inside and other > gate):
                    alone = False
        if alone:
            for q in range(3):
                for p in range(3):
                    found[count, 3 * q + p] = signal[b + q - 1, a + p - 1]
            count += 1
    return found[:count]


@numba.njit(cache=True)
def column_moments(counts: Signal, middle: Floats, limit: Floats, moments: Floats) -> None:
    """Add number, sum and sum of squares about `middle` of every column's pixels within `limit` of it."""
    rows, columns = counts.shape
    for y in range(rows):
        for x in range(columns):
            off = counts[y, x] - middle[x]
            within = 1.0 if abs(off) <= limit[x] else 0.0
            moments[0, x] += within
            moments[1, x] += within * off
            moments[2, x] += within * off * off
