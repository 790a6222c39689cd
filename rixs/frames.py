"""The frames of a scan one by one, so that a scan never has to be in memory as a whole."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np

from beamline.errors import SchemaError

if TYPE_CHECKING:
    import xarray as xr

    from calibration.dark import Dark

Signal = np.ndarray[Any, np.dtype[np.floating[Any]]]


def signals(images: xr.Dataset, dark: Dark | None = None) -> Iterator[Signal]:
    """Yield the signal (y, x) of every frame in ADU, each in the memory of the one before.

    Counts of a Dataset that was opened lazily are read frame by frame.

    Parameters
    ----------
    images
        Kind ``images``: counts (frame, y, x).
    dark
        What is subtracted.

    Raises
    ------
    SchemaError
        The dark has another number of columns.
    """
    # The bare variable: coordinates need not be cut for every frame.
    counts = images["counts"].variable
    frames, rows, columns = counts.shape
    # 24 bits hold every count of 16 bits exactly.
    exact = counts.dtype.itemsize <= 2 or counts.dtype == np.float32
    signal = np.empty((rows, columns), np.float32 if exact else np.float64)
    offset = np.zeros(columns, signal.dtype)
    if dark is not None:
        if len(dark.columns) != columns:
            raise SchemaError("dark", f"has {len(dark.columns)} columns, the images have {columns}")
        offset = np.array(dark.columns, signal.dtype)
    for i in range(frames):
        np.subtract(counts[i].values, offset, out=signal, dtype=signal.dtype, casting="unsafe")
        yield signal
