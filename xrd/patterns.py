"""The Datasets integration returns, with what was done to them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from beamline import units
from xrd.pixels import two_theta_of

if TYPE_CHECKING:
    from xrd.frames import Frames
    from xrd.kernel import Kernel
    from xrd.means import Means


def patterns(frames: Frames, kernel: Kernel, means: Means, parameters: dict[str, Any]) -> xr.Dataset:
    """Return the means of bins along 2θ as a Dataset of kind ``xrd.patterns``."""
    return _dataset(frames, kernel, means, parameters, (len(frames.counts),), ("frame", "two_theta"))


def cakes(frames: Frames, kernel: Kernel, means: Means, parameters: dict[str, Any]) -> xr.Dataset:
    """Return the means of bins along azimuth and 2θ as a Dataset of kind ``xrd.cakes``."""
    edges = np.asarray(kernel.setup.sectors)
    lengths = (len(frames.counts), len(edges) - 1)
    ds = _dataset(frames, kernel, means, parameters, lengths, ("frame", "azimuth", "two_theta"))
    return ds.assign_coords(azimuth=(edges[1:] + edges[:-1]) / 2)


def _dataset(
    frames: Frames,
    kernel: Kernel,
    means: Means,
    parameters: dict[str, Any],
    lengths: tuple[int, ...],
    dims: tuple[str, ...],
) -> xr.Dataset:
    setup = kernel.setup
    intensity, errors = means.intensity, means.errors
    unit, said = frames.units, "mean signal per pixel"
    coords = dict(frames.coords)
    if parameters["monitor"] is not None:
        monitor = frames.monitor(parameters["monitor"])
        intensity = intensity / monitor.values[:, np.newaxis]
        errors = errors / monitor.values[:, np.newaxis]
        unit, said = units.quotient(unit, monitor.attrs["units"]), f"{said} over {parameters['monitor']}"
        coords["monitor"] = xr.DataArray(
            monitor.values, dims="frame", attrs={"units": monitor.attrs["units"]}
        )
    wavelength = setup.geometry.wavelength
    two_theta = two_theta_of(kernel.positions, setup.axis, wavelength)
    q = 4 * np.pi / wavelength * np.sin(np.radians(two_theta) / 2)
    shaped = (*lengths, setup.bins)
    variables = {
        "intensity": (dims, intensity.reshape(shaped), {"units": unit, "long_name": said}),
        "intensity_errors": (dims, errors.reshape(shaped)),
        "coverage": (dims, means.coverage.reshape(shaped)),
    }
    if means.rejected is not None:
        variables["rejected"] = (dims, means.rejected.reshape(shaped))
    if kernel.correlation is not None:
        variables["correlation"] = (dims[1:], kernel.correlation.reshape(shaped[1:]))
    if setup.axis == "d":
        coords["d"] = xr.DataArray(-kernel.positions, dims="two_theta")
    attrs = {
        "wavelength": wavelength,
        "wavelength_units": "angstrom",
        "polarization_corrected": int(setup.polarization is not None),
        **({} if setup.polarization is None else {"polarization_factor": setup.polarization}),
        "solid_angle_corrected": int(setup.solid_angle),
        "sensor_corrected": int(setup.absorption is not None),
        "flat_corrected": int(parameters["flat"] is not None),
        "dark_corrected": int(parameters["dark"] is not None),
        "axis": setup.axis,
        "splitting": setup.splitting,
        "error_model": parameters["error_model"],
    }
    return xr.Dataset(variables, {"two_theta": two_theta, "q": ("two_theta", q), **coords}, attrs)
