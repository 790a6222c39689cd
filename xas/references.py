"""Whether what was measured as the reference is the foil of the element.

Two things give a false reference away. Its first inflection (`calibration.inflections`) is farther from the
tabulated edge of the metal than any monochromator drifts. Or it is the sample over again, a few per cent of
its absorption let through: the same edge at the same energy, in a sample that is no metal. An oxide taken for
the foil puts every energy 12 eV off.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from beamline.errors import CalibrationError
from calibration.inflections import first_inflection
from calibration.mono import LARGEST, tabulated

if TYPE_CHECKING:
    import xarray as xr

Array = np.ndarray[Any, np.dtype[np.float64]]

ALIKE = 0.999
"""Two edges with a greater correlation than this are one."""
METAL = 5.0
"""A sample whose first inflection is this near to the table (eV) may be a metal, and its own foil."""


def why_no_foil(scan: xr.Dataset) -> str:
    """Return why the variable ``mu_ref`` of a scan cannot be the foil of its element; "" where it can.

    Parameters
    ----------
    scan
        Kind ``xas.scans``, over (energy), on the axis that was measured, with ``mu`` and ``mu_ref``; without
        attributes ``element`` and ``edge`` nothing is known against it.
    """
    element, edge = str(scan.attrs.get("element", "")), str(scan.attrs.get("edge", ""))
    if not element or not edge:
        return ""
    energy = scan["energy"].values.astype(float)
    mu, foil = scan["mu"].values.astype(float), scan["mu_ref"].values.astype(float)
    good = np.isfinite(mu) & np.isfinite(foil)
    energy, mu, foil = energy[good], mu[good], foil[good]
    shift = float(scan["energy_shift"]) if "energy_shift" in scan.coords else 0.0
    try:
        expected = tabulated(element, edge)
        position, _ = first_inflection(energy, foil)
    except CalibrationError:
        return ""  # too coarse to tell, or no edge: what does not fit is found when it is aligned
    off = position - shift - expected
    if abs(off) > LARGEST + METAL:
        return f"it rises first at {position:.1f} eV, {abs(off):.1f} eV from the {element} {edge} edge"
    likeness = _likeness(energy, mu, foil, position)
    if off > METAL and likeness > ALIKE:
        return f"it rises like the sample itself, {off:.1f} eV above the {element} {edge} edge of the metal"
    return ""


def _likeness(energy: Array, mu: Array, foil: Array, position: float) -> float:
    """Return the correlation of two edges, straight lines taken off."""
    near = (energy > position - 30) & (energy < position + 40)
    if near.sum() < 10:
        return 0.0
    line = np.column_stack([np.ones(near.sum()), energy[near] - position])
    a, b = (values[near] - line @ np.linalg.lstsq(line, values[near], rcond=None)[0] for values in (mu, foil))
    return float(a @ b / np.sqrt((a @ a) * (b @ b)))
