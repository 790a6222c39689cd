"""An image of a calibrant as the search for rings takes it."""

from __future__ import annotations

import math
import os
from typing import Any, NamedTuple

import numpy as np
import xarray as xr

from beamline import units
from beamline.errors import CalibrationError
from calibration.mask_files import read_pixels

FEWEST_PIXELS = 64


class Frame(NamedTuple):
    """Signal (y, x), which pixels measure, size of a pixel (y, x) in m, polarisation factor of the beam."""

    signal: np.ndarray[Any, np.dtype[np.float32]]
    live: np.ndarray[Any, np.dtype[np.bool_]]
    pixel_size: tuple[float, float]
    polarization: float = 0.0

    @property
    def pixel(self) -> float:
        """Size of a pixel in m, the geometric mean of both."""
        return math.sqrt(self.pixel_size[0] * self.pixel_size[1])


def frame_of(
    image: Any,
    pixel_size: float | tuple[float, float] | None,
    mask: Any = None,
    orientation: int = 3,
    polarization: float = 0.99,
) -> Frame:
    """Return an image, in the order of indices that `orientation` names, and what of it can be used.

    Not used are pixels that are masked, not finite, marked by a negative number in counts or integers, or
    that hold the largest number of their unsigned type. Frames of a series are summed.

    Parameters
    ----------
    image
        Dataset of kind ``images``, its counts, or an array (y, x) or (frame, y, x).
    pixel_size
        In m, one number or (y, x); None where the Dataset says it.
    mask
        Array (y, x), nonzero = masked, or a file of it: an image or ``.npy``.
    orientation
        See `calibration.geometry`.
    polarization
        Polarisation factor of the beam, 1 for an electric field along x.

    Raises
    ------
    CalibrationError
        It is no image, mask and image differ in shape, pixel size or polarisation are missing or impossible,
        or nothing is left to look at.
    """
    if not -1 <= polarization <= 1:
        raise CalibrationError("polarization", f"is {polarization:g}", "it lies between -1 and 1")
    stated: tuple[Any, Any] = (None, None)
    is_counts = False
    if isinstance(image, xr.Dataset):
        if "counts" not in image:
            raise CalibrationError(
                "calibration image", "has no variable counts", "read it with beamline.read"
            )
        stated = tuple(image.attrs.get(f"{axis}_pixel_size") for axis in "yx")  # type: ignore[assignment]
        image = image["counts"]
    if isinstance(image, xr.DataArray):
        unit = str(image.attrs.get("units", ""))
        is_counts = unit != "" and (units.compatible(unit, "count") or units.compatible(unit, "photon"))
        image = image.values
    values = np.asarray(image)
    if values.ndim == 3 and len(values):
        values, live = _sum(values, is_counts)
    elif values.ndim == 2 and values.dtype.kind in "iuf":
        live = _alive(values, is_counts)
    else:
        raise CalibrationError(
            "calibration image", f"is no image: shape {values.shape}, {values.dtype}", "give numbers (y, x)"
        )
    size = _pixel_size(pixel_size, stated)
    if mask is not None:
        live = live & ~_mask(mask, values.shape)
    if live.sum() < FEWEST_PIXELS or min(values.shape) < 16:
        raise CalibrationError("calibration image", "has no live pixels to look at", "check image and mask")
    signal = np.where(live, values, 0).astype(np.float32)
    if not np.ptp(signal[live]) > 0:
        raise CalibrationError("calibration image", "is blank", "is it the image of a calibrant?")
    rows = slice(None, None, -1 if orientation in (1, 2) else 1)
    columns = slice(None, None, -1 if orientation in (1, 4) else 1)
    return Frame(
        np.ascontiguousarray(signal[rows, columns]),
        np.ascontiguousarray(live[rows, columns]),
        size,
        polarization,
    )


def _alive(values: np.ndarray[Any, Any], is_counts: bool) -> np.ndarray[Any, np.dtype[np.bool_]]:
    live: np.ndarray[Any, np.dtype[np.bool_]] = np.isfinite(values)
    if values.dtype.kind == "u":
        live &= values < np.iinfo(values.dtype).max
    elif is_counts or values.dtype.kind == "i":
        live &= values >= 0
    return live


def _sum(
    values: np.ndarray[Any, Any], is_counts: bool
) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, np.dtype[np.bool_]]]:
    """Return the sum of frames and the pixels that are live in all of them."""
    total = np.zeros(values.shape[1:])
    live = np.ones(values.shape[1:], dtype=bool)
    for one in values:
        live &= _alive(one, is_counts)
        total += np.where(live, one, 0)
    return total, live


def _pixel_size(given: float | tuple[float, float] | None, stated: tuple[Any, Any]) -> tuple[float, float]:
    if given is None:
        if not (stated[0] and stated[1]):
            raise CalibrationError(
                "calibration", "needs the size of a pixel", "give pixel_size in m (200e-6)"
            )
        given = (float(stated[0]), float(stated[1]))
    size = (given, given) if isinstance(given, int | float) else tuple(given)
    if len(size) != 2 or not all(math.isfinite(s) and 1e-7 < s < 0.01 for s in size):
        raise CalibrationError("pixel_size", f"is {given}", "it is in m, for instance 200e-6")
    for ours, theirs in zip(size, stated, strict=True):
        if theirs and abs(ours / float(theirs) - 1) > 1e-3:
            raise CalibrationError(
                "pixel_size",
                f"is {ours:g} m, the file says {float(theirs):g} m",
                "leave it out, or correct the file",
            )
    return float(size[0]), float(size[1])


def _mask(mask: Any, shape: tuple[int, ...]) -> np.ndarray[Any, np.dtype[np.bool_]]:
    if isinstance(mask, str | os.PathLike):
        mask = read_pixels(mask)
    masked: np.ndarray[Any, np.dtype[np.bool_]] = np.squeeze(np.asarray(mask)) != 0
    if masked.shape != tuple(shape):
        raise CalibrationError(
            "mask", f"has shape {masked.shape}, the image {tuple(shape)}", "use the mask of this detector"
        )
    return masked
