r"""Axial divergence: where on the detector a cone at 2θ is seen, and with what weight.

A cone of half angle 2θ meets a detector slit of half height H, from a sample of half height S at the distance
L, at angles 2φ from :math:`2φ_{min}` to 2θ. With S = H and s = (S + H)/L

.. math:: \cos 2φ_{min} = \sqrt{1 + s^2} \cos 2θ, \qquad
          h(φ) = \sqrt{\cos^2 2φ / \cos^2 2θ - 1}, \qquad
          D(φ) \propto \frac{s - h}{h \cos 2φ}

(L. W. Finger, D. E. Cox, A. P. Jephcoat, J. Appl. Cryst. 27 (1994) 892, equations 4-7). A peak is the profile
at the nodes of a quadrature over 2φ, with weights that sum to 1. Two quadratures are offered:

* exact: Gauss-Legendre over h from 0 to s. D dφ becomes :math:`(s - h) / ((1 + h^2) \sin 2φ)\, dh`, which is
  smooth, so that few nodes are enough.
* as GSAS-II: the upper half of a Gauss-Legendre rule over 2φ, of the next tabulated size above
  ``int(300 d / γ)`` with d = 2θ - 2φ_min in deg and γ in centideg. D is not smooth in φ, and for most peaks
  the rule has one node: the peak is then merely shifted by :math:`-d (1 - 1/\sqrt 3)`, where the exact mean
  is near :math:`-d/6`. GSAS-II holds 1 + s² in single precision, which for s = 0.002 makes d 1.3 % too large;
  so do we, because positions and SH/L found with the one are used with the other. The rest of its rounding
  moves peaks near the beam at random by some 1e-5 deg and is left out.

Derivatives are those of nodes and weights, the number of nodes being fixed.
"""

from __future__ import annotations

import functools
import math
from typing import Any

import numpy as np

from calibration.compiled import compiled

Floats = np.ndarray[Any, np.dtype[np.float64]]

SIZES = (*range(2, 31, 2), *range(40, 121, 10), *range(140, 301, 20), 400)
"""Sizes of the rules GSAS-II chooses from; it uses the upper half of their nodes."""

SMALLEST = 0.002
"""SH/L below this counts as this, as in GSAS-II."""

COLUMNS = 6
"""Columns of a node: offset (deg), weight, then both differentiated by 2θ (per deg) and by SH/L."""

_EXACT = 8
"""Fewest nodes of the exact quadrature; there are ten more per width of the peak that it spans."""


