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
def brighter_pixels(signal: Signal, limit: float, y: Integers, x: Integers) -> int:
    """Write the pixels above `limit` into `y` and `x` as far as they go; return how many there are."""
    rows, columns = signal.shape
    count = 0
    for b in range(rows):
        number = 0
        for a in range(columns):
            number += signal[b, a] > limit
        if number:
            for a in range(columns):
                if signal[b, a] > limit:
                    if count < y.size:
                        y[count], x[count] = b, a
                    count += 1
    return count


@numba.njit(cache=True)
def mark_hits(
    signal: Signal,
    y: Integers,
    x: Integers,
    single: Floats,
    pair: Floats,
    track: Floats,
    mask: Flags,
    hits: Integers,
    count: int,
) -> int:
    """Mark hit pixels among the candidates (y, x) with `HIT` and add them to the `count` there are in `hits`.

    Limits are those of pixels (y, x), or of columns (1, x). A pixel is hit above its limit `single`; above
    `pair`, if one of its 8 neighbours is above its own `pair`; and above `track`, if a neighbour is hit.
    Returns how many hits there are now; those that `hits` (2, most) has no place for are marked as well.
    """
    rows, columns = signal.shape
    most = hits.shape[1]
    own = 1 if single.shape[0] > 1 else 0
    first = count
    for i in range(y.size):
        b, a = y[i], x[i]
        if mask[b, a] == HIT:
            continue
        value = signal[b, a]
        hit = value > single[own * b, a]
        if not hit and value > pair[own * b, a]:
            for q in range(max(b - 1, 0), min(b + 2, rows)):
                for p in range(max(a - 1, 0), min(a + 2, columns)):
                    if (q != b or p != a) and signal[q, p] > pair[own * q, p]:
                        hit = True
        if hit and count < most:
            mask[b, a] = HIT
            hits[0, count], hits[1, count] = b, a
            count += 1
    while first < count:
        b, a = hits[0, first], hits[1, first]
        first += 1
        for q in range(max(b - 1, 0), min(b + 2, rows)):
            for p in range(max(a - 1, 0), min(a + 2, columns)):
                if mask[q, p] != HIT and signal[q, p] > track[own * q, p] and count < most:
                    mask[q, p] = HIT
                    hits[0, count], hits[1, count] = q, p
                    count += 1
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

    Pixels whose `mask` is not zero are left out. A pixel above `gate` holds a photon. Live pixels are counted
    as those that are not: the caller adds what all would be.
    """
    rows, columns = signal.shape
    above = np.zeros(columns + 2, np.uint8)
    here = np.zeros(columns + 2, np.uint8)
    below = np.zeros(columns + 2, np.uint8)
    value = np.zeros(columns, signal.dtype)
    charge = np.zeros(columns, signal.dtype)
    near = np.zeros(columns, np.uint8)
    # Rows that begin at the same pixel are added up, whole and the part that goes one on, then put there.
    whole = np.zeros((4, columns))
    moved = np.zeros((4, columns))
    for x in range(columns):
        here[x + 1] = (signal[0, x] > gate) & (mask[0, x] == 0)
    for y in range(rows):
        if y + 1 < rows:
            for x in range(columns):
                below[x + 1] = (signal[y + 1, x] > gate) & (mask[y + 1, x] == 0)
        else:
            below[:] = 0
        # The row above is not needed after this: its place takes what any of the three rows holds.
        for x in range(columns + 2):
            above[x] = above[x] | here[x] | below[x]
        dead = 0
        # Many short loops: each is one the compiler makes wide.
        for x in range(columns):
            near[x] = (above[x] | above[x + 1] | above[x + 2]) & (mask[y, x] == 0)
        for x in range(columns):
            value[x] = signal[y, x] if mask[y, x] == 0 else 0
        for x in range(columns):
            charge[x] = value[x] * near[x]
        for x in range(columns):
            dead += mask[y, x] != 0
        for x in range(columns):
            whole[0, x] += value[x]
        for x in range(columns):
            whole[1, x] += charge[x]
        for x in range(columns):
            whole[2, x] += near[x]
        for x in range(columns):
            whole[3, x] += here[x + 1]
        right = part[y]
        if right > 0:
            for x in range(columns):
                moved[0, x] += right * value[x]
            for x in range(columns):
                moved[1, x] += right * charge[x]
            for x in range(columns):
                moved[2, x] += right * near[x]
            for x in range(columns):
                moved[3, x] += right * here[x + 1]
        if dead > 0:
            for x in range(columns):
                if mask[y, x] != 0:
                    sums[1, first[y] + x] -= 1 - right
                    if right > 0:
                        sums[1, first[y] + 1 + x] -= right
        if y + 1 == rows or first[y + 1] != first[y]:
            at = first[y]
            for k in range(4):
                quantity = k + (k > 0)
                for x in range(columns):
                    sums[quantity, at + x] += whole[k, x] - moved[k, x]
                for x in range(columns):
                    if moved[k, x] != 0:
                        sums[quantity, at + 1 + x] += moved[k, x]
            whole[:] = 0
            moved[:] = 0
        above, here, below = here, below, above


@numba.njit(cache=True)
def count_events(
    signal: Signal,
    mask: Flags,
    y: Integers,
    x: Integers,
    offset: float,
    gain: float,
    shift: Floats,
    pad: int,
    oversampling: int,
    counts: Floats,
) -> None:
    """Add the photons of events among the pixels (y, x) to `counts`, bins of 1/oversampling px from -pad on.

    An event is a pixel no neighbour exceeds; of equal ones, the first in the order of rows.
    """
    rows, columns = signal.shape
    for i in range(y.size):
        b, a = y[i], x[i]
        value = signal[b, a]
        top = True
        charge, moment = 0.0, 0.0
        for q in range(max(b - 1, 0), min(b + 2, rows)):
            for p in range(max(a - 1, 0), min(a + 2, columns)):
                other = signal[q, p]
                earlier = q < b or (q == b and p < a)
                if other > value or (earlier and other == value):
                    top = False
                if mask[q, p] == 0:
                    held = other - offset
                    charge += held
                    moment += max(held, 0.0) * (p - a)
        if top:
            photons = max(np.rint(charge / gain), 1.0)
            place = a + moment / max(charge, gain) - shift[b] + pad + 0.5
            at = int(np.floor(place * oversampling))
            if 0 <= at < counts.size:
                counts[at] += photons
