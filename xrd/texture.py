r"""Preferred orientation: March-Dollase, and harmonics of cylindrical symmetry.

March-Dollase (W. A. Dollase, J. Appl. Cryst. 19 (1986) 267), mean over the n equivalents of a reflection at
angles α to the axis:

.. math:: P = \frac1n \sum \left(R^2 \cos^2 α + \sin^2 α / R\right)^{-3/2}

Harmonics (R. B. Von Dreele, J. Appl. Cryst. 30 (1997) 517), of a sample with a fibre axis:

.. math:: P = 1 + \sum_{L, N} C_{LN} \frac{4π}{2L + 1} K_{LN}(\mathbf h)\, Y_{L0}(ψ)

with K the real spherical harmonics of even order L that the Laue group leaves unchanged, orthonormal, z along
c*, and ψ the angle between scattering vector and fibre axis: cos ψ = cos θ cos(azimuth) in Debye-Scherrer
geometry, 0 in Bragg-Brentano, as in GSAS-II.
"""

from __future__ import annotations

import functools
import math
from typing import Any

import numpy as np

from beamline.errors import ConfigError
from xrd.broadening import cosine_squared, quadratic_forms
from xrd.phases import Floats, Phase, metric, operations

HIGHEST = 18
"""Order up to which harmonics are offered."""


def harmonic_terms(phase: Phase) -> tuple[str, ...]:
    """Return the names of the harmonic coefficients of a phase, C and the order and number: "C2.0"."""
    order = phase.harmonics
    if not order:
        return ()
    if order % 2 or not 0 < order <= HIGHEST:
        raise ConfigError(
            f"phase {phase.name!r}", f"has harmonics of order {order}", f"even, up to {HIGHEST}"
        )
    counts = {degree: len(_invariants(phase.space_group, phase.cell, degree)) for degree in _degrees(order)}
    return tuple(f"C{degree}.{i}" for degree in _degrees(order) for i in range(counts[degree]))


def march_dollase(
    equivalents: Floats, axis: Any, metric_a: Floats, ratio: float
) -> tuple[Floats, Floats, Floats]:
    """Return the factor of each reflection, and its derivatives by the ratio and by the metric (n, 6).

    Parameters
    ----------
    equivalents
        Equivalents of each reflection (n, equivalent, 3).
    axis
        Planes the ratio refers to the normal of.
    metric_a
        Reciprocal metric A (6).
    ratio
        March-Dollase R.
    """
    shape = equivalents.shape[:2]
    flat = equivalents.reshape(-1, 3)
    cos2, by_metric = cosine_squared(flat, axis, (metric_a, quadratic_forms(flat)))
    cos2 = cos2.reshape(shape)
    inner = ratio**2 * cos2 + (1 - cos2) / ratio
    by_ratio = -1.5 * inner**-2.5 * (2 * ratio * cos2 - (1 - cos2) / ratio**2)
    by_cos2 = -1.5 * inner**-2.5 * (ratio**2 - 1 / ratio)
    slope = (by_cos2[:, :, None] * by_metric.reshape(*shape, 6)).mean(axis=1)
    return (inner**-1.5).mean(axis=1), by_ratio.mean(axis=1), slope


def harmonics(phase: Phase, hkl: Floats, cell: Any, cos_psi: Floats) -> Floats:
    """Return what each coefficient is multiplied by, (reflection, term)."""
    from scipy.special import eval_legendre

    directions = hkl @ np.linalg.inv(_frame(cell))
    directions /= np.linalg.norm(directions, axis=1)[:, None]
    columns = []
    for degree in _degrees(phase.harmonics):
        sample = math.sqrt((2 * degree + 1) / (4 * math.pi)) * eval_legendre(degree, cos_psi)
        crystal = _real_harmonics(degree, directions) @ _invariants(phase.space_group, phase.cell, degree).T
        columns.append(4 * math.pi / (2 * degree + 1) * sample[:, None] * crystal)
    return np.concatenate(columns, axis=1)


def _degrees(order: int) -> range:
    return range(2, order + 1, 2)


def _frame(cell: Any) -> Floats:
    """Return the matrix whose columns are a, b, c in a Cartesian frame with a along x and c* along z."""
    return np.asarray(np.linalg.cholesky(metric(cell)).T)


@functools.lru_cache(maxsize=256)
def _invariants(symbol: str, cell: tuple[float, ...], degree: int) -> Floats:
    """Return the harmonics of a degree that the rotations leave unchanged, (invariant, 2 degree + 1)."""
    frame = _frame(cell)
    rotations, _ = operations(symbol)
    rng = np.random.default_rng(0)
    points = rng.normal(size=(6 * degree + 20, 3))
    points /= np.linalg.norm(points, axis=1)[:, None]
    values = _real_harmonics(degree, points)
    unique = np.unique(rotations, axis=0)
    mean = np.zeros((2 * degree + 1, 2 * degree + 1))
    for rotation in unique:
        moved = points @ (frame @ rotation @ np.linalg.inv(frame)).T
        mean += np.linalg.lstsq(values, _real_harmonics(degree, moved), rcond=None)[0]
    eigenvalues, vectors = np.linalg.eigh((mean + mean.T) / (2 * len(unique)))
    invariant = vectors[:, eigenvalues > 0.5].T
    # One sign and order, whatever the linear algebra gives: by the first large component, made positive.
    leading = [int(np.argmax(np.abs(row) > 0.1)) for row in invariant]
    signs = [math.copysign(1.0, row[i]) for row, i in zip(invariant, leading, strict=True)]
    ordered = sorted(zip(leading, signs, invariant, strict=True), key=lambda item: item[0])
    return np.array([sign * row for _, sign, row in ordered]).reshape(-1, 2 * degree + 1)


def _real_harmonics(degree: int, directions: Floats) -> Floats:
    """Return the real spherical harmonics of a degree (direction, 2 degree + 1), orthonormal; m = 0 first."""
    from scipy.special import sph_harm_y

    polar = np.arccos(np.clip(directions[:, 2], -1, 1))
    azimuth = np.arctan2(directions[:, 1], directions[:, 0])
    columns = [sph_harm_y(degree, 0, polar, azimuth).real]
    for m in range(1, degree + 1):
        complex_ = math.sqrt(2) * (-1) ** m * sph_harm_y(degree, m, polar, azimuth)
        columns += [complex_.real, complex_.imag]
    return np.stack(columns, axis=1)
