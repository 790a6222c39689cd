"""Straighten the lines of equal energy and sum the rows: images become spectra.

A pixel of a row whose lines are shifted by d covers the interval [x−d−½, x−d+½] of the straightened axis; its
counts are split between the two pixels it covers, in proportion to the overlap. This conserves counts and
needs no interpolation, but makes neighbouring pixels of a spectrum share events.

The variance is that of the summed column, gain · (charge of photons) + (live rows) · (read noise)², split in
the same proportion: it is exact for sums over a few pixels, and for a single pixel it is at most twice what
its own scatter would be. Only pixels with the charge of a photon, and those that touch one, count as photons,
so that neither noise nor a pedestal left by clipping is taken for light. What the other pixels hold is kept:
it is the background, measured beside the photons in the same frame.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from beamline import provenance
from beamline.errors import SchemaError
from calibration.gain import PHOTON
from rixs.frames import signals
from rixs.spikes import Spikes, find_spikes, frame_coords, saturation_levels

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    import xarray as xr

    from calibration.curvature import Curvature
    from calibration.dark import Dark
    from calibration.gain import Gain

Array = np.ndarray[Any, np.dtype[np.float64]]
Mask = np.ndarray[Any, np.dtype[np.uint8]]


@provenance.step("rixs.straighten", returns="rixs.spectra", framewise=True)
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
        rows are live. ``live_rows`` (frame, pixel) says how many were, ``photon_rows`` and ``hit_rows`` how
        many of them were near a photon or held one, ``photon_charge`` is what those near one hold (ADU) and
        ``empty_level`` the mean of the others.

    Raises
    ------
    SchemaError
        The curvature is that of a detector with another number of rows.
    """
    rows = images.sizes["y"]
    if "counts_mask" in images:
        masks: Iterable[Mask] = (images["counts_mask"][i].values for i in range(images.sizes["frame"]))
    else:
        none = np.zeros((rows, images.sizes["x"]), np.uint8)
        masks = (none for _ in range(images.sizes["frame"]))
    sums = [
        sum_frame(signal, mask, curvature, gain) for signal, mask in zip(signals(images), masks, strict=True)
    ]
    return spectra_of(np.array(sums), images, rows, gain)


@provenance.step("rixs.extract", returns="rixs.spectra", framewise=True)
def extract(images: xr.Dataset, curvature: Curvature, gain: Gain, dark: Dark | None = None) -> xr.Dataset:
    """Make spectra of images, frame by frame: subtract the dark, mask spikes, straighten.

    The same as these steps one after the other, but with only one frame in memory. A frame that is added
    later has the spectrum it would have had with all the others.

    Parameters
    ----------
    images
        Kind ``images``, as `mask_spikes` takes them; they may be opened lazily.
    curvature, gain, dark
        Calibrations; without a dark, the background must have been subtracted.

    Returns
    -------
    Dataset
        As `straighten` gives, with what `mask_spikes` says of every frame.

    Raises
    ------
    SchemaError
        As `straighten`; or the dark is of another detector.
    """
    return without_spikes(images, curvature, gain, dark)


def without_spikes(
    images: xr.Dataset,
    curvature: Curvature,
    gain: Gain,
    dark: Dark | None = None,
    known: Sequence[Spikes] | None = None,
) -> xr.Dataset:
    """Return what `extract` does; spikes of the frames that are known already are not looked for again."""
    sums, spikes = [], []
    levels = saturation_levels(images)
    for i, (signal, level) in enumerate(zip(signals(images, dark), levels, strict=True)):
        found = find_spikes(signal, gain, level) if known is None else known[i]
        sums.append(sum_frame(signal, found.mask(signal.shape), curvature, gain))
        spikes.append(found)
    spectra = spectra_of(np.array(sums), images, images.sizes["y"], gain)
    return spectra.assign_coords(frame_coords(spikes))


