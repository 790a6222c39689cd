r"""Peaks of a powder pattern: pseudo-Voigt with axial divergence, with derivatives, in one compiled pass.

The profile of a reflection (P. Thompson, D. E. Cox, J. B. Hastings, J. Appl. Cryst. 20 (1987) 79) is

.. math:: P(u) = η L(u; Γ) + (1 - η) G(u; Γ), \qquad Γ_G = \sqrt{8 \ln 2\, σ^2}, \quad x = γ / Γ

.. math:: Γ^5 = Γ_G^5 + 2.69269 Γ_G^4 γ + 2.42843 Γ_G^3 γ^2 + 4.47163 Γ_G^2 γ^3 + 0.07842 Γ_G γ^4 + γ^5

.. math:: η = 1.36603 x - 0.47719 x^2 + 0.11116 x^3

of unit area in u, centideg from the peak, spread over the nodes of `calibration.axial`. As in GSAS-II a
reflection reaches from 50 (w + SH/L |cos 2θ|) below its position to 75 w above, with w = 2.355 σ + γ in deg (the
other way round above 90 deg). Its tails belong to the model: cutting them elsewhere changes Rwp.

Where u is large against the spread of the nodes, two nodes with the same moments stand for all.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from calibration import axial as divergence
from calibration.axial import COLUMNS, SMALLEST, fewer_nodes, nodes_exact, nodes_gsas2
from calibration.compiled import compiled

Floats = np.ndarray[Any, np.dtype[np.float64]]

STOFW = 2.35482005
"""FWHM of a Gaussian over its standard deviation, with the digits GSAS-II has."""

BELOW, ABOVE = 50.0, 75.0
"""How far a reflection reaches, in widths."""

_NEAR = 15.0
"""Up to this many spreads from the peak all nodes count, beyond it two."""

_GAUSSIAN = 2.7
"""Half widths at which the Gaussian part is 2e-9 of its height and is left out, in FWHM."""


def accumulate(
    two_theta: Floats,
    position: Floats,
    variance: Floats,
    gamma: Floats,
    area: Floats,
    axial: float,
    exact: bool,
    slopes: Floats,
    pattern: Floats,
    jacobian: Floats,
    rows: Any = None,
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
        SH/L; it counts as 0.002 where it is less, and has no derivative then.
    exact
        Whether the axial divergence is integrated to convergence, or as GSAS-II does.
    slopes
        (variable, m, 5): derivatives of position, variance, gamma, area and SH/L of each reflection with
        respect to each variable. No variable: the pattern alone is calculated.
    pattern
        (n), added to.
    jacobian
        (row, n), added to.
    rows
        Row of the Jacobian of each variable; one after the other where not given.
    """
    sizes, nodes, weights = divergence.rules()
    rows = np.arange(len(slopes)) if rows is None else np.asarray(rows, dtype=np.int64)
    _accumulate(
        *(two_theta, position, variance, gamma, area, float(axial), bool(exact), slopes, pattern, jacobian),
        *(rows, sizes, nodes, weights),
    )


def partition(
    two_theta: Floats,
    position: Floats,
    variance: Floats,
    gamma: Floats,
    axial: float,
    exact: bool,
    ratio: Floats,
) -> Floats:
    """Return the mean of `ratio` (n) over the profile of each reflection (m).

    Parameters are those of `accumulate`. With the ratio of observed to calculated intensity it is the factor
    by which Le Bail's method changes an intensity.
    """
    sums = np.zeros((len(position), 2))
    grid = np.gradient(two_theta)
    sizes, nodes, weights = divergence.rules()
    parts = np.zeros((5, two_theta.size))
    _partition(
        *(two_theta, position, variance, gamma, float(axial), bool(exact), ratio, grid, parts, sums),
        *(sizes, nodes, weights),
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
    exact: bool,
    slopes: Floats,
    pattern: Floats,
    jacobian: Floats,
    rows: Any,
    sizes: Floats,
    rule_x: Floats,
    rule_w: Floats,
) -> None:
    points = two_theta.size
    variables = slopes.shape[0]
    shl = max(axial, SMALLEST)
    # Of one reflection at its points: P and its derivatives by position, variance, gamma, SH/L.
    parts = np.empty((5, points))
    nodes = np.empty((int(sizes[-1]), COLUMNS))
    pair = np.empty((2, COLUMNS))
    for r in range(position.size):
        start, stop = _one(
            *(two_theta, position[r], variance[r], gamma[r], shl, exact, nodes, pair, parts),
            *(sizes, rule_x, rule_w),
        )
        if stop <= start:
            continue
        value, by_x = parts[0, start:stop], parts[1, start:stop]
        by_v, by_g = parts[2, start:stop], parts[3, start:stop]
        _add(pattern, area[r], parts[0], start, stop)
        for v in range(variables):
            by_area = slopes[v, r, 3]
            by_position = area[r] * slopes[v, r, 0]
            by_variance = area[r] * slopes[v, r, 1]
            by_gamma = area[r] * slopes[v, r, 2]
            by_axial = area[r] * slopes[v, r, 4] if axial > SMALLEST else 0.0
            if by_position != 0.0 and by_variance != 0.0:
                row = jacobian[rows[v], start:stop]
                for i in range(row.size):
                    row[i] += (
                        by_area * value[i]
                        + by_position * by_x[i]
                        + by_variance * by_v[i]
                        + by_gamma * by_g[i]
                    )
            else:
                if by_area != 0.0:
                    _add(jacobian[rows[v]], by_area, parts[0], start, stop)
                if by_position != 0.0:
                    _add(jacobian[rows[v]], by_position, parts[1], start, stop)
                if by_variance != 0.0:
                    _add(jacobian[rows[v]], by_variance, parts[2], start, stop)
                if by_gamma != 0.0:
                    _add(jacobian[rows[v]], by_gamma, parts[3], start, stop)
            if by_axial != 0.0:
                _add(jacobian[rows[v]], by_axial, parts[4], start, stop)


