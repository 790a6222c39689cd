r"""How size and strain depend on direction: terms of the generalised strain, and angles to an axis.

Generalised strain (P. W. Stephens, J. Appl. Cryst. 32 (1999) 281): the variance of :math:`1/d^2` is a quartic
form of hkl with the symmetry of the Laue group, and with GSAS-II's units and names

.. math:: γ_M = \frac{0.018}{π} d^2 \tanθ \sqrt{\textstyle\sum_{HKL} S_{HKL} h^H k^K l^L},

coefficients that symmetry makes equal counted together. For a strain M that is the same in all directions the
sum is :math:`M^2 / d^4`.
"""

from __future__ import annotations

import functools
import itertools
from typing import Any

import numpy as np

from xrd.phases import Floats, Phase, echelon, metric, metric_slope, operations

_MONOMIALS = [p for p in itertools.product(range(4, -1, -1), repeat=3) if sum(p) == 4]


def stephens_terms(symbol: str) -> tuple[str, ...]:
    """Return the names of the independent coefficients S_HKL of a space group ("S400", ...)."""
    return _stephens(symbol)[0]


def stephens_matrix(symbol: str, hkl: Any) -> Floats:
    """Return the quartic forms that belong to the coefficients, (reflection, term)."""
    _, forms = _stephens(symbol)
    indices = np.asarray(hkl, dtype=float)
    powers = np.stack([np.prod(indices ** np.array(p), axis=1) for p in _MONOMIALS], axis=1)
    return np.asarray(powers @ forms.T)


def isotropic_stephens(phase: Phase) -> tuple[float, ...]:
    """Return the coefficients that are the same as the phase's isotropic strain."""
    hkl = np.array([p for p in itertools.product(range(-3, 4), repeat=3) if any(p)], dtype=float)
    reciprocal = np.linalg.inv(metric(phase.cell))
    quartic = phase.strain**2 * np.einsum("ni,ij,nj->n", hkl, reciprocal, hkl) ** 2
    solution, *_ = np.linalg.lstsq(stephens_matrix(phase.space_group, hkl), quartic, rcond=None)
    return tuple(float(value) for value in solution)


def cosine_squared(hkl: Floats, axis: Any, reciprocal: tuple[Floats, Floats]) -> tuple[Floats, Floats]:
    """Return cos² of the angle between reflections and the normal of the planes `axis`.

    Parameters
    ----------
    hkl
        Indices (n, 3).
    axis
        Indices of the planes.
    reciprocal
        Reciprocal metric A (6), and the forms of hkl (n, 6).

    Returns
    -------
    (n), and its derivative by A (n, 6).
    """
    a, forms = reciprocal
    normal = np.asarray(axis, dtype=float)
    h, k, i = np.asarray(hkl, dtype=float).T
    u, v, w = normal
    mixed = np.stack(
        [h * u, k * v, i * w, (h * v + k * u) / 2, (h * w + i * u) / 2, (k * w + i * v) / 2], axis=1
    )
    own = quadratic_forms(normal[None, :])
    along, length, normal_length = mixed @ a, forms @ a, float((own @ a)[0])
    value = along**2 / (length * normal_length)
    safe = np.where(np.abs(along) > 1e-12, along, 1.0)
    doubled = np.where(np.abs(along) > 1e-12, 2 * value / safe, 0.0)
    slope = doubled[:, None] * mixed - value[:, None] * (forms / length[:, None] + own / normal_length)
    return value, slope


def quadratic_forms(hkl: Any) -> Floats:
    """Return h², k², l², hk, hl, kl (n, 6): with the reciprocal metric A they give 1/d²."""
    h, k, i = np.asarray(hkl, dtype=float).T
    return np.stack([h * h, k * k, i * i, h * k, h * i, k * i], axis=1)


def reciprocal_metric(cell: Any) -> tuple[Floats, Floats]:
    """Return A (6), so that 1/d² = A·(h², k², l², hk, hl, kl), and its derivative by the cell (6, 6)."""
    inverse = np.linalg.inv(metric(cell))
    slopes = np.stack([_six(-inverse @ metric_slope(cell, i) @ inverse) for i in range(6)], axis=1)
    return _six(inverse), slopes


def _six(tensor: Floats) -> Floats:
    (a, d, e), (_, b, f), (_, _, c) = tensor
    return np.array([a, b, c, 2 * d, 2 * e, 2 * f])


@functools.lru_cache(maxsize=64)
def _stephens(symbol: str) -> tuple[tuple[str, ...], Floats]:
    """Return names and forms (term, monomial): quartic forms that the rotations leave unchanged.

    A coefficient is named after the first monomial in its form and counts that with the multinomial weight
    over its largest: S400 with h⁴, S220 with 3 h²k², S310 with 2 h³k, S211 with 4 h²kl.
    """
    rotations, _ = operations(symbol)
    rng = np.random.default_rng(0)
    points = rng.normal(size=(60, 3))

    def powers(at: Floats) -> Floats:
        return np.stack([np.prod(at ** np.array(p), axis=1) for p in _MONOMIALS], axis=1)

    values = powers(points)
    mean = np.zeros((len(_MONOMIALS), len(_MONOMIALS)))
    for rotation in np.unique(rotations, axis=0):
        moved, *_ = np.linalg.lstsq(values, powers(points @ rotation), rcond=None)
        mean += moved
    mean /= len(np.unique(rotations, axis=0))
    forms = echelon(mean.T)
    names, scaled = [], []
    for form in forms:
        first = _MONOMIALS[int(np.flatnonzero(np.abs(form) > 1e-6)[0])]
        names.append("S" + "".join(map(str, first)))
        scaled.append(form * {4: 1.0, 3: 2.0, 2: 3.0 if 1 not in first else 4.0}[max(first)])
    return tuple(names), np.array(scaled)
