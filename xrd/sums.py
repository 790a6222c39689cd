r"""Sums over the pixels of every bin: the loops that see every pixel of every frame.

All that does not depend on the frame (which pixel is in which bin, its normalisation, the mask) is settled
beforehand, so that a frame costs one addition per pixel and bin, ``Σ c S`` and ``Σ c² S`` with the weights
c. Pixels that did not measure in this frame, below `low`, above `top` or NaN, are left out, and what they
would have added to the sums that are settled is added up as lost.

Whole numbers are summed exactly. Others are summed in the order of the pixels whether frames come one by
one or four at a time, so that both give the same bytes.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from xrd.pixels import compiled

BLOCK = 1024
"""Pixels that stay in the fastest cache while they are looked at twice."""

SETTLED = ("pixels", "squares", "norm", "dark", "dark_squares")
"""Columns of the sums that do not depend on the frame: Σ c, Σ c², Σ c n, Σ c D and Σ c² D."""


@compiled
def settle_whole(place: Any, norm: Any, dark: Any, out: Any) -> None:
    """Add up the columns `SETTLED` of pixels that lie in one bin each."""
    for i in range(place.size):
        _settle(out[place[i]], 1.0, norm[i], dark[i] if dark.size else 0.0)


@compiled
def settle_shared(first: Any, number: Any, weights: Any, norm: Any, dark: Any, out: Any) -> None:
    """Add up the columns `SETTLED` of pixels that are shared."""
    at = 0
    for i in range(first.size):
        for k in range(int(number[i])):
            _settle(out[int(first[i]) + k], weights[at + k], norm[i], dark[i] if dark.size else 0.0)
        at += int(number[i])


@compiled
def _settle(row: Any, weight: float, norm: float, dark: float) -> None:
    c = np.float64(weight)
    row[0] += c
    row[1] += c * c
    row[2] += c * norm
    row[3] += c * dark
    row[4] += c * c * dark


@compiled
def add_whole(
    frame: Any, place: Any, norm: Any, dark: Any, low: Any, top: Any, total: Any, lost: Any
) -> None:
    """Add a frame up, each pixel in one bin.

    Parameters
    ----------
    frame
        Signal of the pixels, flat.
    place
        Bin of every pixel; the last one is for pixels that are not used.
    norm, dark
        Of every pixel; `dark` is empty where there is none.
    low, top
        Least and largest signal of a pixel that measured.
    total
        Σ S of every bin, added to.
    lost
        Columns `SETTLED` of the pixels that did not measure, added to.
    """
    for start in range(0, frame.size, BLOCK):
        block, places = frame[start : start + BLOCK], place[start : start + BLOCK]
        if all_live(block, low, top):
            _add_block(block, places, total)
            continue
        for i in range(block.size):
            if low <= block[i] <= top:
                total[places[i]] += block[i]
            else:
                at = start + i
                _settle(lost[places[i]], 1.0, norm[at], dark[at] if dark.size else 0.0)


@compiled
def all_live(block: Any, low: Any, top: Any) -> bool:
    """Tell whether every pixel measured; without a branch, so that many are looked at in one instruction."""
    live = True
    for i in range(block.size):
        live &= (low <= block[i]) & (block[i] <= top)
    return live


@compiled
def _add_block(block: Any, places: Any, total: Any) -> None:
    for i in range(block.size):
        total[places[i]] += block[i]


@compiled
def add_shared(
    frame: Any,
    first: Any,
    number: Any,
    weights: Any,
    norm: Any,
    dark: Any,
    low: Any,
    top: Any,
    sums: Any,
    lost: Any,
) -> None:
    """Add a frame up whose pixels are shared; `sums` are Σ c S and Σ c² S of every bin (bin, 2)."""
    at = 0
    for i in range(frame.size):
        n = int(number[i])
        b = int(first[i])
        if low <= frame[i] <= top:
            s = np.float64(frame[i])
            for k in range(n):
                c = np.float64(weights[at + k])
                sums[b + k, 0] += c * s
                sums[b + k, 1] += c * c * s
        else:
            for k in range(n):
                _settle(lost[b + k], weights[at + k], norm[i], dark[i] if dark.size else 0.0)
        at += n


@compiled
def add_shared_four(
    frames: Any,
    first: Any,
    number: Any,
    weights: Any,
    norm: Any,
    dark: Any,
    low: Any,
    top: Any,
    sums: Any,
    lost: Any,
) -> None:
    """Add four frames up at once; `sums` (bin, 8) are their Σ c S and then Σ c² S, `lost` is (4, bin, 5)."""
    f0, f1, f2, f3 = frames[0], frames[1], frames[2], frames[3]
    at = 0
    for i in range(first.size):
        n = int(number[i])
        b = int(first[i])
        live = (low <= f0[i] <= top) and (low <= f1[i] <= top)
        if live and (low <= f2[i] <= top) and (low <= f3[i] <= top):
            s0, s1, s2, s3 = np.float64(f0[i]), np.float64(f1[i]), np.float64(f2[i]), np.float64(f3[i])
            for k in range(n):
                c = np.float64(weights[at + k])
                square = c * c
                sums[b + k, 0] += c * s0
                sums[b + k, 1] += c * s1
                sums[b + k, 2] += c * s2
                sums[b + k, 3] += c * s3
                sums[b + k, 4] += square * s0
                sums[b + k, 5] += square * s1
                sums[b + k, 6] += square * s2
                sums[b + k, 7] += square * s3
        else:
            for f in range(4):
                for k in range(n):
                    c = np.float64(weights[at + k])
                    if low <= frames[f, i] <= top:
                        s = np.float64(frames[f, i])
                        sums[b + k, f] += c * s
                        sums[b + k, 4 + f] += c * c * s
                    else:
                        _settle(lost[f, b + k], c, norm[i], dark[i] if dark.size else 0.0)
        at += n


@compiled
def scatter_whole(
    frame: Any, place: Any, norm: Any, dark: Any, low: Any, top: Any, mean: Any, out: Any
) -> None:
    """Add up (S - D - n I)² of the pixels of every bin, I being the mean of the bin."""
    for i in range(frame.size):
        if low <= frame[i] <= top:
            b = place[i]
            off = np.float64(frame[i]) - (dark[i] if dark.size else 0.0) - norm[i] * mean[b]
            out[b] += off * off


@compiled
def scatter_shared(
    frame: Any,
    first: Any,
    number: Any,
    weights: Any,
    norm: Any,
    dark: Any,
    low: Any,
    top: Any,
    mean: Any,
    out: Any,
) -> None:
    """Add up c² (S - D - n I)² of the pixels of every bin, I being the mean of the bin."""
    at = 0
    for i in range(frame.size):
        if low <= frame[i] <= top:
            signal = np.float64(frame[i]) - (dark[i] if dark.size else 0.0)
            for k in range(int(number[i])):
                b = int(first[i]) + k
                off = np.float64(weights[at + k]) * (signal - norm[i] * mean[b])
                out[b] += off * off
        at += int(number[i])


@compiled
def correlation(first: Any, number: Any, weights: Any, norm: Any, squares: Any, beside: Any) -> None:
    """Add up Σ c² n of every bin, and Σ c c' n with the weights c' in the next bin."""
    at = 0
    for i in range(first.size):
        n = int(number[i])
        for k in range(n):
            c = np.float64(weights[at + k])
            squares[int(first[i]) + k] += c * c * norm[i]
            if k + 1 < n:
                beside[int(first[i]) + k] += c * np.float64(weights[at + k + 1]) * norm[i]
        at += n


@compiled
def sort_by_bin(frame: Any, slot: Any, out: Any) -> None:
    """Put the signals of the pixels into their slots, in the order of the bins."""
    for i in range(frame.size):
        out[slot[i]] = frame[i]


def limits(dtype: np.dtype[Any], is_counts: bool, saturation: float | None) -> tuple[Any, Any]:
    """Return least and largest signal of a pixel that measured, as numbers of the frame's type.

    Counts are not negative; the largest number of an unsigned type marks a pixel that is saturated or bad;
    what is not finite is nothing. From `saturation` on a pixel is not used.
    """
    if dtype.kind == "f":
        info = np.finfo(dtype)
        top = info.max if saturation is None else np.nextafter(dtype.type(saturation), dtype.type(-np.inf))
        return dtype.type(0 if is_counts else info.min), dtype.type(top)
    whole = np.iinfo(dtype)
    top = whole.max - 1 if dtype.kind == "u" else whole.max
    if saturation is not None:
        top = min(top, int(np.ceil(saturation)) - 1)
    return dtype.type(0 if is_counts else whole.min), dtype.type(max(top, whole.min))
