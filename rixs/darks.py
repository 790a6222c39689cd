"""Subtract what the detector shows without light."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from beamline import provenance
from beamline.errors import SchemaError
from rixs.frames import signals

if TYPE_CHECKING:
    import xarray as xr

    from calibration.dark import Dark


@provenance.step("rixs.subtract_dark", returns="images", framewise=True)
def subtract_dark(images: xr.Dataset, dark: Dark) -> xr.Dataset:
    """Subtract the offset of every column.

    Parameters
    ----------
    images
        Kind ``images``: counts (frame, y, x) in ADU as the detector gave them.
    dark
        Offsets of the same detector (`calibration.dark`).

    Returns
    -------
    Dataset
        `images` with real-valued counts; what a saturated pixel reads, ``saturation_level``, is lowered by
        the mean offset.

    Raises
    ------
    SchemaError
        The background is subtracted already, or the dark is of another detector.
    """
    if images.attrs.get("background") == "subtracted":
        raise SchemaError("images", "have their background subtracted already", "subtract it once")
    counts = np.array([signal.copy() for signal in signals(images, dark)])
    result = images.assign(counts=(images["counts"].dims, counts, images["counts"].attrs))
    if "saturation_level" in images.coords:
        level = images["saturation_level"] - float(np.mean(dark.columns))
        result = result.assign_coords(saturation_level=level.assign_attrs(images["saturation_level"].attrs))
    return result.assign_attrs(background="subtracted")
