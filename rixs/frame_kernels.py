"""Loops over the pixels of one frame: what is near a photon, what a spike is, and sums along bent lines.

A frame is its signal (y, x) in ADU, dark subtracted. Every loop runs along the rows as they lie in memory.
"""

from __future__ import annotations

from typing import Any

import numba
import numpy as np

Floats = np.ndarray[Any, np.dtype[np.float64]]
Signal = np.ndarray[Any, np.dtype[np.floating[Any]]]
Flags = np.ndarray[Any, np.dtype[np.uint8]]
Integers = np.ndarray[Any, np.dtype[np.int64]]

SUMS = ("signal", "live", "charge", "near", "hit")
"""What `sum_rows` sums: signal of live pixels, live pixels, charge of those that hold or touch a photon,
number of those, number of those that hold one."""

NEIGHBOUR, HIT = 1, 2


@numba.njit(cache=True)
def photon_profiles(signal: Signal, mask: Flags, gate: float, strip: Integers, profiles: Floats) -> None:
    """Add the signal of live pixels above `gate` to the profile (strip, x) of their row's strip."""
    rows, columns = signal.shape
    for y in range(rows):
        target = profiles[strip[y]]
        for x in range(columns):
            value = signal[y, x]
            target[x] += value if value > gate and mask[y, x] == 0 else 0.0


@numba.njit(cache=True)
def mark_hits(
    signal: Signal, y: Integers, x: Integers, single: Floats, pair: Floats, track: Floats, mask: Flags
) -> int:
    """Mark hit pixels among the candidates (y, x) with `HIT`, return how many.

    A pixel is hit above the limit `single` of its column; above `pair`, if one of its 8 neighbours is above
    its own `pair`; and above `track`, if a neighbour is hit.
    """
    rows, columns = signal.shape
    stack = np.empty((2, rows * columns if y.size > rows * columns else max(9 * y.size, 1)), np.int64)
    top = 0
    count = 0
    for i in range(y.size):
        b, a = y[i], x[i]
        value = signal[b, a]
        hit = value > single[a]
        if not hit and value > pair[a]:
            for q in range(max(b - 1, 0), min(b + 2, rows)):
                for p in range(max(a - 1, 0), min(a + 2, columns)):
                    if (q != b or p != a) and signal[q, p] > pair[p]:
                        hit = True
        if hit and mask[b, a] != HIT:
            mask[b, a] = HIT
            count += 1
            stack[0, top], stack[1, top] = b, a
            top += 1
    while top > 0:
        top -= 1
        b, a = stack[0, top], stack[1, top]
        for q in range(max(b - 1, 0), min(b + 2, rows)):
            for p in range(max(a - 1, 0), min(a + 2, columns)):
                if mask[q, p] != HIT and signal[q, p] > track[p]:
                    mask[q, p] = HIT
                    count += 1
                    stack[0, top], stack[1, top] = q, p
                    top += 1
    return count


@numba.njit(cache=True)
def mark_neighbours(y: Integers, x: Integers, mask: Flags) -> None:
    """Mark the pixels around the hit ones (y, x) with `NEIGHBOUR`."""
    rows, columns = mask.shape
    for i in range(y.size):
        for q in range(max(y[i] - 1, 0), min(y[i] + 2, rows)):
            for p in range(max(x[i] - 1, 0), min(x[i] + 2, columns)):
                if mask[q, p] == 0:
                    mask[q, p] = NEIGHBOUR


@numba.njit(cache=True)
def sum_rows(signal: Signal, mask: Flags, gate: float, first: Integers, part: Floats, sums: Floats) -> None:
    """Add every row to `sums` (quantity of `SUMS`, pixel): `1 - part` from pixel `first` on, `part` one on.

    Pixels whose `mask` is not zero are left out. A pixel above `gate` holds a photon.
    """
    rows, columns = signal.shape
    above = np.zeros(columns + 2, np.uint8)
    here = np.zeros(columns + 2, np.uint8)
    below = np.zeros(columns + 2, np.uint8)
    column = np.zeros(columns + 2, np.uint8)
    near = np.zeros(columns, np.uint8)
    row = np.zeros((len(SUMS), columns))
    for x in range(columns):
        here[x + 1] = signal[0, x] > gate and mask[0, x] == 0
    for y in range(rows):
        if y + 1 < rows:
            for x in range(columns):
                below[x + 1] = (signal[y + 1, x] > gate) & (mask[y + 1, x] == 0)
        else:
            below[:] = 0
        for x in range(columns + 2):
            column[x] = above[x] | here[x] | below[x]
        for x in range(columns):
            near[x] = column[x] | column[x + 1] | column[x + 2]
        for x in range(columns):
            live = 1.0 if mask[y, x] == 0 else 0.0
            value = signal[y, x] * live if live > 0 else 0.0
            touched = live * near[x]
            row[0, x] = value
            row[1, x] = live
            row[2, x] = value * near[x]
            row[3, x] = touched
            row[4, x] = here[x + 1]
        left, right, at = 1 - part[y], part[y], first[y]
        for k in range(len(SUMS)):
            for x in range(columns):
                sums[k, at + x] += left * row[k, x]
            if right > 0:
                for x in range(columns):
                    sums[k, at + 1 + x] += right * row[k, x]
        above, here, below = here, below, above
