r"""Azimuthal integration: from detector frames to intensity against 2θ.

A pixel :math:`i` with signal :math:`s_i` and normalisation
:math:`n_i = Ω_i P_i` (relative solid angle and polarisation) lies in bin :math:`b` with weight
:math:`c_{ib}`: 1 or 0 without splitting, else the part of the pixel inside the bin. Then

.. math:: I_b = \frac{\sum_i c_{ib} s_i}{\sum_i c_{ib} n_i}, \qquad
          σ^2(I_b) = \frac{\sum_i c_{ib}^2 σ_i^2}{\left(\sum_i c_{ib} n_i\right)^2}

(J. Kieffer et al., J. Synchrotron Rad. 27 (2020) 558). The weights are those of the solid angle, so that a
pixel that saw less counts for less and the mean is unbiased for Poisson counts.

* Solid angle: :math:`Ω = \cos^3 α`, α the angle of incidence on the flat detector, 1 at its foot.
* Polarisation: :math:`P = ½ (1 + \cos^2 2θ - p \cos 2χ \sin^2 2θ)`, p = 1 for a horizontal electric field,
  χ from the horizontal axis (R. Kahn et al., J. Appl. Cryst. 15 (1982) 330).
* Poisson errors: :math:`σ_i^2 = g s_i / m`, with the gain g = 1 for counts, in a frame that is the mean of m
  exposures. A pixel without a count adds no variance; a bin with the signal of less than one photon has the
  variance of one, :math:`(g/m)^2 \sum_i c_{ib}^2 / \sum_i c_{ib}`.
* Azimuthal errors: :math:`σ_i^2 = (s_i - n_i I_b)^2`, the scatter of the pixels of the bin about their mean,
  times n/(n-1) for the n pixels. It needs no gain, but takes slope and texture within the bin for noise.

Splitting spreads a pixel over several bins, whose errors are then correlated (by half and more where the
bins are as fine as pixels); the errors are right for each bin, not for sums or fits over them.
"""

from __future__ import annotations

import functools
import inspect
import os
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, ParamSpec, TypeVar, cast

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from beamline import provenance, units
from beamline.errors import CalibrationError, ConfigError, DataFileError, SchemaError
from calibration.geometry import Geometry
from xrd.kernel import Kernel, StaticMask, mean
from xrd.masks import read_mask
from xrd.parameters import checked

if TYPE_CHECKING:
    from pyFAI.integrator.azimuthal import AzimuthalIntegrator

P = ParamSpec("P")
R = TypeVar("R")

Image = NDArray[Any]
Splitting = Literal["none", "bbox", "full"]
ErrorModel = Literal["poisson", "azimuthal"]


def _plain_arguments(function: Callable[P, R]) -> Callable[P, R]:
    """Check the parameters, and record one form of those that can be given in several."""
    signature = inspect.signature(function)

    @functools.wraps(function)
    def with_plain_arguments(*args: P.args, **kwargs: P.kwargs) -> R:
        arguments = signature.bind(*args, **kwargs).arguments
        return cast(R, cast(Any, function)(**checked(arguments)))

    return with_plain_arguments


