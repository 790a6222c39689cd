"""Series of simulated scans for the tests."""

from __future__ import annotations

from typing import Any

import numpy as np
import xarray as xr

from beamline import model
from xas import simulate

ENERGY = simulate.energy_axis()


def stack(mu: Any, energy: Any = ENERGY, **more: Any) -> xr.Dataset:
    """Return scans (scan, energy) of the Ni K edge."""
    mu = np.atleast_2d(mu)
    ds = xr.Dataset(
        {"mu": (("scan", "energy"), mu), **more},
        {"energy": energy, "label": ("scan", [f"s{n}" for n in range(len(mu))])},
        {"element": "Ni", "edge": "K"},
    )
    return model.with_defaults(ds, "xas.scans")


def noisy(count: int, noise: float, seed: int = 0, shift: Any = 0.0) -> xr.Dataset:
    """Return `count` scans with white noise; `shift` moves their edges (eV)."""
    shifts = np.broadcast_to(shift, (count,))
    clean = {value: simulate.absorption(ENERGY, 8345.0 + value) for value in set(shifts.tolist())}
    mu = np.array([clean[value] for value in shifts.tolist()])
    return stack(mu + np.random.default_rng(seed).normal(0, noise, mu.shape))


def pulls(found: xr.Dataset, truth: xr.Dataset, name: str) -> Any:
    """Return (found - true) / error of a variable; the truth is one scan, or as many."""
    return (found[name].values - truth[name].values) / found[f"{name}_errors"].values
