"""Masks of detector pixels, as other programs draw them.

In a mask file nonzero means masked (pyFAI, Dioptas, Fit2D alike). Beware of the orientation: Dioptas shows an
image upside down, and writes both its geometry and its mask for the image as shown. Such a mask belongs to
``image[::-1]``: its orientation is 2, as that of the geometry from the same program.
"""

from __future__ import annotations

import dataclasses
import os
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from beamline.errors import ConfigError, DataFileError
from calibration.mask_files import read_pixels

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from calibration.geometry import Geometry

_STEPS = {1: (-1, -1), 2: (-1, 1), 3: (1, 1), 4: (1, -1)}


def read_mask(
    path: str | os.PathLike[str],
    shape: tuple[int, int] | None,
    orientation: int = 3,
    geometry: Geometry | None = None,
) -> NDArray[np.bool_]:
    """Read a mask.

    Parameters
    ----------
    path
        An image of any format `beamline.read` knows (Dioptas' ``.mask`` is a TIFF, Fit2D's ``.msk``, EDF),
        ``.npy``, or the shapes of GSAS-II's ``.immask``.
    shape
        Pixels of the image along (y, x); None where they are not known, and not checked.
    orientation
        Which way round the mask holds the image: 3 as the image is stored, 2 with the rows in reverse (masks
        of Dioptas), 4 with the columns in reverse, 1 with both.
    geometry
        Of the detector; the shapes of an ``.immask`` are in mm and in angles.

    Returns
    -------
    (y, x) array
        True = masked, as the image is stored.

    Raises
    ------
    ConfigError
        There is no such orientation.
    DataFileError
        The file cannot be read, or has another number of pixels than the image.
    """
    if orientation not in _STEPS:
        raise ConfigError("mask orientation", f"is {orientation!r}", "it is 1, 2, 3 or 4")
    if Path(path).suffix.lower() == ".immask":
        return _read_shapes(path, shape, orientation, geometry)
    mask = read_pixels(path)
    if shape is not None and mask.shape != tuple(shape):
        pixels = " x ".join(str(n) for n in mask.shape)
        raise DataFileError(
            path, f"has {pixels} pixels, the image {shape[0]} x {shape[1]}", "use the mask of this detector"
        )
    rows, columns = _STEPS[orientation]
    return np.ascontiguousarray(mask[::rows, ::columns] != 0)


def _read_shapes(
    path: str | os.PathLike[str], shape: tuple[int, int] | None, orientation: int, geometry: Geometry | None
) -> NDArray[np.bool_]:
    from xrd.immask import read_immask

    shape = shape or (geometry.shape if geometry else None)
    if geometry is None or shape is None:
        raise DataFileError(path, "is drawn in mm", "give the geometry and the number of pixels")
    return read_immask(path, dataclasses.replace(geometry, orientation=orientation), shape)
