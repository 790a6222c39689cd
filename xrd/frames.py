"""Detector frames as the integration takes them, whatever they were given as."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from beamline import units
from beamline.errors import CalibrationError, DataFileError, SchemaError

if TYPE_CHECKING:
    from calibration.geometry import Geometry

Image = NDArray[Any]


class Frames(NamedTuple):
    """The images (frame, y, x) and what goes with each."""

    counts: Image
    units: str
    coords: dict[str, xr.DataArray]
    pixel_size: tuple[float, float] | None = None

    @property
    def is_counts(self) -> bool:
        """Whether the numbers are events, not converter units."""
        return units.compatible(self.units, "count") or units.compatible(self.units, "photon")

    @property
    def exposures(self) -> NDArray[np.float64]:
        """Exposures every frame is the mean of.

        Raises
        ------
        SchemaError
            There are less than one.
        """
        if "averaged" not in self.coords:
            return np.ones(len(self.counts))
        exposures = self.coords["averaged"].values.astype(np.float64)
        if not (exposures >= 1).all():
            raise SchemaError("averaged", f"is {exposures.min():g}", "it counts exposures, from 1")
        return exposures

    def name(self, index: int) -> str:
        """Return what an error calls a frame."""
        if "file" in self.coords:
            return f"{np.atleast_1d(self.coords['file'].values)[index]} (frame {index})"
        return f"frame {index}"

    def monitor(self, name: str) -> xr.DataArray:
        """Return what the intensity of every frame is to be divided by.

        Raises
        ------
        DataFileError
            It is not above 0 in some frame: the beam was off, or the monitor was.
        SchemaError
            The frames have no such coordinate, or it has no units.
        """
        if name not in self.coords or self.coords[name].dtype.kind not in "iuf":
            known = ", ".join(key for key, c in self.coords.items() if c.dtype.kind in "iuf") or "none"
            raise SchemaError("images", f"have no monitor {name!r}", f"their numbers: {known}")
        monitor = self.coords[name]
        if "units" not in monitor.attrs:
            raise SchemaError(name, "has no units", 'set attrs["units"]')
        bad = ~(monitor.values > 0)
        if bad.any():
            index = int(np.argmax(bad))
            raise DataFileError(
                self.name(index), f"has a {name} of {monitor.values[index]:g}", "leave it out, or the monitor"
            )
        return monitor

    def check(self, geometry: Geometry) -> None:
        """Refuse images of another size, or whose header states other pixels, than the geometry has.

        Raises
        ------
        CalibrationError
            They are of another detector or binning.
        """
        geometry.shape_of(self.counts.shape[1:], self.name(0))
        if self.pixel_size and not np.allclose(self.pixel_size, geometry.pixel_size, rtol=0.01):
            image, own = (
                " x ".join(f"{size * 1e6:g}" for size in sizes)
                for sizes in (self.pixel_size, geometry.pixel_size)
            )
            raise CalibrationError(
                self.name(0),
                f"has pixels of {image} um, the geometry is that of {own} um",
                "use the geometry of this detector and binning",
            )

    def check_exposure(self, dark: float) -> None:
        """Refuse a dark image of another exposure time (s; NaN: not stated).

        Raises
        ------
        CalibrationError
            A frame states another one.
        """
        if "exposure" not in self.coords:
            return
        off = np.abs(self.coords["exposure"].values / dark - 1)
        if (off > 0.01).any():
            index = int(np.argmax(off > 0.01))
            raise CalibrationError(
                self.name(index),
                f"was exposed for {self.coords['exposure'].values[index]:g} s, the dark image for {dark:g} s",
                "use a dark image of the same exposure",
            )


def frames_of(images: xr.Dataset | xr.DataArray | Image) -> Frames:
    """Return images as frames; bare arrays are counts.

    Raises
    ------
    SchemaError
        They are no images.
    """
    if isinstance(images, xr.DataArray):
        images = images.to_dataset(name="counts")
    if not isinstance(images, xr.Dataset):
        return Frames(_series(images), "count", {})
    if "counts" not in images or images["counts"].dims not in (("frame", "y", "x"), ("y", "x")):
        raise SchemaError("images", "has no variable counts (frame, y, x)", "read it with beamline.read")
    counts = images["counts"]
    if "units" not in counts.attrs:
        raise SchemaError("counts", "has no units", 'set attrs["units"] to "count" or "ADU"')
    coords = {str(k): c for k, c in counts.coords.items() if c.dims == ("frame",)}
    if counts.ndim == 2:  # what is known of the one frame
        coords = {str(k): c.expand_dims("frame") for k, c in counts.coords.items() if c.ndim == 0}
    height, width = (images.attrs.get(f"{axis}_pixel_size") for axis in "yx")
    pixel_size = (float(height), float(width)) if height and width else None
    values = _series(counts.values)
    if "counts_mask" in images:
        values = _masked(values, images["counts_mask"].values)
    return Frames(values, str(counts.attrs["units"]), coords, pixel_size)


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
    return _plain(values if values.ndim == 3 else values[np.newaxis])


def _plain(values: Image) -> Image:
    """Return numbers the compiled loops know: one after the other, in the machine's order, none too wide."""
    dtype = values.dtype.newbyteorder("=")
    if dtype.kind == "f" and dtype.itemsize not in (4, 8):
        dtype = np.dtype(np.float32 if dtype.itemsize < 4 else np.float64)
    if dtype == np.uint64:  # sums are of 64 bits with a sign
        dtype = np.dtype(np.float64)
    return np.ascontiguousarray(values, dtype)


def _masked(values: Image, mask: NDArray[Any]) -> Image:
    """Return images with NaN in pixels that are masked in their own frame."""
    if not mask.any():
        return values
    # Numbers of 32 bits need more digits than a float of 32 has.
    kind = np.float32 if values.dtype.itemsize <= 2 or values.dtype == np.float32 else np.float64
    marked = values.astype(kind)
    if values.dtype.kind == "u":
        marked[values == np.iinfo(values.dtype).max] = np.nan
    marked[np.broadcast_to(mask.reshape(-1, *values.shape[1:]) != 0, values.shape)] = np.nan
    return marked
