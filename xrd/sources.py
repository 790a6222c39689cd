"""Where mask, flat field and dark image come from: files, arrays or Datasets, told by their content."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import xarray as xr

from beamline import provenance
from beamline.errors import ConfigError, DataFileError
from xrd.masks import read_mask

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from calibration.geometry import Geometry


class Source:
    """A file, an array, a Dataset of images, or None; two of the same content are equal."""

    def __init__(self, value: Any) -> None:
        self.value = value
        self._key = _content(value)

    def __hash__(self) -> int:
        return hash(self._key)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Source) and other._key == self._key


def _content(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, os.PathLike):
        return provenance.file_hash(value)
    if isinstance(value, xr.Dataset):
        exposures = value["averaged"].values if "averaged" in value else np.ones(1)
        return f"{provenance.array_id(value['counts'].values)} {exposures.tolist()}"
    return provenance.array_id(value)


NOTHING = Source(None)


def mask_of(
    source: Source, shape: tuple[int, int], geometry: Geometry, orientation: int | None
) -> NDArray[np.bool_] | None:
    """Return the pixels (y, x) of the image as stored that are masked; None where there is no mask.

    Raises
    ------
    ConfigError
        It is not a mask of this detector.
    """
    mask = source.value
    if mask is None:
        return None
    if isinstance(mask, os.PathLike):
        # Dioptas writes the mask as it shows the image, which is how its geometry counts the pixels;
        # GSAS-II's is in the coordinates of its geometry.
        if orientation is None and Path(mask).suffix.lower() in (".mask", ".immask"):
            orientation = geometry.orientation
        try:
            return read_mask(mask, shape, orientation or 3, geometry)
        except DataFileError as error:
            raise ConfigError("mask", f"{error.subject} {error.problem}", error.remedy) from error
    array = np.asarray(mask)
    if array.shape != shape:
        raise ConfigError("mask", f"is of shape {array.shape}, the image of {shape}", "nonzero = masked")
    return np.asarray(array != 0)


def flat_of(source: Source, shape: tuple[int, int]) -> NDArray[np.float32] | None:
    """Return the sensitivity of every pixel (y, x) relative to the median one; 0 where it has none.

    Raises
    ------
    ConfigError
        It is not a flat field of this detector.
    """
    if source.value is None:
        return None
    flat = _mean_image("flat", source.value, shape)[0]
    flat = np.where(np.isfinite(flat) & (flat > 0), flat, 0.0)
    if not flat.any():
        raise ConfigError("flat", "has no pixel above 0", "give the sensitivity of the pixels")
    return np.asarray(flat / np.median(flat[flat > 0]), dtype=np.float32)


class Dark(NamedTuple):
    """A dark image.

    Attributes
    ----------
    image
        Signal (y, x), NaN in pixels without one.
    exposures
        Number of exposures it is the mean of.
    exposure
        Time of one in s; NaN where it is not stated.
    """

    image: NDArray[np.float32]
    exposures: float
    exposure: float


def dark_of(source: Source, shape: tuple[int, int]) -> Dark | None:
    """Return the dark image; None where there is none.

    Raises
    ------
    ConfigError
        It is not a dark image of this detector.
    """
    if source.value is None:
        return None
    return Dark(*_mean_image("dark", source.value, shape))


def _mean_image(name: str, value: Any, shape: tuple[int, int]) -> tuple[NDArray[np.float32], float, float]:
    """Return the mean of images, how many exposures it is of, and the time of one (NaN: not stated)."""
    if isinstance(value, os.PathLike):
        from beamline.readers.registry import read

        try:
            value = read(value, kind="images")
        except DataFileError as error:
            raise ConfigError(name, f"{error.subject} {error.problem}", error.remedy) from error
    averaged, exposure = 1.0, float("nan")
    if isinstance(value, xr.Dataset):
        if "counts" not in value:
            raise ConfigError(name, "has no variable counts", "give images, as beamline.read returns them")
        if "averaged" in value:
            averaged = float(value["averaged"].values.mean())
        if "exposure" in value:
            exposure = float(value["exposure"].values.mean())
        value = value["counts"].values
    images = np.asarray(value)
    if images.shape[-2:] != shape or images.ndim not in (2, 3) or not images.size:
        raise ConfigError(
            name, f"is of shape {images.shape}, the image of {shape}", "use that of this detector"
        )
    images = images.reshape(-1, *shape)
    return images.mean(axis=0, dtype=np.float64).astype(np.float32), averaged * len(images), exposure
