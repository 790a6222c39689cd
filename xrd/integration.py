r"""Azimuthal integration: from detector frames to intensity against 2θ.

A pixel :math:`i` with signal :math:`S_i`, dark signal :math:`D_i` and normalisation :math:`n_i = Ω_i P_i
F_i η_i` (relative solid angle, polarisation, flat field and absorption in the sensor) lies in bin :math:`b`
with weight :math:`c_{ib}`: 1 or 0 without splitting, else the part of the pixel inside the bin. Then

.. math:: I_b = \frac{\sum_i c_{ib} (S_i - D_i)}{\sum_i c_{ib} n_i}, \qquad
          σ^2(I_b) = \frac{\sum_i c_{ib}^2 σ_i^2}{\left(\sum_i c_{ib} n_i\right)^2}

(J. Kieffer et al., J. Synchrotron Rad. 27 (2020) 558). The weights are those of the normalisation, so that a
pixel that saw less counts for less and the mean is unbiased for Poisson counts.

* Solid angle: :math:`Ω = \cos^3 α`, α the angle of incidence on the flat detector, 1 at its foot.
* Polarisation: :math:`P = ½ (1 + \cos^2 2θ - p \cos 2χ \sin^2 2θ)`, p = 1 for a horizontal electric field,
  χ from the horizontal axis (R. Kahn et al., J. Appl. Cryst. 15 (1982) 330).
* Sensor: :math:`η = (1 - e^{-μt/\cos α}) / (1 - e^{-μt})` for a layer of absorption μ and thickness t.
* Poisson errors: :math:`σ_i^2 = g (S_i - D_i) / m + r^2 (1/m + 1/N)`, with the gain g = 1 for counts, the
  read noise r of one exposure, in a frame that is the mean of m exposures and a dark image that is the mean
  of N. A pixel without a count adds no variance of counting; a bin with the signal of less than one photon
  has that of one, :math:`(g/m)^2 \sum_i c_{ib}^2 / \sum_i c_{ib}`.
* Azimuthal errors: :math:`σ_i^2 = (S_i - D_i - n_i I_b)^2`, the scatter of the pixels of the bin about
  their mean, times n/(n-1) for the n pixels. It needs no gain, but takes slope and texture within the bin
  for noise.

Splitting spreads a pixel over several bins, whose errors are then correlated (by half and more where the
bins are as fine as pixels; ``correlation`` says by how much); the errors are right for each bin, not for
sums or fits over them. Outliers are kept out by `clip` or `trim` (`xrd.robust`).
"""

from __future__ import annotations

import functools
import inspect
import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, ParamSpec, TypeVar, cast

import numpy as np
import xarray as xr

from beamline import provenance
from beamline.errors import DataFileError
from calibration.geometry import Geometry
from xrd import patterns as results
from xrd.frames import Frames, Image, frames_of
from xrd.kernel import Kernel, kernel_of
from xrd.means import Means, means, noise_of
from xrd.parameters import checked, settled, setup_of

if TYPE_CHECKING:
    from pyFAI.integrator.azimuthal import AzimuthalIntegrator

P = ParamSpec("P")
R = TypeVar("R")

Splitting = Literal["none", "bbox", "full"]
ErrorModel = Literal["poisson", "azimuthal"]
Axis = Literal["two_theta", "q", "d"]
Range = tuple[float, float]


def plain_arguments(function: Callable[P, R]) -> Callable[P, R]:
    """Check the parameters, and record one form of those that can be given in several."""
    signature = inspect.signature(function)

    @functools.wraps(function)
    def with_plain_arguments(*args: P.args, **kwargs: P.kwargs) -> R:
        arguments = signature.bind(*args, **kwargs).arguments
        return cast(R, cast(Any, function)(**checked(arguments)))

    return with_plain_arguments