@_plain_arguments
@provenance.step("xrd.integrate", returns="xrd.patterns", framewise=True)
def integrate(
    images: xr.Dataset | xr.DataArray | Image,
    geometry: Geometry | AzimuthalIntegrator | str | os.PathLike[str],
    bins: int = 3000,
    splitting: Splitting = "none",
    mask: Image | str | os.PathLike[str] | None = None,
    polarization: float | Literal[False] | None = 0.99,
    solid_angle: bool = True,
    error_model: ErrorModel = "poisson",
    two_theta_range: tuple[float, float] | None = None,
    gain: float | None = None,
    saturation: float | None = None,
    mask_orientation: int | None = None,
) -> xr.Dataset:
    """Integrate detector frames azimuthally.

    Parameters
    ----------
    images
        Dataset of kind ``images``, its ``counts``, or a bare array (y, x) or (frame, y, x), taken as counts.
        Of frames that are means, ``averaged`` (frame) says of how many exposures.
    geometry
        Where the pixels are: a `Geometry`, a file of one, or pyFAI's integrator.
    bins
        Number of bins, evenly spaced in 2θ.
    splitting
        How a pixel is shared between bins: ``"none"`` (by its centre), ``"bbox"`` (evenly over its extent in
        2θ), ``"full"`` (by its corners).
    mask
        Pixels never to be used: an array (y, x) as the image is stored, nonzero = masked, or a mask file.
    polarization
        Polarisation factor p of the beam, 1 for a horizontal electric field; False or None: not
        corrected.
    solid_angle
        Whether to correct for the solid angle of the pixels.
    error_model
        ``"poisson"``, or ``"azimuthal"`` for data whose gain is not known.
    two_theta_range
        First and last edge of the bins in deg; by default those of the pixel centres.
    gain
        Signal of one photon, in the units of the images. Needed for Poisson errors of ADU; 1 for counts.
    saturation
        Signal from which on a pixel is not used.
    mask_orientation
        Orientation in which a mask file holds the image, as `Geometry` counts it; see `xrd.read_mask`.

    Returns
    -------
    Dataset of kind ``xrd.patterns``
        ``intensity`` (frame, two_theta): mean signal per pixel at normal incidence, in the units of the
        images, with ``intensity_errors``; ``coverage`` (frame, two_theta): live pixels in the bin; the
        coordinates ``two_theta`` (centres, deg), ``q`` (1/angstrom), and those of the frames. A bin without
        live pixel is NaN with coverage 0; with azimuthal errors so is the intensity of a bin of one pixel.

    Raises
    ------
    CalibrationError
        The geometry is that of another detector, or the errors need a gain.
    ConfigError
        A parameter is not possible: the mask is that of another detector, or leaves no pixel in the range.
    DataFileError
        A frame has no live pixel in the range.
    SchemaError
        `images` are no images.

    Notes
    -----
    Not used are, frame by frame: pixels that are not finite; negative ones of counts or photons (detectors
    mark gaps and dead pixels so); the largest number of an unsigned integer type (saturated, or marked bad).
    """
    frames = _frames(images)
    variance_per_signal = _variance_per_signal(frames, error_model, gain)
    shape = (frames.counts.shape[1], frames.counts.shape[2])
    assert isinstance(geometry, Geometry)  # noqa: S101 - _plain_arguments has seen to it
    geometry.shape_of(shape, frames.name(0))
    _check_pixels(frames, geometry)
    static = StaticMask(_mask(mask, shape, geometry, mask_orientation))
    kernel = _kernel(geometry, shape, bins, splitting, static, polarization, solid_angle, two_theta_range)
    intensity = np.full((len(frames.counts), bins), np.nan)
    errors = np.full_like(intensity, np.nan)
    coverage = np.zeros_like(intensity)
    for i, counts in enumerate(frames.counts):
        signal = _live_signal(counts, frames.is_counts, saturation)
        variance = None if variance_per_signal is None else float(variance_per_signal[i])
        sums = kernel.sums(signal, variance)
        if not sums.pixels.any():
            raise DataFileError(
                frames.name(i), "has no live pixel in the range", "check the mask and the 2θ range"
            )
        intensity[i], errors[i], coverage[i] = mean(sums, variance)
    return _patterns(frames, geometry, kernel, intensity, errors, coverage).assign_attrs(
        error_model=error_model
    )


