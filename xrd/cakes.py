r"""Cakes: intensity against 2θ and azimuth, or a few sectors of it.

The azimuth is :math:`χ = \arctan_2(t_1, t_2)` (`calibration.geometry`): 0 along the horizontal x axis of
the image as the geometry counts it, 90 deg along y; pyFAI's ``chi``. Rings of a right geometry are straight
in a cake; texture makes them uneven and strain bends them.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal

import numpy as np
import xarray as xr

from beamline import provenance
from calibration.geometry import Geometry
from xrd import patterns as results
from xrd.frames import Image, frames_of
from xrd.integration import Axis, ErrorModel, Range, Splitting, plain_arguments, summed

if TYPE_CHECKING:
    from pyFAI.integrator.azimuthal import AzimuthalIntegrator


@plain_arguments
@provenance.step("xrd.cake", returns="xrd.cakes", framewise=True)
def cake(
    images: xr.Dataset | xr.DataArray | Image,
    geometry: Geometry | AzimuthalIntegrator | str | os.PathLike[str],
    sectors: int | Sequence[float] = 36,
    bins: int = 1000,
    splitting: Splitting = "none",
    mask: Image | xr.DataArray | str | os.PathLike[str] | None = None,
    polarization: float | Literal[False] | None = 0.99,
    solid_angle: bool = True,
    error_model: ErrorModel = "poisson",
    two_theta_range: Range | None = None,
    gain: float | None = None,
    saturation: float | None = None,
    mask_orientation: int | None = None,
    axis: Axis = "two_theta",
    q_range: Range | None = None,
    d_range: Range | None = None,
    dark: xr.Dataset | Image | str | os.PathLike[str] | None = None,
    flat: xr.Dataset | Image | str | os.PathLike[str] | None = None,
    read_noise: float | None = None,
    sensor: float | str | None = None,
    monitor: str | None = None,
    clip: float | None = None,
    trim: float | None = None,
) -> xr.Dataset:
    """Integrate detector frames in sectors of the azimuth.

    Parameters
    ----------
    sectors
        Number of equal sectors from -180 to 180 deg, or their edges in deg, which rise by 360 at most.
    images, geometry, bins, splitting, mask, polarization, solid_angle, error_model, two_theta_range, gain, \
saturation, mask_orientation, axis, q_range, d_range, dark, flat, read_noise, sensor, monitor, clip, trim
        As in `xrd.integrate`. A pixel is shared along 2θ only; its sector is that of its centre.

    Returns
    -------
    Dataset of kind ``xrd.cakes``
        As `xrd.integrate` returns, over (frame, azimuth, two_theta); ``azimuth`` is the middle of a sector,
        deg.

    Raises
    ------
    CalibrationError, ConfigError, DataFileError, SchemaError
        As `xrd.integrate`.
    """
    given = dict(locals())
    frames = frames_of(images)
    edges = np.linspace(-180.0, 180.0, sectors + 1) if isinstance(sectors, int) else sectors
    kernel, means = summed(frames, tuple(map(float, edges)), given)
    return results.cakes(frames, kernel, means, given)


def sector(cakes: xr.Dataset, azimuth: float) -> xr.Dataset:
    """Return the sector of a cake that is nearest to an azimuth (deg), as ``xrd.patterns``."""
    turned = np.abs((cakes["azimuth"].values - azimuth + 180.0) % 360.0 - 180.0)
    chosen: xr.Dataset = cakes.isel(azimuth=int(np.argmin(turned)))
    return chosen.assign_attrs(kind="xrd.patterns")