@functools.cache
def rules() -> tuple[Floats, Floats, Floats]:
    """Return sizes, nodes and weights of the upper halves of Gauss-Legendre rules, one after the other.

    The nodes are Newton's, from the start of Abramowitz and Stegun (25.4.30).
    """
    nodes, weights = [], []
    for size in SIZES:
        x = np.cos(math.pi * (np.arange(1, size // 2 + 1) - 0.25) / (size + 0.5))
        for _ in range(10):
            below, value = np.ones_like(x), x.copy()
            for degree in range(2, size + 1):
                below, value = value, ((2 * degree - 1) * x * value - (degree - 1) * below) / degree
            slope = size * (x * value - below) / (x**2 - 1)
            x = x - value / slope
        nodes.append(x)
        weights.append(2 / ((1 - x**2) * slope**2))
    return np.array(SIZES, dtype=float), np.concatenate(nodes), np.concatenate(weights)


def gsas2_rules(two_theta: Floats, axial: float, gamma: Floats) -> Any:
    """Return which of the rules GSAS-II takes for peaks at 2θ (deg) of Lorentzian width gamma (centideg)."""
    angle = np.radians(two_theta)
    edge = np.sqrt(1 + max(axial, SMALLEST) ** 2) * np.cos(angle)
    low = np.where(np.abs(edge) < 1, np.arccos(np.clip(edge, -1, 1)), np.where(edge > 0, 0.0, np.pi))
    wanted = np.trunc(300 * np.degrees(np.abs(angle - low)) / gamma)
    return np.minimum(np.searchsorted(SIZES, wanted), len(SIZES) - 1)


@compiled
def nodes_gsas2(
    two_theta: float, axial: float, table: int, sizes: Floats, x: Floats, w: Floats, out: Floats
) -> int:
    """Write the nodes of one peak by a rule of GSAS-II into `out` (node, `COLUMNS`); return their number."""
    degree = 180.0 / math.pi
    t = two_theta / degree
    # 1 + s² in single precision, as there.
    root = np.float64(np.float32(math.sqrt(np.float32(1.0 + axial * axial))))
    cosine = math.cos(t)
    span, span_t, span_s = t, 1.0, 0.0
    if root * abs(cosine) < 1.0:
        low = math.acos(root * cosine)
        span_t = 1.0 - root * math.sin(t) / math.sin(low)
        span_s = cosine * axial / (root * math.sin(low))
        span = t - low
    elif cosine < 0:
        span = t - math.pi
    first = 0
    for smaller in range(table):
        first += int(sizes[smaller]) // 2
    count = int(sizes[table]) // 2
    if count == 1:
        part = 1.0 - x[0]
        out[0, 0], out[0, 1] = -span * part * degree, 1.0
        out[0, 2], out[0, 3] = -span_t * part, 0.0
        out[0, 4], out[0, 5] = -span_s * part * degree, 0.0
        return 1
    for k in range(count):
        part = 1.0 - x[first + k]
        phi = t - span * part
        phi_t, phi_s = 1.0 - span_t * part, -span_s * part
        ratio = math.cos(phi) / cosine
        h = math.sqrt(max(ratio * ratio - 1.0, 1e-16))
        h_t = (h * h + 1.0) / h * (math.tan(t) - math.tan(phi) * phi_t)
        h_s = -(h * h + 1.0) / h * math.tan(phi) * phi_s
        scale = w[first + k] / math.cos(phi)
        weight = scale * (axial / h - 1.0)
        out[k, 0], out[k, 1] = -span * part * degree, weight
        out[k, 2], out[k, 4] = phi_t - 1.0, phi_s * degree
        out[k, 3] = (-scale * axial / (h * h) * h_t + weight * math.tan(phi) * phi_t) / degree
        out[k, 5] = scale * (1.0 / h - axial / (h * h) * h_s) + weight * math.tan(phi) * phi_s
    _normalize(out, count)
    return count


@compiled
def nodes_exact(
    two_theta: float, axial: float, fwhm: float, sizes: Floats, x: Floats, w: Floats, out: Floats
) -> int:
    """Write the nodes of one peak, exact for its width (centideg), into `out`; return their number."""
    degree = 180.0 / math.pi
    t = two_theta / degree
    cosine = math.cos(t)
    if abs(cosine) < 1e-6:
        for j in range(COLUMNS):
            out[0, j] = 1.0 if j == 1 else 0.0
        return 1
    reach = min(axial, 0.999 * abs(math.tan(t)))
    reach_s = 1.0 if reach == axial else 0.0
    span = abs(t - math.acos(cosine * math.sqrt(1.0 + reach * reach))) * degree
    wanted = _EXACT + int(1000.0 * span / fwhm)
    table, first = 0, 0
    while table < sizes.size - 1 and wanted > sizes[table]:
        first += int(sizes[table]) // 2
        table += 1
    half = int(sizes[table]) // 2
    for k in range(2 * half):
        node = x[first + k % half] if k < half else -x[first + k % half]
        part = 0.5 * (1.0 + node)
        h = reach * part
        h_s = reach_s * part
        root = math.sqrt(1.0 + h * h)
        phi = math.acos(cosine * root)
        sine = math.sin(phi)
        phi_t = root * math.sin(t) / sine
        phi_s = -cosine * h / root / sine * h_s
        scale = w[first + k % half] / (root * root * sine)
        weight = scale * (axial - h)
        out[k, 0], out[k, 1] = (phi - t) * degree, weight
        out[k, 2], out[k, 4] = phi_t - 1.0, phi_s * degree
        out[k, 3] = -weight * phi_t / math.tan(phi) / degree
        out[k, 5] = scale * (1.0 - h_s) - weight * (2.0 * h * h_s / (root * root) + phi_s / math.tan(phi))
    _normalize(out, 2 * half)
    return 2 * half


@compiled
def _normalize(nodes: Floats, count: int) -> None:
    """Scale weights so that they sum to 1, and their derivatives with them."""
    total, total_t, total_s = 0.0, 0.0, 0.0
    for k in range(count):
        total += nodes[k, 1]
        total_t += nodes[k, 3]
        total_s += nodes[k, 5]
    for k in range(count):
        nodes[k, 1] /= total
        nodes[k, 3] = (nodes[k, 3] - nodes[k, 1] * total_t) / total
        nodes[k, 5] = (nodes[k, 5] - nodes[k, 1] * total_s) / total


@compiled
def fewer_nodes(nodes: Floats, count: int, out: Floats) -> int:
    """Write the two nodes that have the first four moments of many into `out`; return their number.

    Far from the peak, compared with the spread of the nodes, they give the same pattern.
    """
    if count <= 2:
        for k in range(count):
            for j in range(COLUMNS):
                out[k, j] = nodes[k, j]
        return count
    for d in range(3):  # the value, then the derivatives by 2θ and SH/L
        m1, m2, m3 = 0.0, 0.0, 0.0
        for k in range(count):
            m1 += nodes[k, 0] * nodes[k, 1]
        for k in range(count):
            off = nodes[k, 0] - m1
            m2 += nodes[k, 1] * off * off
            m3 += nodes[k, 1] * off * off * off
        skew = 0.5 * m3 / m2
        root = math.sqrt(skew * skew + m2)
        if d == 0:
            out[0, 0], out[1, 0] = m1 + skew + root, m1 + skew - root
            out[0, 1], out[1, 1] = 0.5 * (1.0 - skew / root), 0.5 * (1.0 + skew / root)
            continue
        n1, n2, n3 = 0.0, 0.0, 0.0
        for k in range(count):
            n1 += nodes[k, 2 * d] * nodes[k, 1] + nodes[k, 0] * nodes[k, 2 * d + 1]
        for k in range(count):
            off, slope = nodes[k, 0] - m1, nodes[k, 2 * d] - n1
            n2 += nodes[k, 2 * d + 1] * off * off + 2.0 * nodes[k, 1] * off * slope
            n3 += nodes[k, 2 * d + 1] * off**3 + 3.0 * nodes[k, 1] * off * off * slope
        skew_d = 0.5 * (n3 - m3 * n2 / m2) / m2
        root_d = (2.0 * skew * skew_d + n2) / (2.0 * root)
        weight_d = 0.5 * (skew_d - skew * root_d / root) / root
        out[0, 2 * d], out[1, 2 * d] = n1 + skew_d + root_d, n1 + skew_d - root_d
        out[0, 2 * d + 1], out[1, 2 * d + 1] = -weight_d, weight_d
    return 2
