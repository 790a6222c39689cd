r"""Masks found in the images: dead and hot pixels, shadows of beam stop and holder, spots of single crystals.

What a pixel should show follows from its ring. In a cake (72 sectors) the level of a ring is the 70th
percentile of the means of its sectors, which neither a shadow on half of the ring nor the noise of single
pixels reaches. Times the normalisation of the pixel (solid angle, polarisation) this is what is expected of
it, and compared with that

* a **shadow** is an area in which the mean of 7 × 7 pixels is less than 0.6 of what is expected, at least 200
  pixels large, and reaching over many rings: a weak part of a textured ring is long, but narrow in 2θ;
* **dead** or **hot** is a pixel of signal s, where μ is expected, with :math:`2 |\sqrt s - \sqrt μ|` beyond
  6 standard deviations, and less than a third of μ, or more than three times, in the median of all frames.
  (On the scale of the square root, photons scatter equally everywhere. In a single frame, a spot of one
  pixel is called hot.)

Where a shadow covers whole rings, no level is left to compare with. Hence the pixels inside the innermost
radius that is lit are masked too: the first at which the level is a third of its median over the inner
third.

A **spot** is what lies as far above the robust mean of its ring (`xrd.robust`), and what is around it.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr
from scipy import ndimage

from beamline import provenance
from beamline.errors import ConfigError, DataFileError
from xrd.frames import Frames, Image, frames_of
from xrd.kernel import Kernel, Setup, kernel_of
from xrd.parameters import as_geometry
from xrd.pixels import normalization, positions
from xrd.sources import Source
from xrd.sums import limits

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from pyFAI.integrator.azimuthal import AzimuthalIntegrator

    from calibration.geometry import Geometry

FLAGS = {"unmeasured": 1, "dead": 2, "hot": 4, "shadow": 8, "unlit": 16}
"""Meanings of the bits of a mask."""

_SECTORS = 72
_QUANTILE = 0.7
_SHADOW = 0.6
_WINDOW = 7
_SMALLEST = 200
_OUTLIER = 6.0
_MARGIN = 3


def find_mask(
    images: xr.Dataset | xr.DataArray | Image,
    geometry: Geometry | AzimuthalIntegrator | str | os.PathLike[str],
    polarization: float | None = 0.99,
) -> xr.DataArray:
    """Find the pixels that do not show what their ring does.

    Parameters
    ----------
    images
        As `xrd.integrate` takes them; several frames of a sample that moves or changes tell hot pixels from
        spots.
    geometry
        Where the pixels are.
    polarization
        Polarisation factor of the beam.

    Returns
    -------
    DataArray (y, x)
        Bits with the meanings `FLAGS`; 0 is good. It can be given as ``mask`` as it is.

    Raises
    ------
    CalibrationError
        The geometry is that of another detector.
    DataFileError
        No pixel measured.
    SchemaError
        `images` are no images.
    """
    frames, geometry = frames_of(images), as_geometry(geometry)
    frames.check(geometry)
    image, live = _median(frames)
    shape = image.shape
    if not live.any():
        raise DataFileError(frames.name(0), "has no live pixel")
    norm = normalization(geometry, shape, polarization, True, None)
    angles = positions(geometry, shape, "two_theta")
    centers, levels = _levels(image, geometry, polarization)
    expected = np.interp(angles, centers, levels) * norm
    flags = np.where(live, 0, FLAGS["unmeasured"]).astype(np.int32)
    unlit = angles < _lit_from(centers, levels) if _sees_the_beam(geometry, shape) else np.zeros(shape, bool)
    flags[_wider(unlit)] |= FLAGS["unlit"]
    flags[_wider(_shadows(image, live, expected, angles))] |= FLAGS["shadow"]
    good = flags == 0
    if good.any():
        expected = _means_of_rings(image, geometry, ~good, polarization) * norm
        off = 2 * (np.sqrt(np.maximum(image, 0)) - np.sqrt(np.maximum(expected, 0)))
        off /= max(1.4826 * float(np.median(np.abs(off[good]))), 1e-12)
        flags[good & (off < -_OUTLIER) & (image < expected / 3)] |= FLAGS["dead"]
        flags[good & (off > _OUTLIER) & (image > expected * 3)] |= FLAGS["hot"]
    return _mask(("y", "x"), flags, FLAGS)


@provenance.step("xrd.find_spots", returns="images", framewise=True)
def find_spots(
    images: xr.Dataset,
    geometry: Geometry | AzimuthalIntegrator | str | os.PathLike[str],
    bins: int = 1000,
    threshold: float = 8.0,
    grow: int = 2,
    mask: Image | None = None,
) -> xr.Dataset:
    """Mask the spots of single crystals (grains, diamond windows) frame by frame.

    Parameters
    ----------
    images
        Dataset of kind ``images``.
    geometry
        Where the pixels are.
    bins
        Bins in 2θ a ring is compared within.
    threshold
        Standard deviations above the mean of its ring at which a pixel is part of a spot.
    grow
        Pixels around a spot that are masked with it.
    mask
        Pixels (y, x) that are left out of the means.

    Returns
    -------
    Dataset of kind ``images``
        With ``counts_mask`` (frame, y, x), which `xrd.integrate` obeys.

    Raises
    ------
    CalibrationError
        The geometry is that of another detector.
    ConfigError
        A parameter is not possible.
    SchemaError
        `images` are no images.
    """
    if not threshold > 0 or grow < 0:
        raise ConfigError("find_spots", f"cannot work with threshold {threshold} and grow {grow}")
    frames, geometry = frames_of(images), as_geometry(geometry)
    frames.check(geometry)
    shape = frames.counts.shape[1:]
    source = Source(None if mask is None else np.asarray(mask))
    kernel = kernel_of(Setup(geometry, shape, bins, polarization=0.99, mask=source))
    low, top = limits(frames.counts.dtype, frames.is_counts, None)
    gain = 1.0 if frames.is_counts else 0.0
    around = ndimage.iterate_structure(ndimage.generate_binary_structure(2, 2), grow) if grow else None
    spots = np.zeros(frames.counts.shape, bool)
    for frame, spot in zip(frames.counts, spots, strict=True):
        excess = _excess(kernel, frame, (low, top), threshold, gain)
        spot[:] = excess if around is None else ndimage.binary_dilation(excess, around)
    flags = _mask(images["counts"].dims, spots.reshape(images["counts"].shape).astype(np.int8), {"spot": 1})
    return images.assign(counts_mask=flags)


def _excess(
    kernel: Kernel, frame: NDArray[Any], limit: tuple[Any, Any], threshold: float, gain: float
) -> NDArray[np.bool_]:
    """Return the pixels (y, x) above the limit of `xrd.robust.clipped`."""
    low, top = limit
    sums = kernel.robust_sums(frame, low, top, threshold, None, gain)
    mean = np.divide(sums.signal, sums.norm, out=np.zeros(kernel.size), where=sums.norm > 0)
    spread = np.divide(sums.scatter, sums.norm, out=np.zeros(kernel.size), where=sums.norm > 0)
    limits_of_bins = threshold * np.sqrt(np.maximum(spread, gain * np.maximum(mean, 0)))
    place, norm = kernel.places(frame.shape)
    mean, limits_of_bins = np.append(mean, np.inf), np.append(limits_of_bins, 0.0)
    signal = frame.astype(np.float64)
    live = (frame >= low) & (frame <= top)
    above = signal - norm * mean[place] > limits_of_bins[place] * np.sqrt(norm) + 0.25 * threshold**2 * gain
    return np.asarray(live & above)


def _median(frames: Frames) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Return the median of the frames, NaN where a pixel did not measure in most, and where it did."""
    low, top = limits(frames.counts.dtype, frames.is_counts, None)
    measured = (frames.counts >= low) & (frames.counts <= top)
    live = np.asarray(measured.mean(axis=0) > 0.5)
    image = np.full(live.shape, np.nan)
    whole = measured.all(axis=0)
    image[whole] = np.median(frames.counts[:, whole], axis=0)
    some = live & ~whole  # what a frame did not measure is no number to take a median of
    image[some] = np.nanmedian(np.where(measured[:, some], frames.counts[:, some], np.nan), axis=0)
    return image, live


