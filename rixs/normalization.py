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

Array = np.ndarray[Any, np.dtype[np.float64]]

LOW, MISSING = 1, 2

PER = 1e6
"""Intensities are per so many counts of I0: near 1 for real exposures."""


@provenance.step("rixs.normalize", returns="rixs.spectra")
def normalize(spectra: xr.Dataset, tolerance: float = 0.2, i0_offset: float = 0.0) -> xr.Dataset:
    """Divide spectra by I0.

    Parameters
    ----------
    spectra
        Kind ``rixs.spectra`` with the coordinate ``i0`` (frame) in counts, or as a rate in counts per second
        beside ``exposure``. A monitor wired with negative sign (all values negative) is used by its
        magnitude, and the result says so. A monitor in other units, a current, needs ``i0_errors``; it is
        used as it is, and intensities are per 10⁶ of its mean.
    tolerance
        A flux that differs by more than this part from the median of the points around it is flagged.
    i0_offset
        What the monitor shows without beam during one exposure, in its own units.

    Returns
    -------
    Dataset
        ``intensity`` per 10⁶ counts of I0 with errors, ``i0_mask`` (frame; flags unusual, missing), and the
        ``dose``, the flux a spot had before the frame. A frame without flux is NaN.

    Raises
    ------
    SchemaError
        There is no ``i0``, it has no value, changes sign, or is not in counts and has no errors; or a rate
        has no exposure.
    """
    if "i0" not in spectra.coords:
        raise SchemaError("i0", "is missing", "a map needs the incident flux of every point")
    i0, errors = _counts(spectra, i0_offset)
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
        of_flux = 1 / np.sqrt(flux) if errors is None else errors / flux
        total = np.hypot(counting, value * of_flux[:, None])
        result["intensity_errors"] = (spectra["intensity"].dims, total)
    flags = {"flag_masks": [LOW, MISSING], "flag_meanings": "unusual missing"}
    result = result.assign_coords(
        i0=("frame", sign[0] * flux, {**spectra["i0"].attrs, "units": "count"}),
        i0_mask=("frame", mask.astype(np.uint8), flags),
    )
    if "i0_errors" in spectra.coords:
        result = result.drop_vars("i0_errors")
    if "dose" not in spectra.coords:
        label = {"units": "count", "long_name": "flux on the spot before the frame"}
        result = result.assign_coords(dose=("frame", _dose(spectra, flux), label))
    if sign[0] < 0:
        result.attrs["i0_sign"] = "negative, its magnitude was used"
    return result


def _counts(spectra: xr.Dataset, offset: float) -> tuple[Array, Array | None]:
    """Return the flux of every frame in counts, and its errors where they are stated."""
    i0 = spectra["i0"].values.astype(float) - offset
    stated = str(spectra["i0"].attrs.get("units", ""))
    errors = spectra["i0_errors"].values.astype(float) if "i0_errors" in spectra.coords else None
    if units.compatible(stated, "count"):
        return i0, errors
    if units.compatible(stated, "count/s"):
        if "exposure" not in spectra.coords:
            raise SchemaError("i0", f"is a rate ({stated}) and exposures are missing", "state exposure=")
        exposure = spectra["exposure"].values.astype(float)
        return i0 * exposure, None if errors is None else errors * exposure
    if errors is None:
        raise SchemaError(
            "i0", f"is in {stated!r}, not in counts", "its counting error is not known: give i0_errors"
        )
    # Intensities of one size whatever the unit: the mean stands for 10⁶ counts.
    scale = PER / np.nanmean(np.abs(i0))
    return i0 * scale, errors * scale


def _dose(spectra: xr.Dataset, flux: Array) -> Array:
    """Return the flux (counts) that the spot of each frame had before it."""
    order = np.arange(flux.size)
    for name in ("time", "timestamp"):
        if name in spectra.coords and not np.isnat(spectra[name].values).any():
            order = np.argsort(spectra[name].values, kind="stable")
            break
    spots = spectra["spot"].values if "spot" in spectra.coords else np.zeros(flux.size, int)
    dose = np.zeros(flux.size)
    sums: dict[object, float] = {}
    for i in order:
        before = sums.get(spots[i], 0.0)
        dose[i] = before
        sums[spots[i]] = before + float(np.nan_to_num(flux[i]))
    return dose


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
