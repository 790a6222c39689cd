"""Numbers of the pixels of a mask, from an image file or an ``.npy``; what they mean, others say."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import xarray as xr

from beamline.errors import DataFileError

if TYPE_CHECKING:
    from numpy.typing import NDArray


def read_pixels(path: str | os.PathLike[str]) -> NDArray[np.generic]:
    """Return the one image (y, x) of a file.

    Parameters
    ----------
    path
        An image of any format `beamline.read` knows, or ``.npy`` of numbers or of truth values.

    Raises
    ------
    DataFileError
        The file cannot be read, or holds something else.
    """
    pixels = _read_npy(path) if Path(path).suffix.lower() == ".npy" else _read_image(path)
    if pixels.ndim != 2:
        raise DataFileError(path, f"is of shape {pixels.shape}", "give one mask (y, x)")
    return pixels


def _read_npy(path: str | os.PathLike[str]) -> NDArray[np.generic]:
    try:
        pixels: NDArray[np.generic] = np.load(path, allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise DataFileError(path, f"is no array ({error})", "save it with numpy.save") from error
    if not isinstance(pixels, np.ndarray) or pixels.dtype.kind not in "biuf":
        raise DataFileError(path, "is not an array of numbers")
    return pixels


def _read_image(path: str | os.PathLike[str]) -> NDArray[np.generic]:
    from beamline.readers.registry import read

    images = read(path, kind="images")
    if not isinstance(images, xr.Dataset):
        raise DataFileError(path, "holds several images", "give a file of one mask")
    counts: NDArray[np.generic] = images["counts"].values
    return counts[0] if counts.ndim == 3 and len(counts) == 1 else counts
