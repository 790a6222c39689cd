"""Figures of a calibration: the image with its rings, and how far each sector of them is off."""

from __future__ import annotations

import math
import os
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr
from matplotlib.colors import PowerNorm

from beamline import plotting
from calibration import flat_detector
from calibration.calibrants import find_calibrant
from calibration.frames import frame_of
from calibration.geometry import Geometry, judge

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

DIVERGING = "RdBu_r"
"""Colour map of deviations, white at none."""


def sectors(ds: xr.Dataset) -> Figure:
    """Draw how far the rings are off in each sector.

    Parameters
    ----------
    ds
        Dataset of kind ``calibration.sectors``.
    """
    with plotting.style():
        figure, axes = plotting.new_figure(height=0.75 * plotting.ONE_COLUMN)
        _draw_sectors(figure, axes, ds)
    return figure


def rings(
    image: Any,
    geometry: Geometry,
    calibrant: str | os.PathLike[str] | None = None,
    mask: Any = None,
) -> Figure:
    """Draw an image with the rings where a geometry puts them, beside how far each sector is off.

    The image is drawn as the geometry holds it, with masked pixels grey. The right half of the first rings is
    marked, so that the left half shows them as they are.

    Parameters
    ----------
    image, mask
        As `calibration.geometry.calibrate` takes them.
    geometry
        Good or bad: it is not refused.
    calibrant
        By default the geometry's.
    """
    frame = frame_of(image, geometry.pixel_size, mask, geometry.orientation)
    powder = find_calibrant(calibrant or geometry.calibrant or "CeO2", geometry.wavelength)
    judged = judge(image, geometry, powder.name if calibrant is None else calibrant, mask, limit=None)
    with plotting.style():
        figure, (left, right) = plotting.new_figure(
            columns=2, width=plotting.TWO_COLUMNS, height=0.43 * plotting.TWO_COLUMNS, width_ratios=(1.0, 1.1)
        )
        low, high = np.percentile(frame.signal[frame.live], [1.0, 99.7])
        shown = left.imshow(
            np.ma.masked_array(frame.signal, ~frame.live),
            cmap=_with_grey(),
            norm=PowerNorm(0.5, vmin=float(low), vmax=max(float(high), float(low) + 1e-12)),
            origin="upper",
            extent=(0, frame.signal.shape[1], frame.signal.shape[0], 0),
            rasterized=True,
        )
        _draw_rings(left, geometry, frame.signal.shape, judged)
        left.set_xlabel("x (px)")
        left.set_ylabel("y (px)")
        bar = figure.colorbar(shown, ax=left, fraction=0.045, pad=0.02, extend="both")
        bar.set_label("signal")
        bar.ax.minorticks_off()
        _draw_sectors(figure, right, judged)
        plotting.panel_label(left, "a")
        plotting.panel_label(right, "b")
    return figure


def _draw_rings(axes: Axes, geometry: Geometry, shape: tuple[int, ...], judged: xr.Dataset) -> None:
    """Draw the right halves of the rings that were judged."""
    step = max(1, max(shape) // 500)
    rows = np.arange(0, shape[0], step) + 0.5
    columns = np.arange(0, shape[1], step) + 0.5
    y = np.asarray(rows[:, None] * geometry.pixel_size[0], dtype=np.float64)
    x = np.asarray(columns[None, :] * geometry.pixel_size[1], dtype=np.float64)
    angle = np.degrees(flat_detector.two_theta(geometry.detector, y, x))
    center = geometry.center
    angle = np.where(columns[None, :] >= center[0], angle, np.nan)
    axes.contour(
        columns, rows, angle, levels=np.unique(judged["two_theta"].values), colors="#56B4E9", linewidths=0.5
    )
    if 0 <= center[0] <= shape[1] and 0 <= center[1] <= shape[0]:
        axes.plot(*center, "+", color="#D55E00", ms=6, mew=1.0)
    axes.set_xlim(0, shape[1])
    axes.set_ylim(shape[0], 0)


def _draw_sectors(figure: Figure, axes: Axes, ds: xr.Dataset) -> None:
    """Draw the map of deviations, in mdeg, ring by ring."""
    mdeg = 1e3 * ds["deviation"].values
    found = np.abs(mdeg[np.isfinite(mdeg)])
    limit = max(float(np.percentile(found, 97)) if found.size else 1.0, 1e-3)
    azimuth = ds["azimuth"].values
    step = float(np.median(np.diff(azimuth))) if azimuth.size > 1 else 10.0
    edges_y = np.append(azimuth - step / 2, azimuth[-1] + step / 2)
    edges_x = np.arange(ds.sizes["ring"] + 1) + 0.5
    axes.set_facecolor("0.85")
    mesh = axes.pcolormesh(
        edges_x, edges_y, np.ma.masked_invalid(mdeg), cmap=DIVERGING, vmin=-limit, vmax=limit, rasterized=True
    )
    axes.set_xlabel("ring, at 2θ (°)")
    axes.set_ylabel("azimuth (°)")
    shown = np.arange(0, ds.sizes["ring"], max(1, math.ceil(ds.sizes["ring"] / 7)))
    axes.set_xticks(shown + 1, labels=[f"{ds['two_theta'].values[i]:.1f}" for i in shown])
    full = edges_y[-1] - edges_y[0] > 350
    if full:
        axes.set_yticks([0, 90, 180, 270, 360])
    axes.set_title(f"mean |Δ2θ| {ds.attrs['residual_mdeg']:.2f} mdeg, {ds.attrs['residual_px']:.3f} px")
    bar = figure.colorbar(mesh, ax=axes, fraction=0.045, pad=0.02, extend="both")
    bar.set_label("measured − tabulated 2θ (mdeg)")


def _with_grey() -> Any:
    return plotting.colormap().with_extremes(bad="0.6")
