"""Where the edge is: a number that follows the valence.

``half_height`` is the energy at which the normalised absorption passes 0.5, in the rise to the white line. It
is what most work on Ni, Co and Mn in layered oxides quotes, and it orders MnO, Mn₃O₄, Mn₂O₃ and MnO₂ by
valence, which the steepest point does not (docs/theory/absorption.md).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from beamline import provenance
from beamline.errors import ConfigError, FitError
from xas.normalization import Fit, scan_name, stored_fits

if TYPE_CHECKING:
    import xarray as xr

Array = np.ndarray[Any, np.dtype[np.float64]]


@provenance.step("xas.edge", returns="xas.scans")
def edge(scans: xr.Dataset, method: str = "half_height") -> xr.Dataset:
    """Measure the position of the edge.

    Parameters
    ----------
    scans
        Normalised scans (`xas.normalize`).
    method
        "half_height": the energy at which norm = 0.5.

    Returns
    -------
    Dataset
        `scans` with ``edge_energy`` (eV) per scan and its error: the noise of the points, of the pre-edge
        line and of the edge step, propagated. The error of the energy axis is not in it.

    Raises
    ------
    FitError
        The absorption does not pass the level.
    ConfigError
        There is no such method.
    """
    if method not in METHODS:
        raise ConfigError("method", f"is {method!r}", f"known: {', '.join(METHODS)}")
    found = [METHODS[method](fit, scan_name(scans, i)) for i, fit in enumerate(stored_fits(scans))]
    dims = scans["mu"].dims[:-1]
    values, errors = (np.array(column) if dims else column[0] for column in zip(*found, strict=True))
    attrs = {"units": "eV", "long_name": f"edge energy ({method.replace('_', ' ')})", "method": method}
    return scans.assign(edge_energy=(dims, values, attrs), edge_energy_errors=(dims, errors))


def half_height(fit: Fit, name: str, level: float = 0.5) -> tuple[float, float]:
    """Return the energy at which norm passes `level`, and its error, in eV.

    Where noise makes norm pass several times, a line is fitted through all points from before the first to
    after the last passage; with one passage this is the interpolation between two points.
    """
    norm = fit.norm
    inside = np.flatnonzero((fit.energy > fit.e0 - 30) & (fit.energy < fit.e0 + 60))
    high = inside[norm[inside] > 0.5 * (1 + level)]
    if not high.size or norm[inside[0]] >= level:
        raise FitError(name, f"the normalised absorption does not rise through {level}", "check e0 and pre")
    rise = inside[inside <= high[0]]
    last = int(rise[norm[rise] < level][-1])
    first = int(rise[norm[rise] >= level][0]) - 1
    points = slice(min(first, last), last + 2)
    x, y = fit.energy[points], norm[points]
    centre = x.mean()
    slope_weights = (x - centre) / np.sum((x - centre) ** 2)
    slope = float(slope_weights @ y)
    if slope <= 0:
        raise FitError(name, "is too noisy to say where the edge is", "average scans first")
    energy = centre + (level - y.mean()) / slope
    # dE = -(d norm at E) / slope, and norm at E is a weighted mean of these points
    weights = np.zeros(norm.size)
    weights[points] = 1 / x.size + (energy - centre) * slope_weights
    error = np.sqrt(fit.sensitivity(weights) ** 2 @ fit.sigma**2) / slope
    return float(energy), float(error)


METHODS: dict[str, Callable[[Fit, str], tuple[float, float]]] = {"half_height": half_height}
"""How an edge position can be measured, by name."""