@dataclass(eq=False)
class Integrator:
    """Integration with settled parameters, for frame after frame; they are those of `integrate`.

    Calling it is calling `integrate`: same result, same history. It may be called from several threads.
    """

    geometry: Geometry | AzimuthalIntegrator | str | os.PathLike[str]
    bins: int = 3000
    splitting: Splitting = "none"
    mask: Image | str | os.PathLike[str] | None = None
    polarization: float | Literal[False] | None = 0.99
    solid_angle: bool = True
    error_model: ErrorModel = "poisson"
    two_theta_range: tuple[float, float] | None = None
    gain: float | None = None
    saturation: float | None = None
    mask_orientation: int | None = None

    def __post_init__(self) -> None:
        vars(self).update(checked(vars(self)))

    def __call__(self, images: xr.Dataset | xr.DataArray | Image) -> xr.Dataset:
        """Return the patterns of `images`; see `integrate`."""
        return integrate(images, **vars(self))


class _Frames(NamedTuple):
    """The images and what goes with each."""

    counts: Image
    units: str
    coords: dict[str, xr.DataArray]
    pixel_size: tuple[float, float] | None = None

    @property
    def is_counts(self) -> bool:
        """Whether the numbers are events, not converter units."""
        return units.compatible(self.units, "count") or units.compatible(self.units, "photon")

    def name(self, index: int) -> str:
        if "file" in self.coords:
            return f"{np.atleast_1d(self.coords['file'].values)[index]} (frame {index})"
        return f"frame {index}"


def _frames(images: xr.Dataset | xr.DataArray | Image) -> _Frames:
    if isinstance(images, xr.DataArray):
        images = images.to_dataset(name="counts")
    if isinstance(images, xr.Dataset):
        if "counts" not in images or images["counts"].dims not in (("frame", "y", "x"), ("y", "x")):
            raise SchemaError("images", "has no variable counts (frame, y, x)", "read it with beamline.read")
        counts = images["counts"]
        if "units" not in counts.attrs:
            raise SchemaError("counts", "has no units", 'set attrs["units"] to "count" or "ADU"')
        if counts.ndim == 2:  # what is known of the one frame
            scalars = {k: c.expand_dims("frame") for k, c in counts.coords.items() if c.ndim == 0}
            counts = counts.expand_dims("frame").assign_coords(scalars)
        coords = {str(k): c for k, c in counts.coords.items() if c.dims == ("frame",)}
        height, width = (images.attrs.get(f"{axis}_pixel_size") for axis in "yx")
        pixel_size = (float(height), float(width)) if height and width else None
        return _Frames(_series(counts.values), str(counts.attrs["units"]), coords, pixel_size)
    return _Frames(_series(images), "count", {})


def _series(images: Any) -> Image:
    """Return an array (frame, y, x) of numbers."""
    if isinstance(images, list | tuple) and any(isinstance(item, xr.Dataset) for item in images):
        raise SchemaError("images", "is a list of Datasets", "integrate them one by one")
    try:
        values = np.asarray(images)
    except ValueError as error:
        raise SchemaError("images", f"is no array ({error})", "give numbers (y, x)") from error
    if values.ndim not in (2, 3) or values.dtype.kind not in "iuf":
        raise SchemaError(
            "image", f"is of shape {values.shape} and type {values.dtype}", "give numbers (y, x)"
        )
    if not values.size:
        raise SchemaError(
            "images", f"holds no pixel (its shape is {values.shape})", "give at least one frame"
        )
    return values if values.ndim == 3 else values[np.newaxis]


def _check_pixels(frames: _Frames, geometry: Geometry) -> None:
    """Refuse images whose header states other pixels than the geometry has: another binning or detector."""
    if frames.pixel_size and not np.allclose(frames.pixel_size, geometry.pixel_size, rtol=0.01):
        image, own = (
            " x ".join(f"{size * 1e6:g}" for size in sizes)
            for sizes in (frames.pixel_size, geometry.pixel_size)
        )
        raise CalibrationError(
            frames.name(0),
            f"has pixels of {image} um, the geometry is that of {own} um",
            "use the geometry of this detector and binning",
        )