@provenance.step("rixs.extend", returns="rixs.spectra")
def extend(
    spectra: xr.Dataset, images: xr.Dataset, curvature: Curvature, gain: Gain, dark: Dark | None = None
) -> xr.Dataset:
    """Add the spectra of frames that came since: the same numbers as those of all frames at once.

    Parameters
    ----------
    spectra
        From `extract`, with the same calibrations.
    images
        Kind ``images``: the new frames, or all of them, of which those whose ``file`` is known are left out.
    curvature, gain, dark
        As in `extract`.

    Raises
    ------
    SchemaError
        As `extract`; or the new spectra do not have the pixels of the old.
    """
    import xarray as xr

    if "file" in spectra.coords and "file" in images.coords:
        images = images.isel(frame=~np.isin(images["file"].values, spectra["file"].values))
    if images.sizes["frame"] == 0:
        return spectra
    new = extract(images, curvature, gain, dark)
    if not np.array_equal(new["pixel"].values, spectra["pixel"].values):
        raise SchemaError("spectra", "have other pixels than the new frames", "use the same curvature")
    both = xr.concat(
        [spectra, new], "frame", data_vars="minimal", coords="minimal", compat="override", join="exact"
    )
    return both.assign_attrs({**new.attrs, **{key: spectra.attrs[key] for key in ("rows", "read_noise")}})


def spectra_of(sums: Array, images: xr.Dataset, rows: int, gain: Gain) -> xr.Dataset:
    """Return sums (frame, quantity, pixel) of `sum_frame` as the spectra of `images`."""
    import xarray as xr

    total, live, charge, near, hit = np.moveaxis(sums, 1, 0)
    charge = np.maximum(charge - gain.offset * near, 0)
    variance = gain.gain * charge + live * gain.read_noise**2
    # Without read noise an empty pixel still says no more than "less than about one photon".
    variance = np.where(variance > 0, variance, gain.gain**2)
    measured = live >= rows / 2
    scale = rows / np.where(measured, live, np.nan)
    empty = live - near
    level = np.where(empty > 0.5, total - (sums[:, 2]), np.nan) / np.where(empty > 0.5, empty, np.nan)
    pad = (total.shape[1] - images.sizes["x"]) // 2
    dims = ("frame", "pixel")
    label = {"units": "", "long_name": "rows near a photon"}, {"units": "", "long_name": "rows with a photon"}
    return xr.Dataset(
        {
            "intensity": (dims, total * scale, {"units": "ADU"}),
            "intensity_errors": (dims, np.sqrt(variance) * scale),
            "live_rows": (dims, live),
            "photon_rows": (dims, near, label[0]),
            "hit_rows": (dims, hit, label[1]),
            "photon_charge": (dims, charge, {"units": "ADU", "long_name": "charge in rows near a photon"}),
            "empty_level": (dims, level, {"units": "ADU", "long_name": "mean of the pixels without photons"}),
        },
        coords={
            "pixel": np.arange(-pad, images.sizes["x"] + pad),
            **{name: coord for name, coord in images.coords.items() if coord.dims == ("frame",)},
        },
        attrs={
            **{key: value for key, value in images.attrs.items() if key not in ("kind", "history")},
            "rows": rows,
            "read_noise": gain.read_noise,
        },
    )


def sum_frame(signal: np.ndarray[Any, Any], mask: Mask, curvature: Curvature, gain: Gain) -> Array:
    """Sum one frame (y, x) along its lines; return the quantities of `frame_kernels.SUMS` (quantity, pixel).

    The result is longer than a row, by the same number of pixels on both sides, so that nothing is lost.
    """
    from rixs.frame_kernels import SUMS, sum_rows

    rows, columns = signal.shape
    if curvature.rows != rows:
        raise SchemaError("curvature", f"is that of {curvature.rows} rows, the images have {rows}")
    shift = curvature.shift()
    pad = int(np.ceil(np.abs(shift).max(initial=0.0)))
    first = np.floor(-shift).astype(np.int64)
    sums = np.zeros((len(SUMS), columns + 2 * pad))
    part = -shift - first
    for at in np.unique(first):
        right = part[first == at]
        sums[1, pad + at : pad + at + columns] += (1 - right).sum()
        if right.any():
            sums[1, pad + at + 1 : pad + at + 1 + columns] += right.sum()
    sum_rows(signal, mask, gain.offset + PHOTON * gain.gain, first + pad, part, sums)
    return sums
