"""Whether what was measured as the reference is one, or the sample over again.

A few per cent of the sample's own absorption in the reference channel (a foil that was not there, a detector
that is not linear) make an edge that moves with the sample. Aligned on it, all samples have the same edge.
It is the same edge at the same energy, and above that of the metal: a sample that is itself the foil is not.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from beamline.errors import CalibrationError
from calibration.inflections import first_inflection
from calibration.mono import tabulated

if TYPE_CHECKING:
    import xarray as xr

Array = np.ndarray[Any, np.dtype[np.float64]]

ALIKE = 0.999
"""Two edges with a greater correlation than this are one."""
METAL = 5.0
"""A first inflection this near to the table, or below (eV), may be that of the metal."""


def why_no_reference(scan: xr.Dataset) -> str:
    """Return why the variable ``mu_ref`` of a scan cannot be a reference; "" where it can.

    Parameters
    ----------
    scan
        Kind ``xas.scans``, over (energy), with ``mu`` and ``mu_ref``; without the attributes ``element`` and
        ``edge`` nothing is known against it.
    """
    element, edge = str(scan.attrs.get("element", "")), str(scan.attrs.get("edge", ""))
    if not element or not edge:
        return ""
    energy = scan["energy"].values.astype(float)
    mu, reference = scan["mu"].values.astype(float), scan["mu_ref"].values.astype(float)
    good = np.isfinite(mu) & np.isfinite(reference)
    energy, mu, reference = energy[good], mu[good], reference[good]
    try:
        position, _ = first_inflection(energy, reference)
        off = position - tabulated(element, edge)
    except CalibrationError:
        return ""  # no edge, or too coarse to tell: what does not fit is found when it is aligned
    if off > METAL and _likeness(energy, mu, reference, position) > ALIKE:
        return f"it rises like the sample itself, {off:.1f} eV above the {element} {edge} edge of the metal"
    return ""


def _likeness(energy: Array, mu: Array, reference: Array, position: float) -> float:
    """Return the correlation of two edges, straight lines taken off."""
    near = (energy > position - 30) & (energy < position + 40)
    if near.sum() < 10:
        return 0.0
    line = np.column_stack([np.ones(near.sum()), energy[near] - position])
    a, b = (y[near] - line @ np.linalg.lstsq(line, y[near], rcond=None)[0] for y in (mu, reference))
    return float(a @ b / np.sqrt((a @ a) * (b @ b)))
