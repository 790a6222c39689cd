"""Scans with known truth: an arctangent edge, a white line, EXAFS, a foil, and noise.

μ(E) = a + b (E - E0) + Δμ [ ½ + arctan((E - E0)/Γ)/π + w exp(-(E - E0 - 4 eV)²/2s²) + χ(k) θ(E - E0) ]

with χ(k) a sum of shells of the EXAFS equation, amplitude N S₀² f(k) exp(-2k²σ² - 2R/λ)/(kR²), phase
2kR + φ(k) (docs/theory/absorption.md). It is a model to test with, not a calculation of any compound.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from xas.constants import ETOK

if TYPE_CHECKING:
    import xarray as xr

Array = np.ndarray[Any, np.dtype[np.float64]]

OXIDE = ((6.0, 2.09, 0.006), (12.0, 2.95, 0.007))
"""Shells (number, distance in angstrom, σ² in angstrom²) like those of NiO."""
FOIL = ((12.0, 2.49, 0.006),)
"""The first shell of a metal like nickel."""


def energy_axis(e0: float = 8345.0, kmax: float = 14.0) -> Array:
    """Return the axis of a usual scan: 5 eV steps to -20 eV, 0.25 eV to +40 eV, then 0.05 1/angstrom."""
    k = np.arange(np.sqrt(40 * ETOK) + 0.05, kmax, 0.05)
    return np.concatenate(
        [np.arange(e0 - 200, e0 - 20, 5.0), np.arange(e0 - 20, e0 + 40, 0.25), e0 + k**2 / ETOK]
    )


def absorption(
    energy: Array,
    e0: float = 8345.0,
    step: float = 0.8,
    width: float = 1.5,
    white_line: float = 0.6,
    shells: Sequence[tuple[float, float, float]] = OXIDE,
) -> Array:
    """Return μ(E) without noise.

    Parameters
    ----------
    energy
        Axis in eV.
    e0
        Centre of the arctangent, eV.
    step
        Edge step Δμ.
    width
        Γ of the arctangent, eV.
    white_line
        Height of the white line over the step.
    shells
        Coordination number, distance (angstrom) and σ² (angstrom²) of each shell.
    """
    above = np.clip(energy - e0, 0, None)
    k = np.sqrt(ETOK * above)
    edge = 0.5 + np.arctan((energy - e0) / width) / np.pi
    edge = edge + white_line * np.exp(-0.5 * ((energy - e0 - 4.0) / 2.0) ** 2)
    onset = 1 - np.exp(-above / 15.0)
    return np.asarray(0.5 - 3e-4 * (energy - e0) + step * (edge + onset * chi(k, shells)))


def chi(k: Array, shells: Sequence[tuple[float, float, float]] = OXIDE) -> Array:
    """Return χ(k) of shells with a smooth amplitude and phase; k in 1/angstrom."""
    k = np.maximum(np.asarray(k, dtype=float), 0.3)
    total = np.zeros_like(k)
    for number, distance, sigma2 in shells:
        amplitude = number * 0.8 * 0.5 * k * np.exp(-(((k - 3) / 7) ** 2)) / (k * distance**2)
        damping = np.exp(-2 * k**2 * sigma2 - 2 * distance / 8.0)
        total += amplitude * damping * np.sin(2 * k * distance - 0.4 * k)
    return total


def scan(
    seed: int,
    noise: float = 1e-3,
    energy: Array | None = None,
    e0: float = 8345.0,
    drift: float = 0.0,
    label: str = "simulated",
    **edge: Any,
) -> xr.Dataset:
    """Return one scan with its foil, as `beamline.read` would.

    Parameters
    ----------
    seed
        Of the noise.
    noise
        Standard deviation of μ and of the foil's μ, white.
    energy
        True energies in eV; `energy_axis` where not given.
    e0
        Edge energy of the sample, eV; that of the foil is 12 eV lower.
    drift
        What the monochromator shows too little, eV: true energy = shown energy + drift.
    label
        Name of the scan.
    edge
        Further arguments of `absorption`.
    """
    import xarray as xr

    from beamline import model

    energy = energy_axis(e0) if energy is None else energy
    random = np.random.default_rng(seed)
    foil = absorption(energy, e0 - 12, step=0.8, width=2.0, white_line=0.0, shells=FOIL)
    foil += 0.25 * np.exp(-0.5 * ((energy - e0 - 6) / 3.0) ** 2)
    ds = xr.Dataset(
        {
            "mu": ("energy", absorption(energy, e0, **edge) + random.normal(0, noise, energy.size)),
            "mu_ref": ("energy", foil + random.normal(0, noise, energy.size)),
        },
        {"energy": energy - drift, "energy_shift": 0.0},
        {"element": "Ni", "edge": "K", "label": label},
    )
    ds["energy_shift"].attrs |= {"units": "eV", "long_name": "energy shift since measured"}
    return model.with_defaults(ds, "xas.scans")
