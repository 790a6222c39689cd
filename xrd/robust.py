r"""Means that outliers do not reach: clipped or trimmed among the pixels of a bin.

**Clipped.** In a bin of mean I the pixel of signal s and normalisation n is off by :math:`(s - n I) / \sqrt
n`, which has one variance v for all pixels of the bin if they are Poisson. Pixels farther off than :math:`k
\sqrt v` are rejected, and I and v computed again from the rest, until none is. It begins with the median
and the median absolute deviation, which half of the pixels can be wrong in without harm. Where the gain g
is known, v is not taken below Poisson's :math:`g I`, and the upper limit is :math:`k^2 g / 4` further off:
there :math:`2 (\sqrt{s/g} - \sqrt{nI/g}) = k`, so that few counts, whose distribution is skewed, are not
clipped on one side.

**Trimmed.** The lowest and the highest α N of the N pixels are left out. With the trimmed pixels put at the
limits (Winsorised) their scatter :math:`s_w` gives the variance of the mean, :math:`s_w^2 / ((1 - 2 α)^2
N)` (J. W. Tukey, D. H. McLaughlin, Sankhyā A 25 (1963) 331). The trimmed mean of a skewed distribution is
not its mean: use it from some 20 counts per pixel on.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from xrd.pixels import compiled

MOST_ROUNDS = 20


@compiled
def clipped(
    starts: Any, counts: Any, signals: Any, norms: Any, threshold: float, gain: float, sums: Any
) -> None:
    """Sum up the pixels of every bin that are no outliers.

    Parameters
    ----------
    starts, counts, signals, norms
        The pixels in the order of their bins (`xrd.sums.sort_by_bin`); changed on the way.
    threshold
        k of the module.
    gain
        Signal of one photon; 0 where it is not known.
    sums
        (bin, 4): becomes Σ s, Σ n, Σ (s - n I)² and the number of the pixels that are kept.
    """
    scratch = np.empty(max(counts.max(), 1), np.float64)
    for b in range(counts.size):
        begin, kept = starts[b], counts[b]
        s, n = signals[begin : begin + kept], norms[begin : begin + kept]
        mean, variance = _median_start(s, n, scratch)
        if variance == 0.0:  # more than half of the pixels are equal
            mean, variance = _moments(s, n, kept)
        for _ in range(MOST_ROUNDS):
            least = max(variance, gain * max(mean, 0.0))
            near = threshold * math.sqrt(least)
            far = near + 0.25 * threshold * threshold * gain
            left = 0
            for i in range(kept):
                root = math.sqrt(n[i])
                off = s[i] - n[i] * mean
                if -near * root <= off <= near * root + (far - near):
                    s[i], s[left] = s[left], s[i]
                    n[i], n[left] = n[left], n[i]
                    left += 1
            if left == kept or left == 0:
                break
            kept = left
            mean, variance = _moments(s, n, kept)
        _sum_up(s, n, kept, sums[b])


@compiled
def trimmed(starts: Any, counts: Any, signals: Any, norms: Any, part: float, sums: Any) -> None:
    """Sum up the pixels of every bin but the lowest and the highest `part` of them.

    `sums` (bin, 4) become Σ s, Σ n, what divided by (Σ n)² is the variance of the mean, and the number kept.
    """
    for b in range(counts.size):
        begin, all_of_them = starts[b], counts[b]
        s, n = signals[begin : begin + all_of_them], norms[begin : begin + all_of_them]
        order = np.argsort(s / n)
        cut = int(part * all_of_them)
        kept = all_of_them - 2 * cut
        row = sums[b]
        row[:] = 0.0
        for i in range(cut, cut + kept):
            row[0] += s[order[i]]
            row[1] += n[order[i]]
        row[3] = kept
        if kept < 2:
            continue
        mean = row[0] / row[1]
        winsorised = 0.0
        for i in range(all_of_them):
            at = order[min(max(i, cut), cut + kept - 1)]
            off = n[at] * (s[at] / n[at] - mean)
            winsorised += off * off
        row[2] = (
            winsorised / (all_of_them - 1) * kept * kept / all_of_them / (1.0 - 2.0 * cut / all_of_them) ** 2
        )


@compiled
def _median_start(s: Any, n: Any, scratch: Any) -> Any:
    """Return mean and variance as the median has them."""
    if s.size == 0:
        return 0.0, 0.0
    values = scratch[: s.size]
    for i in range(s.size):
        values[i] = s[i] / n[i]
    middle = _middle(values)
    for i in range(s.size):
        values[i] = abs(s[i] - n[i] * middle) / math.sqrt(n[i])
    return middle, (1.4826 * _middle(values)) ** 2


@compiled
def _middle(values: Any) -> float:
    """Return the upper median, putting the values in another order (Hoare's selection)."""
    low, high = 0, values.size - 1
    target = values.size // 2
    while low < high:
        pivot = values[(low + high) // 2]
        i, j = low, high
        while i <= j:
            while values[i] < pivot:
                i += 1
            while values[j] > pivot:
                j -= 1
            if i <= j:
                values[i], values[j] = values[j], values[i]
                i += 1
                j -= 1
        if target <= j:
            high = j
        elif target >= i:
            low = i
        else:
            break
    return float(values[target])


@compiled
def _moments(s: Any, n: Any, kept: int) -> Any:
    """Return Σ s / Σ n of the first pixels, and the variance of (s - n I) / √n."""
    total, weight = 0.0, 0.0
    for i in range(kept):
        total += s[i]
        weight += n[i]
    mean = total / weight if weight > 0.0 else 0.0
    scatter = 0.0
    for i in range(kept):
        off = s[i] - n[i] * mean
        scatter += off * off / n[i]
    return mean, scatter / max(kept - 1, 1)


@compiled
def _sum_up(s: Any, n: Any, kept: int, row: Any) -> None:
    row[:] = 0.0
    for i in range(kept):
        row[0] += s[i]
        row[1] += n[i]
    row[3] = kept
    if row[1] > 0.0:
        mean = row[0] / row[1]
        for i in range(kept):
            row[2] += (s[i] - n[i] * mean) ** 2
