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
import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from xrd.phases import Floats, Phase, echelon, metric, metric_slopes, operations

_DOUBLED = np.array([1.0, 1.0, 1.0, 2.0, 2.0, 2.0])

_MONOMIALS = [p for p in itertools.product(range(4, -1, -1), repeat=3) if sum(p) == 4]


def stephens_terms(symbol: str) -> tuple[str, ...]:
    """Return the names of the independent coefficients S_HKL of a space group ("S400", ...)."""
    return _stephens(symbol)[0]


def stephens_matrix(symbol: str, hkl: Any) -> Floats:
    """Return the quartic forms that belong to the coefficients, (reflection, term)."""
    _, forms = _stephens(symbol)
    return np.asarray(_powers(np.asarray(hkl, dtype=float)) @ forms.T)


def isotropic_stephens(phase: Phase) -> tuple[float, ...]:
    """Return the coefficients that are the same as the phase's isotropic strain."""
    hkl = np.array([p for p in itertools.product(range(-3, 4), repeat=3) if any(p)], dtype=float)
    quartic = phase.strain**2 * (quadratic_forms(hkl) @ reciprocal(phase.cell).a) ** 2
    solution, *_ = np.linalg.lstsq(stephens_matrix(phase.space_group, hkl), quartic, rcond=None)
    return tuple(float(value) for value in solution)


def cosine_squared(hkl: Floats, axis: Any, metric_a: tuple[Floats, Floats]) -> tuple[Floats, Floats]:
    """Return cos² of the angle between reflections and the normal of the planes `axis`.

    Parameters
    ----------
    hkl
        Indices (n, 3).
    axis
        Indices of the planes.
    metric_a
        Reciprocal metric A (6), and the forms of hkl (n, 6).

    Returns
    -------
    (n), and its derivative by A (n, 6).
    """
    a, forms = metric_a
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


@dataclass(frozen=True)
class Reciprocal:
    """The reciprocal metric of a cell.

    Attributes
    ----------
    a
        A (6): 1/d² = A·(h², k², l², hk, hl, kl).
    by_cell
        Its derivative by the six cell parameters (6, 6).
    volume
        Volume of the cell, angstrom³.
    log_volume
        Derivative of its logarithm by the cell parameters (6).
    """

    a: Floats
    by_cell: Floats
    volume: float
    log_volume: Floats


def reciprocal(cell: Any) -> Reciprocal:
    """Return the reciprocal metric of a cell; what it holds must not be changed."""
    return _reciprocal(tuple(cell))


@functools.lru_cache(maxsize=4096)
def _reciprocal(cell: tuple[float, ...]) -> Reciprocal:
    tensor = metric(cell)
    inverse, slopes = np.linalg.inv(tensor), metric_slopes(cell)
    turned = inverse @ slopes
    return Reciprocal(
        _six(inverse),
        _six(-(turned @ inverse).transpose(1, 2, 0)),
        math.sqrt(float(np.linalg.det(tensor))),
        0.5 * np.trace(turned, axis1=1, axis2=2),
    )


def _six(tensor: Any) -> Floats:
    """Return the components of a symmetric tensor (3, 3, ...) that multiply h², k², l², hk, hl, kl."""
    six = tensor.reshape(9, *tensor.shape[2:])[[0, 4, 8, 1, 2, 5]]
    return np.asarray(six * _DOUBLED.reshape(6, *[1] * (tensor.ndim - 2)))


@functools.lru_cache(maxsize=64)
def _stephens(symbol: str) -> tuple[tuple[str, ...], Floats]:
    """Return names and forms (term, monomial): quartic forms that the rotations leave unchanged.

    A coefficient is named after the first monomial in its form and multiplies that with GSAS-II's weight:
    S400 with h⁴, S310 with 2 h³k, S220 with 3 h²k², S211 with 4 h²kl.
    """
    rotations = np.unique(operations(symbol)[0], axis=0)
    points = np.random.default_rng(0).normal(size=(60, 3))
    values = _powers(points)
    # The mean over the group of what a rotation makes of the monomials projects on what none changes.
    moved = [np.linalg.lstsq(values, _powers(points @ rotation), rcond=None)[0] for rotation in rotations]
    names, scaled = [], []
    for form in echelon(np.mean(moved, axis=0).T):
        first = _MONOMIALS[int(np.flatnonzero(np.abs(form) > 1e-6)[0])]
        names.append("S" + "".join(map(str, first)))
        scaled.append(form * {4: 1.0, 3: 2.0, 2: 4.0 if 1 in first else 3.0}[max(first)])
    return tuple(names), np.array(scaled)


def _powers(hkl: Floats) -> Floats:
    """Return the monomials of fourth degree (n, monomial)."""
    return np.stack([np.prod(hkl ** np.array(p), axis=1) for p in _MONOMIALS], axis=1)