def _means_of_rings(
    image: NDArray[np.float64], geometry: Geometry, mask: NDArray[np.bool_], polarization: float | None
) -> NDArray[np.float64]:
    """Return the robust mean of the ring of every pixel, in bins too fine for slopes of rings to matter."""
    bins = max(image.shape)
    shape = (image.shape[0], image.shape[1])
    kernel = kernel_of(Setup(geometry, shape, bins, polarization=polarization, mask=Source(mask)))
    low, top = limits(image.dtype, False, None)
    sums = kernel.robust_sums(image, low, top, 5.0, None, 0.0)
    seen = sums.norm > 0
    means = np.interp(np.arange(bins + 1), np.flatnonzero(seen), sums.signal[seen] / sums.norm[seen])
    return np.asarray(means[kernel.places(image.shape)[0]])


def _levels(
    image: NDArray[np.float64], geometry: Geometry, polarization: float | None
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return 2θ and level of the rings."""
    shape = (image.shape[0], image.shape[1])
    bins = max(min(image.shape) // 4, 16)
    sectors = tuple(float(edge) for edge in np.linspace(-180, 180, _SECTORS + 1))
    kernel = kernel_of(Setup(geometry, shape, bins, sectors=sectors, polarization=polarization))
    low, top = limits(image.dtype, False, None)
    sums = kernel.sums(image[np.newaxis], low, top)
    # A sector with few pixels of the ring says little of its level.
    counted = (sums.pixels[0] >= 4).reshape(_SECTORS, bins)
    means = np.divide(sums.signal, sums.norm, out=np.full_like(sums.norm, np.nan), where=sums.norm > 0)
    means = np.where(counted, means.reshape(_SECTORS, bins), np.nan)
    seen = np.isfinite(means).any(axis=0)
    levels = np.asarray(np.nanquantile(means[:, seen], _QUANTILE, axis=0), dtype=np.float64)
    return np.asarray(kernel.positions[seen]), levels


def _lit_from(centers: NDArray[np.float64], levels: NDArray[np.float64]) -> float:
    """Return the first 2θ that is lit."""
    inner = levels[: max(len(levels) // 3, 4)]
    return float(centers[int(np.argmax(inner > np.median(inner) / 3))])


def _sees_the_beam(geometry: Geometry, shape: tuple[int, ...]) -> bool:
    x, y = geometry.center
    return 0 <= x < shape[1] and 0 <= y < shape[0]


def _shadows(
    image: NDArray[np.float64],
    live: NDArray[np.bool_],
    expected: NDArray[np.float64],
    angles: NDArray[np.float64],
) -> NDArray[np.bool_]:
    """Return the pixels in areas that are dark over many rings."""
    seen = ndimage.uniform_filter(np.nan_to_num(image), _WINDOW)
    due = ndimage.uniform_filter(np.where(live, expected, 0.0), _WINDOW)
    dark = np.asarray(live & (seen < _SHADOW * due))
    labels, number = ndimage.label(dark)
    if number == 0:
        return dark
    numbers = np.arange(1, number + 1)
    area = ndimage.sum_labels(dark, labels, numbers)
    reach = ndimage.maximum(angles, labels, numbers) - ndimage.minimum(angles, labels, numbers)
    wide = (area >= _SMALLEST) & (reach > 0.05 * np.ptp(angles))
    return np.asarray(np.append(False, wide)[labels])


def _wider(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Return a mask with a margin: edges of shadows are half lit."""
    return np.asarray(ndimage.binary_dilation(mask, iterations=_MARGIN)) if mask.any() else mask


def _mask(dims: tuple[Any, ...], flags: NDArray[Any], meanings: dict[str, int]) -> xr.DataArray:
    attrs = {"flag_masks": list(meanings.values()), "flag_meanings": " ".join(meanings)}
    return xr.DataArray(flags, dims=dims, name="counts_mask", attrs=attrs)
