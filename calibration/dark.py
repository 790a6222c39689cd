"""Dark: what the detector shows without light, column by column.

The pattern a readout leaves is one of columns: every pixel of a column has the same offset in all frames. Its
mean over the rows of a few dark frames is known far better than any single pixel. Cosmic rays and hot pixels
are left out of it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from beamline.errors import CalibrationError
from calibration.records import Calibration

if TYPE_CHECKING:
    import xarray as xr

Array = np.ndarray[Any, np.dtype[np.float64]]

OUTSIDE = 5.0
"""A pixel farther than so many standard deviations from its column was hit, or is hot."""


@dataclass(frozen=True)
class Dark(Calibration):
    """Offset of every column.

    Attributes
    ----------
    columns
        Mean of the column's pixels, ADU, to a thousandth.
    column_errors
        Its standard deviation, ADU; the same for all columns.
    read_noise
        Standard deviation of a pixel about its column, ADU.
    frames, rows
        Dark frames it was measured with, and their rows.
    """

    columns: tuple[float, ...]
    column_errors: float
    read_noise: float
    frames: int
    rows: int


def calibrate(images: xr.Dataset) -> Dark:
    """Measure the offset of every column with exposures without light.

    Parameters
    ----------
    images
        Kind ``images``: counts (frame, y, x) in ADU, taken with the shutter closed.

    Raises
    ------
    CalibrationError
        The images are clipped at zero, or there is light in them: more than one pixel in a hundred is outside
        its column's noise.
    """
    from calibration.event_kernels import column_moments

    counts = images["counts"]
    if "clipped" in images.attrs:
        raise CalibrationError(
            "dark", "cannot be measured in images clipped at zero", "they have lost what is below zero"
        )
    frames, rows, columns = counts.shape
    # A few hundred rows are enough to begin with.
    first = counts[0, :: max(rows // 256, 1)].values.astype(float)
    middle = np.median(first, axis=0)
    spread: Array = np.full(columns, 1.4826 * float(np.median(np.abs(first - middle))) + 1e-6)
    for _ in range(2):
        moments = np.zeros((3, columns))
        for i in range(frames):
            column_moments(counts[i].values, middle, OUTSIDE * spread, moments)
        number, total, square = moments
        step = total / np.maximum(number, 1)
        variance = float((square / np.maximum(number, 1) - step**2).mean())
        middle, spread = middle + step, np.full(columns, np.sqrt(max(variance, 1e-12)))
    if number.sum() < 0.99 * counts.size:
        raise CalibrationError("dark", "has light in its images", "take them with the shutter closed")
    noise = float(spread[0])
    return Dark(
        columns=tuple(round(float(value), 3) for value in middle),
        column_errors=noise / float(np.sqrt(number.mean())),
        read_noise=noise,
        frames=frames,
        rows=rows,
    )
