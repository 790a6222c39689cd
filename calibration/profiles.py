r"""Peaks of a powder pattern: pseudo-Voigt with axial divergence, with derivatives, in one compiled pass.

The profile of a reflection (P. Thompson, D. E. Cox, J. B. Hastings, J. Appl. Cryst. 20 (1987) 79) is

.. math:: P(u) = η L(u; Γ) + (1 - η) G(u; Γ), \qquad Γ_G = \sqrt{8 \ln 2\, σ^2}, \quad x = γ / Γ

.. math:: Γ^5 = Γ_G^5 + 2.69269 Γ_G^4 γ + 2.42843 Γ_G^3 γ^2 + 4.47163 Γ_G^2 γ^3 + 0.07842 Γ_G γ^4 + γ^5

.. math:: η = 1.36603 x - 0.47719 x^2 + 0.11116 x^3

of unit area in u, centideg from the peak, spread over the nodes of `calibration.axial`, between the ends of
`calibration.extents`.

Where u is large against the spread of the nodes, two nodes with the same moments stand for all.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from calibration import axial as divergence
from calibration.axial import COLUMNS, SMALLEST, SMALLEST_EXACT, fewer_nodes, nodes_exact, nodes_gsas2
from calibration.coarse_grid import BLOCK, NODES, Tails, tails
from calibration.compiled import compiled
from calibration.extents import FREE, extents

Floats = np.ndarray[Any, np.dtype[np.float64]]

STOFW = 2.35482005
"""FWHM of a Gaussian over its standard deviation, with the digits GSAS-II has."""

EXACT = -1
"""Instead of a rule of GSAS-II: axial divergence is integrated to convergence."""

_NEAR = 40.0
"""Up to this many spreads from the peak all nodes count, beyond it two."""

_GAUSSIAN = 3.2
"""Distance, in FWHM, at which the Gaussian part is 5e-13 of its height and is left out."""


def accumulate(
    two_theta: Floats,
    position: Floats,
    variance: Floats,
    gamma: Floats,
    area: Floats,
    axial: float,
    rules: Any,
    slopes: Floats,
    pattern: Floats,
    jacobian: Floats,
    rows: Any = None,
    coarse: Tails | None = None,
    ends: Floats = FREE,
) -> None:
    """Add reflections to a pattern, and their derivatives to its Jacobian.

    Parameters
    ----------
    two_theta
        Points of the pattern (n), deg, rising.
    position, variance, gamma, area
        Of each reflection (m): 2θ in deg, Gaussian variance in centideg², Lorentzian FWHM in centideg, and
        integrated intensity in intensity times centideg.
    axial
        SH/L; it counts as 0.002 where it is less, and has no derivative then. With exact rules it may be 0.
    rules
        How the axial divergence of each reflection (m) is integrated: what `calibration.axial.gsas2_rules`
        gave, or `EXACT` in all.
    slopes
        (variable, m, 5): derivatives of position, variance, gamma, area and SH/L of each reflection with
        respect to each variable. No variable: the pattern alone is calculated.
    pattern
        (n), added to.
    jacobian
        (row, n), added to.
    rows
        Row of the Jacobian of each variable; one after the other where not given.
    coarse
        What `tails` gives for the axis; made anew where not given.
    ends
        Where reflections end (m, 2), deg, if not where `calibration.extents` has it for their widths.
    """
    coarse = tails(two_theta) if coarse is None else coarse
    rows = np.arange(len(slopes)) if rows is None else np.asarray(rows, dtype=np.int64)
    _accumulate(
        *(two_theta, position, variance, gamma, area, float(axial), rules, slopes, pattern, jacobian),
        *(rows, coarse.x, coarse.weights, ends, *divergence.rules()),
    )


def partition(
    two_theta: Floats,
    position: Floats,
    variance: Floats,
    gamma: Floats,
    axial: float,
    rules: Any,
    ratio: Floats,
) -> Floats:
    """Return the mean of `ratio` (n) over the profile of each reflection (m).

    Parameters are those of `accumulate`. With the ratio of observed to calculated intensity it is the factor
    by which Le Bail's method changes an intensity.
    """
    sums = np.zeros((len(position), 2))
    grid = np.gradient(two_theta)
    _partition(
        *(two_theta, position, variance, gamma, float(axial), rules, ratio, grid, sums),
        *divergence.rules(),
    )
    return np.divide(sums[:, 1], sums[:, 0], out=np.ones(len(position)), where=sums[:, 0] > 0)


@compiled
def _accumulate(
    two_theta: Floats,
    position: Floats,
    variance: Floats,
    gamma: Floats,
    area: Floats,
    axial: float,
    rules: Any,
    slopes: Floats,
    pattern: Floats,
    jacobian: Floats,
    rows: Any,
    coarse: Floats,
    weights: Floats,
    ends: Floats,
    sizes: Floats,
    rule_x: Floats,
    rule_w: Floats,
) -> None:
    points, blocks, count = two_theta.size, weights.shape[0], slopes.shape[0]
    smallest = SMALLEST_EXACT if rules.size > 0 and rules[0] == EXACT else SMALLEST
    shl = max(axial, smallest)
    if ends.shape[0] == 0:
        ends = extents(position, variance, gamma, shl)
    nodes = np.empty((int(sizes[-1]), COLUMNS))
    pair = np.empty((2, COLUMNS))
    # Of one reflection at its points: P and its derivatives by position, variance, gamma, SH/L.
    parts = np.empty((5, points))
    coarse_parts = np.empty((5, coarse.size))
    factors = np.zeros((count + 1, 5))
    far = np.zeros((count + 1, coarse.size))
    pieces = [(0, 0), (0, 0), (0, 0)]
    wanted = False
    for v in range(count):
        for r in range(position.size):
            wanted = wanted or (axial > SMALLEST and slopes[v, r, 4] != 0.0)
    for r in range(position.size):
        start, near, after, stop, few, many, spread = _layout(
            *(
                two_theta,
                position[r],
                variance[r],
                gamma[r],
                ends[r],
                shl,
                rules[r],
                nodes,
                pair,
                sizes,
                rule_x,
                rule_w,
            )
        )
        if stop <= start:
            continue
        peak = position[r] + nodes[many // 2, 0]
        factors[0, 0] = area[r]
        for v in range(count):
            factors[v + 1, 0] = slopes[v, r, 3]
            for j in range(3):
                factors[v + 1, j + 1] = area[r] * slopes[v, r, j]
            factors[v + 1, 4] = area[r] * slopes[v, r, 4] if axial > smallest else 0.0
        first, last = -(-start // BLOCK), min(stop // BLOCK, blocks)
        if last <= first:
            first = last = second = third = 0
            pieces[0], pieces[1], pieces[2] = (start, stop), (0, 0), (0, 0)
        else:
            second = min(max(near // BLOCK, first), last)
            third = min(max(-(-after // BLOCK), second), last)
            pieces[0] = (start, first * BLOCK)
            pieces[1] = (second * BLOCK, third * BLOCK)
            pieces[2] = (last * BLOCK, stop)
        for begin, end in pieces:
            if begin < end:
                one = min(max(_first(two_theta, peak - _NEAR * spread), begin), end)
                two = min(max(_first(two_theta, peak + _NEAR * spread), begin), end)
                _profile(two_theta, begin, one, position[r], variance[r], gamma[r], pair, few, parts, wanted)
                _profile(two_theta, one, two, position[r], variance[r], gamma[r], nodes, many, parts, wanted)
                _profile(two_theta, two, end, position[r], variance[r], gamma[r], pair, few, parts, wanted)
                _combine(pattern, factors[0], parts, begin, end)
                for v in range(count):
                    _combine(jacobian[rows[v]], factors[v + 1], parts, begin, end)
        for begin, end in ((first * NODES, second * NODES), (third * NODES, last * NODES)):
            if begin < end:
                _profile(
                    coarse, begin, end, position[r], variance[r], gamma[r], pair, few, coarse_parts, wanted
                )
                for v in range(count + 1):
                    _combine(far[v], factors[v], coarse_parts, begin, end)
    for v in range(count + 1):
        target = pattern if v == 0 else jacobian[rows[v - 1]]
        for block in range(blocks):
            for i in range(BLOCK):
                total = 0.0
                for k in range(NODES):
                    total += weights[block, i, k] * far[v, block * NODES + k]
                target[block * BLOCK + i] += total


@compiled
def _partition(
    two_theta: Floats,
    position: Floats,
    variance: Floats,
    gamma: Floats,
    axial: float,
    rules: Any,
    ratio: Floats,
    grid: Floats,
    sums: Floats,
    sizes: Floats,
    rule_x: Floats,
    rule_w: Floats,
) -> None:
    nodes = np.empty((int(sizes[-1]), COLUMNS))
    pair = np.empty((2, COLUMNS))
    parts = np.empty((5, two_theta.size))
    smallest = SMALLEST_EXACT if rules.size > 0 and rules[0] == EXACT else SMALLEST
    shl = max(axial, smallest)
    ends = extents(position, variance, gamma, shl)
    for r in range(position.size):
        start, near, after, stop, few, many, _ = _layout(
            *(
                two_theta,
                position[r],
                variance[r],
                gamma[r],
                ends[r],
                shl,
                rules[r],
                nodes,
                pair,
                sizes,
                rule_x,
                rule_w,
            )
        )
        if start < stop:
            _profile(two_theta, start, stop, position[r], variance[r], gamma[r], pair, few, parts, False)
            _profile(two_theta, near, after, position[r], variance[r], gamma[r], nodes, many, parts, False)
        for i in range(start, stop):
            sums[r, 0] += parts[0, i] * grid[i]
            sums[r, 1] += parts[0, i] * grid[i] * ratio[i]


@compiled
def _layout(
    two_theta: Floats,
    centre: float,
    variance: float,
    gamma: float,
    ends: Floats,
    shl: float,
    rule: int,
    nodes: Floats,
    pair: Floats,
    sizes: Floats,
    rule_x: Floats,
    rule_w: Floats,
) -> tuple[int, int, int, int, int, int, float]:
    """Return the points of one reflection, and write its nodes of axial divergence.

    Returns
    -------
    The first point it reaches; the first and the one after the last that are near, and count one by one; the
    one after the last it reaches; the number of nodes in `pair` and in `nodes`; the spread of the nodes.
    """
    start = _first(two_theta, ends[0])
    stop = _first(two_theta, ends[1])
    if stop <= start:
        return start, start, start, start, 0, 0, 0.0
    fwhm = _shape(variance, gamma)[0]
    if rule == EXACT:
        many = nodes_exact(centre, shl, fwhm, sizes, rule_x, rule_w, nodes)
    else:
        many = nodes_gsas2(centre, shl, rule, sizes, rule_x, rule_w, nodes)
    few = fewer_nodes(nodes, many, pair)
    spread = abs(nodes[0, 0] - nodes[many - 1, 0]) if many > 2 else 0.0
    block = BLOCK * (two_theta[-1] - two_theta[0]) / max(two_theta.size - 1, 1)
    reach = max(max(_NEAR * spread, 3.0 * block), _GAUSSIAN * fwhm / 100.0)
    middle = centre + nodes[many // 2, 0]
    near = min(max(_first(two_theta, middle - reach), start), stop)
    after = min(max(_first(two_theta, middle + reach), start), stop)
    return start, near, after, stop, few, many, spread


@compiled
def _first(rising: Floats, value: float) -> int:
    """Return the first point that is not below a value."""
    low, high = 0, rising.size
    while low < high:
        middle = (low + high) // 2
        if rising[middle] < value:
            low = middle + 1
        else:
            high = middle
    return low


@compiled
def _combine(target: Floats, factor: Floats, parts: Floats, start: int, stop: int) -> None:
    """Add P and its derivatives, each times its factor, to a row between two points."""
    row, value, by_x = target[start:stop], parts[0, start:stop], parts[1, start:stop]
    by_v, by_g, by_s = parts[2, start:stop], parts[3, start:stop], parts[4, start:stop]
    if factor[1] == 0.0 and factor[2] == 0.0 and factor[4] == 0.0:
        if factor[3] == 0.0:
            for i in range(row.size):
                row[i] += factor[0] * value[i]
        else:
            for i in range(row.size):
                row[i] += factor[0] * value[i] + factor[3] * by_g[i]
        return
    for i in range(row.size):
        row[i] += factor[0] * value[i] + factor[1] * by_x[i] + factor[2] * by_v[i] + factor[3] * by_g[i]
    if factor[4] != 0.0:
        for i in range(row.size):
            row[i] += factor[4] * by_s[i]


@compiled
def _profile(
    two_theta: Floats,
    start: int,
    stop: int,
    centre: float,
    variance: float,
    gamma: float,
    nodes: Floats,
    count: int,
    parts: Floats,
    axial: bool,
) -> None:
    """Write the profile of one reflection at points `start` to `stop`, and its derivatives, into `parts`.

    That by SH/L is 0 unless it is asked for by `axial`.
    """
    if stop <= start:
        return
    fwhm, eta, fwhm_v, eta_v, fwhm_g, eta_g = _shape(variance, gamma)
    sigma2 = (fwhm / STOFW) ** 2
    lorentz = 2.0 / (math.pi * fwhm)
    gauss = STOFW / (math.sqrt(2.0 * math.pi) * fwhm)
    narrow, steep, wide_v, wide_g = (
        4.0 / fwhm**2,
        -8.0 * eta / fwhm**2,
        eta * fwhm_v / fwhm,
        eta * fwhm_g / fwhm,
    )
    x = two_theta[start:stop]
    value, by_x, by_s = parts[0, start:stop], parts[1, start:stop], parts[4, start:stop]
    by_v, by_g = parts[2, start:stop], parts[3, start:stop]
    for i in range(x.size):
        value[i], by_x[i], by_v[i], by_g[i], by_s[i] = 0.0, 0.0, 0.0, 0.0, 0.0
    for k in range(count):
        at, weight = centre + nodes[k, 0], nodes[k, 1]
        # d/d2θ and d/d(SH/L) of P(100 (x - at)) at the node, and of its weight
        moved, heavier = -100.0 * weight * (1.0 + nodes[k, 2]), nodes[k, 3]
        moved_s, heavier_s = -100.0 * weight * nodes[k, 4], nodes[k, 5]
        for i in range(x.size):
            u = 100.0 * (x[i] - at)
            q = 1.0 / (1.0 + narrow * u * u)
            shape = lorentz * q
            slope = steep * u * q * shape
            wide = 1.0 - 2.0 * q
            value[i] += weight * eta * shape
            by_x[i] += moved * slope + heavier * eta * shape
            by_v[i] += weight * shape * (wide_v * wide + eta_v)
            by_g[i] += weight * shape * (wide_g * wide + eta_g)
        if axial:
            for i in range(x.size):
                u = 100.0 * (x[i] - at)
                q = 1.0 / (1.0 + narrow * u * u)
                by_s[i] += lorentz * q * (moved_s * steep * u * q + heavier_s * eta)
        reach = _GAUSSIAN * fwhm / 100.0
        first, last = _first(x, at - reach), _first(x, at + reach)
        for i in range(first, last):
            u = 100.0 * (x[i] - at)
            v = u * u / sigma2
            shape = gauss * math.exp(-0.5 * v)
            profile = (1.0 - eta) * shape
            slope = -u / sigma2 * profile
            wide = profile * (v - 1.0) / fwhm
            value[i] += weight * profile
            by_x[i] += moved * slope + heavier * profile
            by_v[i] += weight * (fwhm_v * wide - eta_v * shape)
            by_g[i] += weight * (fwhm_g * wide - eta_g * shape)
            if axial:
                by_s[i] += moved_s * slope + heavier_s * profile


@compiled
def _shape(variance: float, gamma: float) -> tuple[float, float, float, float, float, float]:
    """Return FWHM and η of the pseudo-Voigt, then both differentiated by variance and by gamma."""
    sigma = math.sqrt(variance)
    g = STOFW * sigma
    total = (
        g**5
        + 2.69269 * g**4 * gamma
        + 2.42843 * g**3 * gamma**2
        + 4.47163 * g**2 * gamma**3
        + 0.07842 * g * gamma**4
        + gamma**5
    )
    by_g = (
        5 * g**4
        + 4 * 2.69269 * g**3 * gamma
        + 3 * 2.42843 * g**2 * gamma**2
        + 2 * 4.47163 * g * gamma**3
        + 0.07842 * gamma**4
    )
    by_gamma = (
        2.69269 * g**4
        + 2 * 2.42843 * g**3 * gamma
        + 3 * 4.47163 * g**2 * gamma**2
        + 4 * 0.07842 * g * gamma**3
        + 5 * gamma**4
    )
    fwhm = total**0.2
    part = 0.2 * fwhm / total
    fwhm_v = part * by_g * 0.5 * STOFW / sigma
    fwhm_g = part * by_gamma
    ratio = gamma / fwhm
    eta = ratio * (1.36603 + ratio * (-0.47719 + ratio * 0.11116))
    slope = 1.36603 + ratio * (-2 * 0.47719 + ratio * 3 * 0.11116)
    eta_v = -slope * ratio / fwhm * fwhm_v
    eta_g = slope * (1.0 - ratio * fwhm_g) / fwhm
    return fwhm, eta, fwhm_v, eta_v, fwhm_g, eta_g