@plain_arguments
@provenance.step("xrd.integrate", returns="xrd.patterns", framewise=True)
def integrate(
    images: xr.Dataset | xr.DataArray | Image,
    geometry: Geometry | AzimuthalIntegrator | str | os.PathLike[str],
    bins: int = 3000,
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
    azimuth_range: Range | None = None,
    dark: xr.Dataset | Image | str | os.PathLike[str] | None = None,
    flat: xr.Dataset | Image | str | os.PathLike[str] | None = None,
    read_noise: float | None = None,
    sensor: float | str | None = None,
    monitor: str | None = None,
    clip: float | None = None,
    trim: float | None = None,
) -> xr.Dataset:
    """Integrate detector frames azimuthally.

    Parameters
    ----------
    images
        Dataset of kind ``images``, its ``counts``, or a bare array (y, x) or (frame, y, x), taken as
        counts. Of frames that are means, ``averaged`` (frame) says of how many exposures. Where
        ``counts_mask`` is not 0, a pixel is not used in that frame.
    geometry
        Where the pixels are: a `Geometry`, a file of one, or pyFAI's integrator.
    bins
        Number of bins.
    splitting
        How a pixel is shared between bins: ``"none"`` (by its centre), ``"bbox"`` (evenly over its extent
        along the axis), ``"full"`` (by its corners).
    mask
        Pixels never to be used: an array (y, x) as the image is stored, nonzero = masked, or a mask file.
    polarization
        Polarisation factor p of the beam, 1 for a horizontal electric field; False or None: not
        corrected.
    solid_angle
        Whether to correct for the solid angle of the pixels.
    error_model
        ``"poisson"``, or ``"azimuthal"`` for data whose gain is not known.
    two_theta_range, q_range, d_range
        First and last edge of the bins in deg, 1/angstrom or angstrom, one of them; by default those of the
        pixel centres.
    gain
        Signal of one photon, in the units of the images. Needed for Poisson errors of ADU; 1 for counts.
    saturation
        Signal from which on a pixel is not used.
    mask_orientation
        Orientation in which a mask file holds the image, as `Geometry` counts it; see `xrd.read_mask`.
    axis
        What the bins are even in: ``"two_theta"``, ``"q"`` or ``"d"``. Whichever it is, the dim of the
        result is ``two_theta`` and rises.
    azimuth_range
        First and last azimuth χ in deg of a sector to integrate, from the horizontal x axis to y; -30 to 30
        and 330 to 390 are the same.
    dark
        Image without beam, of the same exposure, subtracted: images, whose mean is taken, an array or a file.
    flat
        Sensitivity of the pixels, in the same forms; 0 or NaN: the pixel is not used.
    read_noise
        Standard deviation of a pixel without light in one exposure, in the units of the images.
    sensor
        μt of the sensor layer at normal incidence, or what it is: ``"CsI 500 um"`` (see
        `xrd.sensor_absorption`). None: not corrected.
    monitor
        Name of the coordinate every frame is divided by (``"i0"``, ``"exposure"``). Its own error is in
        none of the errors, as it is common to all bins of a frame.
    clip
        Reject pixels farther than so many standard deviations from the mean of their bin; 5 is usual.
    trim
        Part of the pixels of a bin to leave out at either end; 0.1 is usual.

    Returns
    -------
    Dataset of kind ``xrd.patterns``
        ``intensity`` (frame, two_theta): mean signal per pixel at normal incidence, in the units of the
        images (over those of the monitor), with ``intensity_errors``; ``coverage`` (frame, two_theta): live
        pixels in the bin; the coordinates ``two_theta`` (centres, deg), ``q`` (1/angstrom), and those of
        the frames. With splitting ``correlation`` (two_theta): of the error of the bin with that of the
        next. With `clip` or `trim` ``rejected`` (frame, two_theta): the part of the live pixels that is not
        in the mean. A bin without live pixel is NaN with coverage 0; with azimuthal errors so is the
        intensity of a bin of one pixel.

    Raises
    ------
    CalibrationError
        The geometry is that of another detector, or the errors need a gain.
    ConfigError
        A parameter is not possible: the mask is that of another detector, or leaves no pixel in the range.
    DataFileError
        A frame has no live pixel in the range, or its monitor is not above 0.
    SchemaError
        `images` are no images, or lack the monitor.

    Notes
    -----
    Not used are, frame by frame: pixels that are not finite; negative ones of counts or photons (detectors
    mark gaps and dead pixels so); the largest number of an unsigned integer type (saturated, or marked bad).
    """
    given = dict(locals())
    frames = frames_of(images)
    sector = () if azimuth_range is None else azimuth_range
    kernel, means_of_bins = summed(frames, sector, given)
    return results.patterns(frames, kernel, means_of_bins, given)


@dataclass(eq=False)
class Integrator:
    """Integration with settled parameters, for frame after frame; they are those of `integrate`.

    Calling it is calling `integrate`: same result, same history. It may be called from several threads.
    """

    geometry: Geometry | AzimuthalIntegrator | str | os.PathLike[str]
    bins: int = 3000
    splitting: Splitting = "none"
    mask: Image | xr.DataArray | str | os.PathLike[str] | None = None
    polarization: float | Literal[False] | None = 0.99
    solid_angle: bool = True
    error_model: ErrorModel = "poisson"
    two_theta_range: Range | None = None
    gain: float | None = None
    saturation: float | None = None
    mask_orientation: int | None = None
    axis: Axis = "two_theta"
    q_range: Range | None = None
    d_range: Range | None = None
    azimuth_range: Range | None = None
    dark: xr.Dataset | Image | str | os.PathLike[str] | None = None
    flat: xr.Dataset | Image | str | os.PathLike[str] | None = None
    read_noise: float | None = None
    sensor: float | str | None = None
    monitor: str | None = None
    clip: float | None = None
    trim: float | None = None

    def __post_init__(self) -> None:
        vars(self).update({name: settled(value) for name, value in checked(vars(self)).items()})

    def __call__(self, images: xr.Dataset | xr.DataArray | Image) -> xr.Dataset:
        """Return the patterns of `images`; see `integrate`."""
        return integrate(images, **vars(self))


def summed(frames: Frames, sectors: tuple[float, ...], parameters: dict[str, Any]) -> tuple[Kernel, Means]:
    """Return the kernel, and the means of the bins of all sectors, of frames.

    Raises
    ------
    CalibrationError, ConfigError, DataFileError, SchemaError
        As `integrate`.
    """
    geometry = parameters["geometry"]
    noise = noise_of(frames, parameters)
    frames.check(geometry)
    kernel = kernel_of(setup_of(parameters, frames.counts.shape[1:], sectors))
    found = means(kernel, frames, noise, parameters)
    empty = ~(found.coverage > 0).any(axis=1)
    if empty.any():
        name = frames.name(int(np.argmax(empty)))
        raise DataFileError(name, "has no live pixel in the range", "check the mask and the 2θ range")
    return kernel, found
