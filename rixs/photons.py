"""Photons counted one by one: for frames so sparse that events do not overlap.

An event is a pixel above the gate that no neighbour exceeds. The charge of its 3 × 3 pixels says how many
photons it holds, their centre of gravity where along the dispersion it fell, to less than a pixel; read noise
and pedestal are gone. Where events overlap, counts are lost: too bright frames are refused, and summed
instead (`rixs.extract`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from beamline import provenance
from beamline.errors import SchemaError
from calibration.gain import PHOTON
from rixs.frames import signals
from rixs.spikes import find_spikes, frame_coords, saturation_levels

if TYPE_CHECKING:
    import xarray as xr

    from calibration.curvature import Curvature
    from calibration.dark import Dark
    from calibration.gain import Gain

Array = np.ndarray[Any, np.dtype[np.float64]]

DENSE = 0.02
"""Photons per pixel in the brightest columns from which on a sixth of the events have another beside them."""


AROUND = 9
"""Bins the variance of each is taken from."""


@provenance.step("rixs.count_photons", returns="rixs.spectra", framewise=True)
def count_photons(
    images: xr.Dataset, curvature: Curvature, gain: Gain, dark: Dark | None = None, oversampling: int = 2
) -> xr.Dataset:
    """Count the photons of sparse frames along the lines of equal energy.

    Parameters
    ----------
    images
        Kind ``images``, as `rixs.extract` takes them.
    curvature, gain, dark
        Calibrations; without a dark, the background must have been subtracted.
    oversampling
        Bins per pixel.

    Returns
    -------
    Dataset
        ``intensity`` (frame, pixel) in ADU, the gain for every photon, so that it stands for the same as a
        summed spectrum; ``pixel`` are the centres of the bins.

    Raises
    ------
    SchemaError
        A frame is too bright, or the curvature is that of another detector.
    """
    import xarray as xr
    from scipy.ndimage import uniform_filter1d

    from rixs.frame_kernels import count_events

    rows, columns = images.sizes["y"], images.sizes["x"]
    if curvature.rows != rows:
        raise SchemaError("curvature", f"is that of {curvature.rows} rows, the images have {rows}")
    shift = curvature.shift()
    pad = int(np.ceil(np.abs(shift).max(initial=0.0)))
    counts = np.zeros((images.sizes["frame"], (columns + 2 * pad) * oversampling))
    spikes = []
    levels = saturation_levels(images)
    for i, (signal, level) in enumerate(zip(signals(images, dark), levels, strict=True)):
        found = find_spikes(signal, gain, level)
        mask = found.mask(signal.shape)
        y, x = np.nonzero((signal > gain.offset + PHOTON * gain.gain) & (mask == 0))
        rate = np.bincount(x, minlength=columns) / rows
        bright = float(np.convolve(rate, np.full(9, 1 / 9), "valid").max(initial=0.0))
        if bright > DENSE:
            raise SchemaError(
                f"frame {i}",
                f"has {bright:.3f} photons per pixel in its brightest columns: events overlap",
                "sum the rows with rixs.extract",
            )
        count_events(signal, mask, y, x, gain.offset, gain.gain, shift, pad, oversampling, counts[i])
        spikes.append(found)
    # A bin without a photon says little by itself: the rate is that of the bins around, and one photon.
    variance = (uniform_filter1d(counts, AROUND, axis=1) * AROUND + 1) / AROUND
    live = np.full(counts.shape, rows / oversampling)
    pixel = (np.arange(counts.shape[1]) + 0.5) / oversampling - 0.5 - pad
    dims = ("frame", "pixel")
    spectra = xr.Dataset(
        {
            "intensity": (dims, counts * gain.gain, {"units": "ADU"}),
            "intensity_errors": (dims, np.sqrt(variance) * gain.gain),
            "live_rows": (dims, live),
        },
        coords={
            "pixel": pixel,
            **{name: coord for name, coord in images.coords.items() if coord.dims == ("frame",)},
        },
        attrs={key: value for key, value in images.attrs.items() if key not in ("kind", "history")},
    )
    return spectra.assign_coords(frame_coords(spikes))
