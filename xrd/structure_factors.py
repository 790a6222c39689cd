r"""Structure factors of powders: |F|² with occupancies, isotropic displacements and anomalous scattering.

.. math:: F = \sum_a o_a \left(f_0(s) + f' + i f''\right)_a e^{-8π^2 U_a s^2}
          \sum_{\text{orbit}} e^{2πi\,\mathbf h·\mathbf x}, \qquad s = \sinθ / λ

f₀ is that of neutral atoms, International Tables C (1992) table 6.1.1.4, a sum of four Gaussians and a
constant. A powder sees h and -h at one angle; of their mean the terms mixed of f₀ + f' and f'' cancel:

.. math:: |F|^2 = (Σ f' C)^2 + (Σ f' S)^2 + (Σ f'' C)^2 + (Σ f'' S)^2

with C, S the sums of cosines and sines over the orbit (f' for f₀ + f').
"""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from calibration.compiled import compiled
from xrd.phases import Floats, Phase, multiplicity, operations

HC = 12398.419843320026
"""Planck's constant times the speed of light in eV angstrom (exact in the SI)."""


@dataclass(frozen=True)
class Scatterers:
    """What the sites of a phase scatter with, apart from where they are.

    Attributes
    ----------
    element
        Number of each site's element (site).
    coefficients
        a₁₋₄, b₁₋₄ and c of f₀ (element, 9).
    anomalous
        f' and f'' (element, 2).
    """

    element: np.ndarray[Any, np.dtype[np.int64]]
    coefficients: Floats
    anomalous: Floats


def scatterers(phase: Phase, wavelength: float) -> Scatterers:
    """Return what the sites of a phase scatter with at a wavelength (angstrom)."""
    elements = sorted({site.element for site in phase.sites})
    known = {element: (real, imaginary) for element, real, imaginary in phase.anomalous}
    index = np.array([elements.index(site.element) for site in phase.sites], dtype=np.int64)
    return Scatterers(
        index,
        np.array([_coefficients(element) for element in elements]).reshape(-1, 9),
        np.array([known.get(element) or anomalous(element, wavelength) for element in elements]).reshape(
            -1, 2
        ),
    )


@functools.lru_cache(maxsize=1024)
def anomalous(element: str, wavelength: float) -> tuple[float, float]:
    """Return f' and f'' of an element (D. T. Cromer, D. A. Liberman, Acta Cryst. A37 (1981) 267).

    GSAS-II has the same method and tables that differ by 0.003 in f' of the 3d metals at 100 keV; those of
    C. T. Chantler differ by 0.01.
    """
    import gemmi

    number = gemmi.Element(element).atomic_number
    real, imaginary = gemmi.cromer_liberman(number, HC / wavelength)
    return float(real), float(imaginary)


def geometry(phase: Phase, hkl: Any, positions: Floats) -> tuple[Floats, Floats]:
    """Return the sums of cosines and sines over the orbit of each site, (reflection, site)."""
    phases = _phases(phase, hkl, positions)
    weight = _weights(phase, positions)
    return np.cos(phases).mean(axis=2) * weight, np.sin(phases).mean(axis=2) * weight


def geometry_slopes(phase: Phase, hkl: Any, positions: Floats) -> tuple[Floats, Floats]:
    """Return the derivatives of `geometry` with respect to the coordinates, (reflection, site, 3)."""
    rotations, _ = operations(phase.space_group)
    images = np.einsum("ni,rij->nrj", np.asarray(hkl, dtype=float), rotations)
    phases = _phases(phase, hkl, positions)
    weight = 2 * math.pi * _weights(phase, positions)[:, None] / len(rotations)
    cos = -np.einsum("nsr,nrj->nsj", np.sin(phases), images) * weight
    sin = np.einsum("nsr,nrj->nsj", np.cos(phases), images) * weight
    return cos, sin


def _phases(phase: Phase, hkl: Any, positions: Floats) -> Floats:
    """Return 2π h·x of every image of every site, (reflection, site, operation)."""
    rotations, translations = operations(phase.space_group)
    images = np.einsum("rij,sj->sri", rotations, positions) + translations
    return np.asarray(2 * math.pi * np.einsum("ni,sri->nsr", np.asarray(hkl, dtype=float), images))


def _weights(phase: Phase, positions: Floats) -> Floats:
    return np.array([multiplicity(phase.space_group, position) for position in positions], dtype=float)


@functools.lru_cache(maxsize=256)
def _coefficients(element: str) -> tuple[float, ...]:
    import gemmi

    table = gemmi.Element(element).it92
    return (*table.a, *table.b, table.c)


@compiled
def squared(
    s2: Floats,
    cos: Floats,
    sin: Floats,
    element: Any,
    coefficients: Floats,
    anomalous: Floats,
    occupancy: Floats,
    uiso: Floats,
    by_site: Floats,
    out: Floats,
) -> None:
    """Write |F|² and d|F|²/ds² into `out` (2, reflection), its derivatives by sites into `by_site`.

    Parameters
    ----------
    s2
        (sinθ/λ)² of each reflection, 1/angstrom².
    cos, sin
        What `geometry` gave.
    element, coefficients, anomalous
        What `scatterers` gave.
    occupancy, uiso
        Of each site.
    by_site
        (4, site, reflection): derivatives with respect to occupancy, Uiso, cos and sin; of size 0 where they
        are not wanted.
    out
        (2, reflection).
    """
    kinds, sites = coefficients.shape[0], element.size
    real, slope = np.empty(kinds), np.empty(kinds)
    wanted = by_site.size > 0
    for r in range(s2.size):
        for e in range(kinds):
            value, by_s2 = coefficients[e, 8] + anomalous[e, 0], 0.0
            for j in range(4):
                part = coefficients[e, j] * math.exp(-coefficients[e, 4 + j] * s2[r])
                value += part
                by_s2 -= coefficients[e, 4 + j] * part
            real[e], slope[e] = value, by_s2
        a, b, a2, b2 = 0.0, 0.0, 0.0, 0.0
        a_s, b_s, a2_s, b2_s = 0.0, 0.0, 0.0, 0.0
        for i in range(sites):
            e = element[i]
            rate = 8.0 * math.pi * math.pi * uiso[i]
            weight = occupancy[i] * math.exp(-rate * s2[r])
            first, first_s = weight * real[e], weight * (slope[e] - rate * real[e])
            second = weight * anomalous[e, 1]
            a += first * cos[r, i]
            b += first * sin[r, i]
            a2 += second * cos[r, i]
            b2 += second * sin[r, i]
            a_s += first_s * cos[r, i]
            b_s += first_s * sin[r, i]
            a2_s -= rate * second * cos[r, i]
            b2_s -= rate * second * sin[r, i]
        out[0, r] = a * a + b * b + a2 * a2 + b2 * b2
        out[1, r] = 2.0 * (a * a_s + b * b_s + a2 * a2_s + b2 * b2_s)
        if wanted:
            for i in range(sites):
                e = element[i]
                fall = math.exp(-8.0 * math.pi * math.pi * uiso[i] * s2[r])
                by_cos = 2.0 * fall * (a * real[e] + a2 * anomalous[e, 1])
                by_sin = 2.0 * fall * (b * real[e] + b2 * anomalous[e, 1])
                by_site[0, i, r] = by_cos * cos[r, i] + by_sin * sin[r, i]
                by_site[1, i, r] = -8.0 * math.pi * math.pi * s2[r] * occupancy[i] * by_site[0, i, r]
                by_site[2, i, r] = occupancy[i] * by_cos
                by_site[3, i, r] = occupancy[i] * by_sin