@compiled
def _partition(
    two_theta: Floats,
    position: Floats,
    variance: Floats,
    gamma: Floats,
    axial: float,
    exact: bool,
    ratio: Floats,
    grid: Floats,
    parts: Floats,
    sums: Floats,
    sizes: Floats,
    rule_x: Floats,
    rule_w: Floats,
) -> None:
    nodes = np.empty((int(sizes[-1]), COLUMNS))
    pair = np.empty((2, COLUMNS))
    for r in range(position.size):
        start, stop = _one(
            *(two_theta, position[r], variance[r], gamma[r], max(axial, SMALLEST), exact, nodes, pair),
            *(parts, sizes, rule_x, rule_w),
        )
        for i in range(start, stop):
            sums[r, 0] += parts[0, i] * grid[i]
            sums[r, 1] += parts[0, i] * grid[i] * ratio[i]


@compiled
def _one(
    two_theta: Floats,
    centre: float,
    variance: float,
    gamma: float,
    shl: float,
    exact: bool,
    nodes: Floats,
    pair: Floats,
    parts: Floats,
    sizes: Floats,
    rule_x: Floats,
    rule_w: Floats,
) -> tuple[int, int]:
    """Write P of one reflection and its derivatives into `parts`; return first and last point it reaches."""
    width = (2.355 * math.sqrt(variance) + gamma) / 100.0
    below = BELOW * (width + shl * abs(math.cos(centre * math.pi / 180.0)))
    above = ABOVE * width
    if centre > 90.0:
        below, above = above, below
    start = np.searchsorted(two_theta, centre - below)
    stop = np.searchsorted(two_theta, centre + above)
    if stop <= start:
        return start, start
    if exact:
        count = nodes_exact(centre, shl, _shape(variance, gamma)[0], sizes, rule_x, rule_w, nodes)
    else:
        count = nodes_gsas2(centre, shl, gamma, sizes, rule_x, rule_w, nodes)
    few = fewer_nodes(nodes, count, pair)
    spread = abs(nodes[0, 0] - nodes[count - 1, 0]) if count > 2 else 0.0
    middle = centre + nodes[count // 2, 0]
    first = min(max(np.searchsorted(two_theta, middle - _NEAR * spread), start), stop)
    last = min(max(np.searchsorted(two_theta, middle + _NEAR * spread), start), stop)
    parts[:, start:stop] = 0.0
    _profile(two_theta, start, first, centre, variance, gamma, pair, few, parts)
    _profile(two_theta, first, last, centre, variance, gamma, nodes, count, parts)
    _profile(two_theta, last, stop, centre, variance, gamma, pair, few, parts)
    return start, stop


@compiled
def _add(total: Floats, factor: float, part: Floats, start: int, stop: int) -> None:
    target, source = total[start:stop], part[start:stop]
    for i in range(target.size):
        target[i] += factor * source[i]


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
) -> None:
    """Add the profile of one reflection at points `start` to `stop`, and its derivatives, to `parts`."""
    if stop <= start:
        return
    fwhm, eta, fwhm_v, eta_v, fwhm_g, eta_g = _shape(variance, gamma)
    sigma2 = (fwhm / STOFW) ** 2
    lorentz = 2.0 / (math.pi * fwhm)
    gauss = STOFW / (math.sqrt(2.0 * math.pi) * fwhm)
    x = two_theta[start:stop]
    value, by_x, by_s = parts[0, start:stop], parts[1, start:stop], parts[4, start:stop]
    by_v, by_g = parts[2, start:stop], parts[3, start:stop]
    for k in range(count):
        at, weight = centre + nodes[k, 0], nodes[k, 1]
        # d/d2θ and d/d(SH/L) of P(100 (x - at)) at the node, and of its weight
        moved, heavier = -100.0 * weight * (1.0 + nodes[k, 2]), nodes[k, 3]
        moved_s, heavier_s = -100.0 * weight * nodes[k, 4], nodes[k, 5]
        for i in range(x.size):
            u = 100.0 * (x[i] - at)
            q = 1.0 / (1.0 + 4.0 * u * u / (fwhm * fwhm))
            shape = lorentz * q
            profile = eta * shape
            slope = -8.0 * u / (fwhm * fwhm) * q * profile
            value[i] += weight * profile
            by_x[i] += moved * slope + heavier * profile
            wide = eta * shape * (1.0 - 2.0 * q) / fwhm
            by_v[i] += weight * (fwhm_v * wide + eta_v * shape)
            by_g[i] += weight * (fwhm_g * wide + eta_g * shape)
            by_s[i] += moved_s * slope + heavier_s * profile
        reach = _GAUSSIAN * fwhm / 100.0
        first, last = np.searchsorted(x, at - reach), np.searchsorted(x, at + reach)
        for i in range(first, last):
            u = 100.0 * (x[i] - at)
            v = u * u / sigma2
            shape = gauss * math.exp(-0.5 * v)
            profile = (1.0 - eta) * shape
            slope = -u / sigma2 * profile
            value[i] += weight * profile
            by_x[i] += moved * slope + heavier * profile
            wide = profile * (v - 1.0) / fwhm
            by_v[i] += weight * (fwhm_v * wide - eta_v * shape)
            by_g[i] += weight * (fwhm_g * wide - eta_g * shape)
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
