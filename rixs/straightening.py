"""Straighten the lines of equal energy and sum the rows: images become spectra.

A pixel of a row whose lines are shifted by d covers the interval [x−d−½, x−d+½] of the straightened axis; its
counts are split between the two pixels it covers, in proportion to the overlap. This conserves counts and
needs no interpolation, but makes neighbouring pixels of a spectrum share events.

The variance is that of the summed column, gain · (charge of photons) + (live rows) · (read noise)², split in
the same proportion: it is exact for sums over a few pixels, and for a single pixel it is at most twice what
its own scatter would be. Only pixels with the charge of a photon, and those that touch one, count as photons,
so that neither noise nor a pedestal left by clipping is taken for light.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from beamline import provenance
from beamline.errors import SchemaError
from calibration.gain import near_photons

if TYPE_CHECKING:
    import xarray as xr

    from calibration.curvature import Curvature
    from calibration.gain import Gain

Array = np.ndarray[Any, np.dtype[np.float64]]


@provenance.step("rixs.straighten", returns="rixs.spectra")
def straighten(images: xr.Dataset, curvature: Curvature, gain: Gain) -> xr.Dataset:
    """Sum the rows of every image along the lines of equal energy.

    Parameters
    ----------
    images
        Kind ``images``: counts (frame, y, x) in ADU with the coordinate ``excitation_energy``; pixels flagged
        in ``counts_mask`` are left out.
    curvature
        Shift of the lines in each row.
    gain
        Gain and read noise, for the errors.

    Returns
    -------
    Dataset
        ``intensity`` (frame, pixel) in ADU, scaled from the live rows to all; NaN where less than half of the
        rows are live. ``live_rows`` (frame, pixel) says how many were.

    Raises
    ------
    SchemaError
        The curvature is that of a detector with another number of rows.
    """
    import xarray as xr

    counts = images["counts"].values
    rows = counts.shape[1]
    if curvature.rows != rows:
        raise SchemaError("curvature", f"is that of {curvature.rows} rows, the images have {rows}")
    shift = curvature.shift()
    live = np.ones(counts.shape, bool)
    if "counts_mask" in images:
        live = images["counts_mask"].values == 0
    values = np.where(live, counts, 0)
    signal = counts.astype(np.float32) - np.float32(gain.offset)
    photons = np.where(near_photons(np.where(live, signal, 0), gain) & live, signal, 0)

    total = sum_rows(values, shift)
    charge = np.maximum(sum_rows(photons, shift), 0)
    live_rows = sum_rows(live, shift)
    variance = gain.gain * charge + live_rows * gain.read_noise**2
    # Without read noise an empty pixel still says no more than "less than about one photon".
    variance = np.where(variance > 0, variance, gain.gain**2)
    measured = live_rows >= rows / 2
    scale = rows / np.where(measured, live_rows, np.nan)
    pad = (total.shape[1] - counts.shape[2]) // 2
    spectra = xr.Dataset(
        {
            "intensity": (("frame", "pixel"), total * scale, {"units": "ADU"}),
            "intensity_errors": (("frame", "pixel"), np.sqrt(variance) * scale),
            "live_rows": (("frame", "pixel"), live_rows),
        },
        coords={
            "pixel": np.arange(-pad, counts.shape[2] + pad),
            **{name: coord for name, coord in images.coords.items() if coord.dims == ("frame",)},
        },
        attrs={key: value for key, value in images.attrs.items() if key not in ("kind", "history")},
    )
    if "clipped" in images.attrs:
        spectra.attrs["clip_bias"] = f"{gain.offset * rows:.1f} ADU per pixel of the spectrum, not subtracted"
    return spectra


def sum_rows(values: np.ndarray[Any, Any], shift: Array) -> Array:
    """Sum (frame, y, x) over y with every row moved back by its shift; return (frame, x + 2 · padding).

    The result is longer than a row, by the same number of pixels on both sides, so that nothing is lost.
    """
    frames, _, columns = values.shape
    pad = int(np.ceil(np.abs(shift).max(initial=0.0)))
    summed = np.zeros((frames, columns + 2 * pad))
    for row, d in enumerate(shift):
        first = int(np.floor(-d))
        part = -d - first
        summed[:, pad + first : pad + first + columns] += (1 - part) * values[:, row]
        if part > 0:
            summed[:, pad + first + 1 : pad + first + 1 + columns] += part * values[:, row]
    return summed
