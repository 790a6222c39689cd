"""What the correlation of neighbouring points does to the errors of a fit.

Points of a pattern whose pixels were split between bins have the right errors one by one, but neighbours
share events. A least-squares fit that takes them for independent finds the right values, with variances that
are too small: by 1 + 2ρ where only next neighbours are correlated, by ρ, and a peak is wide compared with a
bin.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    import xarray as xr

MOST = 5.0
"""Larger factors are not believed: more than two neighbours on either side are correlated then."""


def inflation(pattern: xr.Dataset, used: NDArray[np.bool_]) -> float:
    """Return by how much the variances of fitted parameters are larger than those of independent points.

    Parameters
    ----------
    pattern
        Kind ``xrd.patterns``; its ``correlation`` (two_theta) is that of a bin with the next.
    used
        The points that are fitted (two_theta).

    Returns
    -------
    float
        1 + 2ρ with the median of ρ; 1 where the pattern states no correlation.
    """
    if "correlation" not in pattern or not np.isfinite(pattern["correlation"].values[used]).any():
        return 1.0
    return float(np.clip(1 + 2 * np.nanmedian(pattern["correlation"].values[used]), 1.0, MOST))
