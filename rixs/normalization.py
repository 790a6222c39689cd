"""Divide by the incident flux of the same point.

The monitor's own counting error, √I0, enters the error of every pixel; it is common to a frame and, at the
10⁷ counts of a real exposure, far below the counting error of the photons. A monitor is a current turned into
counts, so √I0 is the least its error can be.

A point whose flux is far from its neighbours' is divided like any other, which is right when the flux or the
shutter dipped, and flagged, because it is the point to look at when a map has a stripe.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from beamline import provenance, units
from beamline.errors import SchemaError

if TYPE_CHECKING:
    import xarray as xr

LOW, MISSING = 1, 2

PER = 1e6
"""Intensities are per so many counts of I0: near 1 for real exposures."""


@provenance.step("rixs.normalize", returns="rixs.spectra")
def normalize(spectra: xr.Dataset, tolerance: float = 0.2) -> xr.Dataset:
    """Divide spectra by I0.

    Parameters
    ----------
    spectra
        Kind ``rixs.spectra`` with the coordinate ``i0`` (frame) in counts. A monitor wired with negative sign
        (all values negative) is used by its magnitude, and the result says so.
    tolerance
        A flux that differs by more than this part from the median of the points around it is flagged.

    Returns
    -------
    Dataset
        ``intensity`` per 10⁶ counts of I0 with errors, and ``i0_mask`` (frame; flags unusual, missing). A
        frame without flux is NaN.

    Raises
    ------
    SchemaError
        There is no ``i0``, it has no value, is not in counts, or changes sign.
    """
    if "i0" not in spectra.coords:
        raise SchemaError("i0", "is missing", "a map needs the incident flux of every point")
    stated = str(spectra["i0"].attrs.get("units", ""))
    if not units.compatible(stated, "count"):
        raise SchemaError("i0", f"is in {stated!r}, not in counts", "its counting error is not known")
    i0 = spectra["i0"].values.astype(float)
    usable = np.isfinite(i0) & (i0 != 0)
    if not usable.any():
        raise SchemaError("i0", "has no value other than zero", "was the monitor connected?")
    sign = np.sign(i0[usable])
    if (sign != sign[0]).any():
        raise SchemaError("i0", "changes sign", "subtract the offset of the monitor first")
    flux = np.where(usable, np.abs(i0), np.nan)
    mask = np.where(usable, 0, MISSING) | np.where(_unusual(flux, tolerance), LOW, 0)

    result = spectra.copy()
    value = spectra["intensity"].values / flux[:, None] * PER
    result["intensity"] = (
        spectra["intensity"].dims,
        value,
        {"units": f"{spectra.intensity.attrs['units']}/megacount"},
    )
    if "intensity_errors" in spectra:
        counting = spectra["intensity_errors"].values / flux[:, None] * PER
        total = np.hypot(counting, value / np.sqrt(flux)[:, None])
        result["intensity_errors"] = (spectra["intensity"].dims, total)
    flags = {"flag_masks": [LOW, MISSING], "flag_meanings": "unusual missing"}
    result = result.assign_coords(i0_mask=("frame", mask.astype(np.uint8), flags))
    if sign[0] < 0:
        result.attrs["i0_sign"] = "negative, its magnitude was used"
    return result


def _unusual(
    flux: np.ndarray[Any, np.dtype[np.float64]], tolerance: float
) -> np.ndarray[Any, np.dtype[np.bool_]]:
    """Tell which points differ from the median of up to three neighbours on either side."""
    unusual = np.zeros(flux.size, bool)
    for i in np.flatnonzero(np.isfinite(flux)).tolist():
        around = np.delete(flux[max(i - 3, 0) : i + 4], i - max(i - 3, 0))
        around = around[np.isfinite(around)]
        if around.size >= 2:
            unusual[i] = abs(flux[i] / np.median(around) - 1) > tolerance
    return unusual
