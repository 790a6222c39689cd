r"""Means that outliers do not reach: clipped or trimmed among the pixels of a bin.

**Clipped.** In a bin of mean I the pixel of signal s and normalisation n is off by :math:`(s - n I) / \sqrt
n`, which has one variance v for all pixels of the bin if they are Poisson. Pixels farther off than :math:`k
\sqrt v` are rejected, and I and v computed again from the rest, until none is. It begins with the median
and the median absolute deviation of a sample, so that a sixth of the pixels may be wrong, each by as much.
Where the gain g is known, v is not taken below Poisson's :math:`g I`, and the upper limit is :math:`k^2 g /
4` further off: there :math:`2 (\sqrt{s/g} - \sqrt{nI/g}) = k`, so that few counts, whose distribution is
skewed, are not clipped on one side.

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
from xrd.sums import all_live

MOST_ROUNDS = 20
SAMPLE = 31
"""Pixels of a bin the medians are taken of: enough to begin with."""
ROUGH = 1.5
"""How much wider the limits are as long as the variance is that of medians, which is good to a sixth."""


@compiled
def clipped(
    starts: Any,
    signals: Any,
    norms: Any,
    darks: Any,
    low: Any,
    top: Any,
    threshold: float,
    gain: float,
    sums: Any,
) -> None:
    """Sum up the pixels of every bin that are no outliers.

    Parameters
    ----------
    starts
        Where the pixels of every bin begin, and where those of the last end.
    signals, norms, darks
        Signal, normalisation and dark signal (none: empty) of the pixels in the order of the bins.
    low, top
        Least and largest signal of a pixel that measured.
    threshold
        k of the module.
    gain
        Signal of one photon; 0 where it is not known.
    sums
        (bin, 5): becomes Σ s, Σ n, Σ (s - n I)² and the number of the pixels that are kept, and that of all.
    """
    held, weights, scratch = _buffers(starts)
    extra = 0.25 * threshold * threshold * gain
    for b in range(starts.size - 1):
        block, n = signals[starts[b] : starts[b + 1]], norms[starts[b] : starts[b + 1]]
        live = block.size
        if darks.size == 0 and all_live(block, low, top):
            _copy(block, held)
        else:
            live = _gather(signals, norms, darks, low, top, starts[b], starts[b + 1], held, weights)
            n = weights[:live]
        s = held[:live]
        mean, variance = _median_start(s, n, scratch)
        total, weight, scatter = 0.0, 0.0, 0.0
        for turn in range(MOST_ROUNDS):
            width = threshold * (ROUGH if turn == 0 else 1.0)
            limit = width * width * max(variance, gain * max(mean, 0.0))
            outliers = 0
            if turn > 0 or variance > 0.0:  # with a rough variance of 0 there is nothing to reject by yet
                outliers = _outliers(s, n, mean, limit, extra)
            if 0 < outliers < s.size:
                kept = _leave_out(s, n, mean, limit, extra, held, weights)
                s, n = held[:kept], weights[:kept]
            elif turn > 0:
                break
            total, weight, scatter = _moments(s, n)
            mean = total / weight if weight > 0.0 else 0.0
            # The mean square of (s - n I) / √n, for pixels whose variance is as n.
            variance = scatter / weight * s.size / max(s.size - 1, 1) if weight > 0.0 else 0.0
        row = sums[b]
        row[0], row[1], row[2], row[3], row[4] = total, weight, scatter, s.size, live


@compiled
def trimmed(
    starts: Any, signals: Any, norms: Any, darks: Any, low: Any, top: Any, part: float, sums: Any
) -> None:
    """Sum up the pixels of every bin but the lowest and the highest `part` of them.

    Parameters and `sums` are those of `clipped`, but that the third column divided by (Σ n)² is the
    variance of the mean.
    """
    s, n, ratio = _buffers(starts)
    for b in range(starts.size - 1):
        live = _gather(signals, norms, darks, low, top, starts[b], starts[b + 1], s, n)
        cut = int(part * live)
        kept = live - 2 * cut
        row = sums[b]
        row[:] = 0.0
        row[3], row[4] = kept, live
        if kept == 0:
            continue
        for i in range(live):
            ratio[i] = s[i] / n[i]
        first, last = _nth(ratio[:live].copy(), cut), _nth(ratio[:live].copy(), live - 1 - cut)
        # Of pixels equal to a limit as many are left out as it takes.
        below, above = 0, 0
        for i in range(live):
            below += ratio[i] < first
            above += ratio[i] > last
        for i in range(live):
            if ratio[i] == first and below < cut:
                below += 1
            elif ratio[i] == last and above < cut:
                above += 1
            elif first <= ratio[i] <= last:
                row[0] += s[i]
                row[1] += n[i]
        mean = row[0] / row[1]
        for i in range(live):
            off = n[i] * (min(max(ratio[i], first), last) - mean)
            row[2] += off * off
        row[2] *= kept * kept / (max(live - 1, 1) * live * (1.0 - 2.0 * cut / live) ** 2)


@compiled
def _buffers(starts: Any) -> Any:
    """Return room for the pixels of the largest bin, three times."""
    most = 1
    for b in range(starts.size - 1):
        most = max(most, starts[b + 1] - starts[b])
    return np.empty(most, np.float32), np.empty(most, np.float32), np.empty(most, np.float32)


@compiled
def _copy(block: Any, held: Any) -> None:
    for i in range(block.size):
        held[i] = block[i]


@compiled
def _gather(
    signals: Any, norms: Any, darks: Any, low: Any, top: Any, start: int, stop: int, s: Any, n: Any
) -> int:
    """Copy S - D and n of the pixels of a bin that measured; return how many they are."""
    live = 0
    for i in range(start, stop):
        if low <= signals[i] <= top:
            s[live] = np.float64(signals[i]) - (darks[i] if darks.size else 0.0)
            n[live] = norms[i]
            live += 1
    return live


@compiled
def _outliers(s: Any, n: Any, mean: float, limit: float, extra: float) -> int:
    """Return the number of outliers."""
    outliers = 0
    for i in range(s.size):
        outliers += _is_outlier(np.float64(s[i]), np.float64(n[i]), mean, limit, extra)
    return outliers


@compiled
def _leave_out(s: Any, n: Any, mean: float, limit: float, extra: float, held: Any, weights: Any) -> int:
    """Copy what is no outlier, which may be to where it is; return how many they are."""
    left = 0
    for i in range(s.size):
        signal, norm = s[i], n[i]
        if not _is_outlier(np.float64(signal), np.float64(norm), mean, limit, extra):
            held[left] = signal
            weights[left] = norm
            left += 1
    return left


@compiled
def _is_outlier(signal: float, norm: float, mean: float, limit: float, extra: float) -> bool:
    off = signal - norm * mean
    beyond = min(off, 0.0) + max(off - extra, 0.0)
    return beyond * beyond > limit * norm


@compiled
def _median_start(s: Any, n: Any, scratch: Any) -> Any:
    """Return mean and variance of (s - n I) / √n as medians have them, of a sample of the pixels.

    The variance is 0 where half of the pixels are equal.
    """
    if s.size == 0:
        return 0.0, 0.0
    step = max(-(-s.size // SAMPLE), 1)
    size = 0
    for i in range(0, s.size, step):
        scratch[size] = s[i] / n[i]
        size += 1
    middle = _nth(scratch[:size], size // 2)
    size = 0
    for i in range(0, s.size, step):
        scratch[size] = abs(s[i] - n[i] * middle) / math.sqrt(n[i])
        size += 1
    return middle, (1.4826 * _nth(scratch[:size], size // 2)) ** 2


@compiled
def _nth(values: Any, target: int) -> float:
    """Return the value of a rank, putting the values in another order (C. A. R. Hoare's selection)."""
    low, high = 0, values.size - 1
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
def _moments(s: Any, n: Any) -> Any:
    """Return Σ s, Σ n and Σ (s - n I)²; in four sums each, which do not wait for each other."""
    t0, t1, t2, t3 = 0.0, 0.0, 0.0, 0.0
    w0, w1, w2, w3 = 0.0, 0.0, 0.0, 0.0
    whole = s.size // 4 * 4
    for i in range(0, whole, 4):
        t0, t1, t2, t3 = t0 + s[i], t1 + s[i + 1], t2 + s[i + 2], t3 + s[i + 3]
        w0, w1, w2, w3 = w0 + n[i], w1 + n[i + 1], w2 + n[i + 2], w3 + n[i + 3]
    for i in range(whole, s.size):
        t0, w0 = t0 + s[i], w0 + n[i]
    total, weight = (t0 + t1) + (t2 + t3), (w0 + w1) + (w2 + w3)
    mean = total / weight if weight > 0.0 else 0.0
    t0, t1, t2, t3 = 0.0, 0.0, 0.0, 0.0
    for i in range(0, whole, 4):
        t0 += (s[i] - n[i] * mean) ** 2
        t1 += (s[i + 1] - n[i + 1] * mean) ** 2
        t2 += (s[i + 2] - n[i + 2] * mean) ** 2
        t3 += (s[i + 3] - n[i + 3] * mean) ** 2
    for i in range(whole, s.size):
        t0 += (s[i] - n[i] * mean) ** 2
    return total, weight, (t0 + t1) + (t2 + t3)
