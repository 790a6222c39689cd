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

from xrd.phases import Floats, Phase, echelon, metric, metric_slopes, operations

_DOUBLED = np.array([1.0, 1.0, 1.0, 2.0, 2.0, 2.0])

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
    slopes = -np.einsum("ij,pjk,kl->pil", inverse, metric_slopes(cell), inverse)
    return _six(inverse), _six(slopes.transpose(1, 2, 0))


def _six(tensor: Floats) -> Floats:
    """Return the components of a symmetric tensor (3, 3, ...) that multiply h², k², l², hk, hl, kl."""
    return tensor.reshape(9, *tensor.shape[2:])[[0, 4, 8, 1, 2, 5]] * _DOUBLED[:, *[None] * (tensor.ndim - 2)]
