"""Models and patterns to refine, with known truth."""

from __future__ import annotations

from typing import Any

import numpy as np
import xarray as xr

from calibration.instrument import Instrument
from xrd.calculation import Calculator
from xrd.models import Model
from xrd.observations import observations
from xrd.phases import Phase, Site

Floats = np.ndarray[Any, np.dtype[np.float64]]

INSTRUMENT = Instrument(wavelength=0.1173, U=30.0, V=-1.0, W=1.2, X=0.15, Y=4.0, SHL=0.002)

LAYERED = Phase(
    "layered",
    "R -3 m:H",
    (2.872, 2.872, 14.23, 90.0, 90.0, 120.0),
    (
        Site("Li1", "Li", 0.0, 0.0, 0.0, 0.97, 0.012),
        Site("Ni2", "Ni", 0.0, 0.0, 0.0, 0.03, 0.012),
        Site("Ni1", "Ni", 0.0, 0.0, 0.5, 0.57, 0.004),
        Site("Co1", "Co", 0.0, 0.0, 0.5, 0.20, 0.004),
        Site("Mn1", "Mn", 0.0, 0.0, 0.5, 0.20, 0.004),
        Site("Li2", "Li", 0.0, 0.0, 0.5, 0.03, 0.004),
        Site("O1", "O", 0.0, 0.0, 0.2415, 1.0, 0.009),
    ),
    scale=0.2,
    size=0.25,
    strain=900.0,
)

SPINEL = Phase(
    "spinel",
    "F d -3 m:2",
    (8.12, 8.12, 8.12, 90.0, 90.0, 90.0),
    (
        Site("Li1", "Li", 0.125, 0.125, 0.125, 0.6, 0.012),
        Site("Ni1", "Ni", 0.5, 0.5, 0.5, 0.6, 0.005),
        Site("Mn1", "Mn", 0.5, 0.5, 0.5, 0.4, 0.005),
        Site("O1", "O", 0.2625, 0.2625, 0.2625, 1.0, 0.01),
    ),
    size=0.03,
    strain=2500.0,
)

SYSTEMS = {
    "triclinic": ("P -1", (5.1, 6.2, 7.3, 82.0, 96.0, 104.0)),
    "monoclinic": ("C 1 2/m 1", (5.0, 8.6, 5.1, 90.0, 109.0, 90.0)),
    "orthorhombic": ("P n m a", (8.48, 5.40, 6.96, 90.0, 90.0, 90.0)),
    "tetragonal": ("I 41/a m d:2", (3.79, 3.79, 9.51, 90.0, 90.0, 90.0)),
    "trigonal": ("R -3 m:R", (5.05, 5.05, 5.05, 33.0, 33.0, 33.0)),
    "hexagonal": ("P 63/m m c", (3.1, 3.1, 9.8, 90.0, 90.0, 120.0)),
    "cubic": ("F m -3 m", (5.41, 5.41, 5.41, 90.0, 90.0, 90.0)),
}
"""A space group and a cell of each of the seven crystal systems."""


def phase_of(system: str, **changes: Any) -> Phase:
    """A phase of two atoms in one of the seven systems."""
    symbol, cell = SYSTEMS[system]
    sites = (Site("M1", "Ni", 0.0, 0.0, 0.0, 1.0, 0.005), Site("O1", "O", 0.11, 0.23, 0.31, 0.5, 0.01))
    values = {"size": 0.2, "strain": 800.0, "scale": 1.0, **changes}
    return Phase(system, symbol, cell, sites, **values)


def axis(low: float = 1.2, high: float = 12.0, points: int = 1500) -> Floats:
    """2θ in deg."""
    return np.linspace(low, high, points)


def calculator(model: Model, two_theta: Floats, polarization_corrected: bool = False) -> Calculator:
    """The forward model on an axis."""
    return Calculator(
        model, observations(pattern_of(two_theta, np.ones_like(two_theta), polarization_corrected), model)
    )


def expected(model: Model, two_theta: Floats, **parameters: float) -> Floats:
    """The pattern of a model without noise."""
    of = model.copy().start(parameters)
    return calculator(of, two_theta).pattern(of.free_values())[0]


def pattern_of(two_theta: Floats, counts: Floats, polarization_corrected: bool = False) -> xr.Dataset:
    """Counts as patterns with Poisson errors."""
    counts = np.atleast_2d(counts)
    return xr.Dataset(
        {
            "intensity": (("frame", "two_theta"), counts, {"units": "count"}),
            "intensity_errors": (("frame", "two_theta"), np.sqrt(np.maximum(counts, 1)), {"units": "count"}),
        },
        coords={"two_theta": ("two_theta", two_theta)},
        attrs={"polarization_corrected": int(polarization_corrected)},
    )


def noisy(two_theta: Floats, mean: Floats, seed: int, frames: int = 1) -> xr.Dataset:
    """Poisson draws around a mean."""
    return pattern_of(two_theta, np.random.default_rng(seed).poisson(mean, (frames, mean.size)).astype(float))