def _live_signal(counts: Image, is_counts: bool, saturation: float | None) -> NDArray[np.float32]:
    """Return the signal, NaN where the pixel did not measure."""
    signal = np.ascontiguousarray(counts, dtype=np.float32)
    signal = signal.copy() if np.shares_memory(signal, counts) else signal
    for dead in _dead(counts, is_counts, saturation):
        np.copyto(signal, np.nan, where=dead)
    return signal


def _dead(counts: Image, is_counts: bool, saturation: float | None) -> Iterator[NDArray[np.bool_]]:
    if counts.dtype.kind == "f":
        yield ~np.isfinite(counts)
    if counts.dtype.kind == "u":
        yield counts == np.iinfo(counts.dtype).max
    elif is_counts:
        yield counts < 0
    if saturation is not None:
        yield counts >= saturation


_one_set_up = threading.Lock()


@functools.lru_cache(maxsize=2)
def _cached_kernel(*settings: Any) -> Kernel:
    return Kernel(*settings)


def _kernel(*settings: Any) -> Kernel:
    """Return the kernel for these settings; its set-up takes seconds, so the last two are kept."""
    with _one_set_up:
        return _cached_kernel(*settings)


def _patterns(
    frames: _Frames,
    geometry: Geometry,
    kernel: Kernel,
    intensity: NDArray[np.float64],
    errors: NDArray[np.float64],
    coverage: NDArray[np.float64],
) -> xr.Dataset:
    dims = ("frame", "two_theta")
    q = 4 * np.pi / geometry.wavelength * np.sin(np.radians(kernel.two_theta) / 2)
    attrs = {"units": frames.units, "long_name": "mean signal per pixel"}
    return xr.Dataset(
        {
            "intensity": (dims, intensity, attrs),
            "intensity_errors": (dims, errors),
            "coverage": (dims, coverage),
        },
        coords={"two_theta": kernel.two_theta, "q": ("two_theta", q), **frames.coords},
        attrs={
            "wavelength": geometry.wavelength,
            "wavelength_units": "angstrom",
            "polarization_corrected": int(kernel.polarization is not None),
            **({} if kernel.polarization is None else {"polarization_factor": kernel.polarization}),
            "solid_angle_corrected": int(kernel.solid_angle),
            "splitting": kernel.splitting,
            "method": kernel.method,
        },
    )


def _variance_per_signal(frames: _Frames, error_model: str, gain: float | None) -> NDArray[np.float64] | None:
    """Return variance / signal of every frame; None where it is to be taken from the scatter."""
    if error_model == "azimuthal":
        return None
    if gain is None and not frames.is_counts:
        raise CalibrationError(
            frames.name(0),
            f"is in {frames.units}: without the gain its Poisson errors are not known",
            'give gain= (signal per photon), or error_model="azimuthal"',
        )
    exposures = np.ones(len(frames.counts))
    if "averaged" in frames.coords:
        exposures = frames.coords["averaged"].values.astype(np.float64)
        if not (exposures >= 1).all():
            raise SchemaError("averaged", f"is {exposures.min():g}", "it counts exposures, from 1")
    return (1.0 if gain is None else gain) / exposures


def _mask(
    mask: Any, shape: tuple[int, int], geometry: Geometry, mask_orientation: int | None
) -> NDArray[np.bool_] | None:
    if mask is None:
        return None
    if isinstance(mask, os.PathLike):
        orientation = mask_orientation
        # Dioptas writes the mask as it shows the image, which is how its geometry counts the pixels.
        if orientation is None and Path(mask).suffix.lower() == ".mask":
            orientation = geometry.orientation
        try:
            return read_mask(mask, shape, orientation or 3)
        except DataFileError as error:
            raise ConfigError("mask", f"{error.subject} {error.problem}", error.remedy) from error
    array = np.asarray(mask)
    if array.shape != shape:
        raise ConfigError("mask", f"is of shape {array.shape}, the image of {shape}", "nonzero = masked")
    return np.asarray(array != 0)
