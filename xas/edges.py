"""Where the edge is: a number that follows the valence.

``half_height`` is what most work on Ni, Co and Mn in layered oxides quotes, and it orders MnO, Mn₃O₄, Mn₂O₃
and MnO₂ by valence, which the steepest point does not (docs/theory/absorption.md). The others are there
because published numbers are of all kinds: ``integral``, ``centroid``, ``inflection``; see `xas.positions`.
Differences between samples measured one way can be compared with each other, those measured another way
cannot.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from beamline import provenance
from beamline.errors import ConfigError
from xas.normalization import stored_fits
from xas.positions import METHODS
from xas.stacks import Statuses

if TYPE_CHECKING:
    import xarray as xr


@provenance.step("xas.edge", returns="xas.scans")
def edge(scans: xr.Dataset, method: str = "half_height") -> xr.Dataset:
    """Measure the position of the edge.

    Parameters
    ----------
    scans
        Normalised scans (`xas.normalize`).
    method
        "half_height": the energy at which norm = 0.5; "integral": the mean energy at which norm passes the
        values from 0.15 to 1; "centroid": the first moment of the derivative around the half height;
        "inflection": the steepest point of a smooth curve through the rise.

    Returns
    -------
    Dataset
        `scans` with ``edge_energy`` (eV) per scan and its error: the noise of the points, of the pre-edge
        line and of the edge step, propagated. The error of the energy axis is not in it. Where there is no
        such position it is NaN, and ``status`` says why.

    Raises
    ------
    FitError
        A single scan does not pass the level, or is too noisy to say where.
    ConfigError
        There is no such method.
    SchemaError
        The scans are not normalised.
    """
    if method not in METHODS:
        raise ConfigError("method", f"is {method!r}", f"known: {', '.join(METHODS)}")
    single = "scan" not in scans.dims
    count = scans.sizes.get("scan", 1)
    energies, errors = np.full(count, np.nan), np.full(count, np.nan)
    status = Statuses(scans, count)
    for part, rows, fits in stored_fits(scans):
        found = METHODS[method](fits)
        energies[part.rows[rows]] = found.energy
        errors[part.rows[rows]] = found.errors
        for row, problem, remedy in found.problems():
            if single:
                status.fail(part.rows[rows][[row]], problem, remedy)
            status.note(part.rows[rows][row], "suspect", f"no edge energy: {problem}")
    dims = scans["mu"].dims[:-1]
    attrs = {"units": "eV", "long_name": f"edge energy ({method.replace('_', ' ')})", "method": method}
    values, sigmas = (energies[0], errors[0]) if single else (energies, errors)
    return scans.assign(
        edge_energy=(dims, values, attrs), edge_energy_errors=(dims, sigmas), status=status.variable()
    )
