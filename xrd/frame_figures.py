"""Figures of detector frames: the image with rings and mask, and the cake."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr
from matplotlib.colors import ListedColormap, PowerNorm

from beamline import plotting
from xrd.figures import edges_of, two_theta_axis
from xrd.frames import Image, frames_of
from xrd.parameters import as_geometry
from xrd.pixels import azimuths, positions
from xrd.sources import Source, mask_of
from xrd.sums import limits

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from numpy.typing import NDArray
    from pyFAI.integrator.azimuthal import AzimuthalIntegrator

    from calibration.geometry import Geometry

MOST_RINGS = 12
"""More rings than these hide the image."""
_MOST_PIXELS = 1200
"""A column of a journal shows no more."""


def frame(
    images: xr.Dataset | Image,
    geometry: Geometry | AzimuthalIntegrator | str | os.PathLike[str],
    mask: Image | xr.DataArray | str | os.PathLike[str] | None = None,
    rings: Sequence[float] | None = None,
    index: int = 0,
) -> Figure:
    """Draw a frame as it is stored, with the rings where the geometry puts them and the mask in colour.

    Lines are drawn on one half of the rings; where the geometry is right, they go on as the rings of the
    image on the other half. Pixels that did not measure are white.

    Parameters
    ----------
    images
        As `xrd.integrate` takes them.
    geometry
        Where the pixels are.
    mask
        Pixels that are not used, as in `xrd.integrate`.
    rings
        2θ in deg of rings to draw; by default the first `MOST_RINGS` of the calibrant the geometry names.
    index
        Which frame.
    """
    frames, geometry = frames_of(images), as_geometry(geometry)
    frames.check(geometry)
    counts = frames.counts[index]
    shape = counts.shape
    low, top = limits(counts.dtype, frames.is_counts, None)
    live = (counts >= low) & (counts <= top)
    signal = np.where(live, counts, np.nan).astype(np.float64)
    hidden = mask_of(Source(_plain(mask)), shape, geometry, None)
    step = max(-(-max(shape) // _MOST_PIXELS), 1)
    extent = (0, shape[1], shape[0], 0)
    shown = signal[live & ~hidden] if hidden is not None else signal[live]
    darkest, brightest = np.percentile(shown, [1.0, 99.7]) if shown.size else (0.0, 1.0)
    with plotting.style():
        figure, axes = plotting.new_figure(height=plotting.ONE_COLUMN * 0.86 * shape[0] / shape[1] + 0.25)
        drawn = axes.imshow(
            _thinned(signal, step),
            extent=extent,
            cmap=plotting.colormap(),
            norm=PowerNorm(0.5, vmin=max(darkest, 0.0), vmax=max(brightest, darkest + 1e-12)),
        )
        if hidden is not None and hidden.any():
            cover = np.ma.masked_equal(hidden[::step, ::step].astype(int), 0)
            axes.imshow(cover, extent=extent, cmap=ListedColormap([plotting.COLORS[1]]), alpha=0.45)
        angles = positions(geometry, shape, "two_theta")[::step, ::step]
        levels = sorted(angle for angle in _rings(geometry, rings) if angles.min() < angle < angles.max())
        angles[azimuths(geometry, shape)[::step, ::step] < 0] = np.nan
        if levels:
            x, y = np.arange(0, shape[1], step) + 0.5, np.arange(0, shape[0], step) + 0.5
            axes.contour(x, y, angles, levels, colors="white", linewidths=0.5, linestyles="dashed")
        axes.set_xlabel("x (pixel)")
        axes.set_ylabel("y (pixel)")
        bar = figure.colorbar(drawn, ax=axes, fraction=0.045, pad=0.02, aspect=30, extend="max")
        bar.set_label(f"signal ({plotting.pretty_unit(frames.units)})")
        bar.ax.minorticks_off()
    return figure


def cake(ds: xr.Dataset, index: int = 0) -> Figure:
    """Draw the intensity of a cake against 2θ and azimuth; empty bins are white.

    Parameters
    ----------
    ds
        Dataset of kind ``xrd.cakes``.
    index
        Which frame.
    """
    one = ds.isel(frame=index) if "frame" in ds.dims else ds
    intensity = one["intensity"]
    seen = np.isfinite(intensity.values).any(axis=0)
    low, high = map(float, np.nanpercentile(intensity, [2.0, 99.5]))
    with plotting.style():
        figure, axes = plotting.new_figure(height=0.75 * plotting.ONE_COLUMN)
        mesh = axes.pcolormesh(
            edges_of(one["two_theta"].values),
            edges_of(one["azimuth"].values),
            np.ma.masked_invalid(intensity.values),
            cmap=plotting.colormap(),
            norm=PowerNorm(0.5, vmin=max(low, 0.0), vmax=max(high, low + 1e-12)),
            rasterized=True,
        )
        two_theta = one["two_theta"].values[seen] if seen.any() else one["two_theta"].values
        axes.set_xlim(float(two_theta.min()), float(two_theta.max()))
        two_theta_axis(axes, one)
        axes.set_ylabel("azimuth χ (°)")
        if np.ptp(one["azimuth"].values) > 180:
            axes.set_yticks([-180, -90, 0, 90, 180])
        axes.set_ylim(*edges_of(one["azimuth"].values)[[0, -1]])
        bar = figure.colorbar(mesh, ax=axes, fraction=0.045, pad=0.02, aspect=30, extend="both")
        bar.set_label(plotting.axis_label(intensity, "intensity"))
        bar.ax.minorticks_off()
    return figure


def _plain(mask: Any) -> Any:
    if mask is None or isinstance(mask, os.PathLike):
        return mask
    if isinstance(mask, str):
        from pathlib import Path

        return Path(mask)
    return np.asarray(mask)


def _thinned(signal: NDArray[np.float64], step: int) -> NDArray[np.float64]:
    """Return the largest of every `step` pixels along both axes: thin rings stay whole."""
    if step == 1:
        return signal
    rows, columns = (length // step * step for length in signal.shape)
    blocks = signal[:rows, :columns].reshape(rows // step, step, columns // step, step)
    with np.errstate(all="ignore"):
        return np.asarray(np.fmax.reduce(np.fmax.reduce(blocks, axis=3), axis=1))


def _rings(geometry: Geometry, rings: Sequence[float] | None) -> list[float]:
    if rings is not None:
        return [float(angle) for angle in rings]
    if not geometry.calibrant:
        return []
    from pyFAI.calibrant import get_calibrant

    try:
        calibrant = get_calibrant(geometry.calibrant)
    except KeyError:  # known by a name pyFAI has not
        return []
    calibrant.wavelength = geometry.wavelength * 1e-10
    return [float(np.degrees(angle)) for angle in calibrant.get_2th()[:MOST_RINGS]]
