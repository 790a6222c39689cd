"""Figures of patterns: lines one above the other, and the map of a series."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr
from matplotlib.cm import ScalarMappable
from matplotlib.colors import BoundaryNorm, ListedColormap, PowerNorm
from matplotlib.ticker import MaxNLocator

from beamline import plotting

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MOST_LINES = 24
"""More lines than these cannot be told apart in a column; every n-th frame is drawn then."""


def overview(ds: xr.Dataset) -> Figure:
    """Draw patterns the way their number asks for: lines up to `MOST_LINES` frames, else a map.

    Parameters
    ----------
    ds
        Dataset of kind ``xrd.patterns``.
    """
    return waterfall(ds) if _series(ds).sizes["frame"] <= MOST_LINES else contour(ds)


def waterfall(ds: xr.Dataset) -> Figure:
    """Draw the square root of the intensity against 2θ, frame above frame, beside a joined channel.

    On this scale the noise of counts is equally high everywhere, so that weak peaks are seen beside strong
    ones. Of more than `MOST_LINES` frames every n-th is drawn. The channel is the voltage, else the
    temperature.

    Parameters
    ----------
    ds
        Dataset of kind ``xrd.patterns``.
    """
    series = _series(ds)
    frames = np.arange(0, series.sizes["frame"], math.ceil(series.sizes["frame"] / MOST_LINES))
    root = np.sqrt(np.clip(series["intensity"].values[frames], 0, None))
    lowest, highest = np.nanmin(root), np.nanpercentile(root, 99.9)
    step = 0.2 * float(highest - lowest) if len(frames) > 1 else 0.0
    with plotting.style():
        height = plotting.ONE_COLUMN * (0.62 + 0.025 * (len(frames) - 1))
        figure, axes, side = _panels(series, height)
        colors = plotting.colors(len(frames))
        for i, color in enumerate(colors):
            # Later frames lie behind, so that no line is hidden by the peaks of the one below.
            axes.plot(series["two_theta"], root[i] + i * step, color=color, lw=0.6, zorder=len(frames) - i)
        axes.set_xlim(*_lit(series))
        two_theta_axis(axes, series)
        axes.set_ylim(lowest - 0.03 * (highest - lowest), None)
        if len(frames) == 1:
            axes.set_ylabel(f"{plotting.axis_label(series['intensity'], 'intensity')}, square-root scale")
            squared_ticks(axes)
        else:
            axes.set_ylabel("√intensity (offset)")
            axes.set_yticks([])
        if side is not None:
            levels = np.nanmedian(root, axis=1) + np.arange(len(frames)) * step
            _draw_channel(side, series.isel(frame=frames), levels, colors)
            _ticks_of_frames(side, frames, levels)
        elif len(frames) > 1:
            edges = np.append(frames, frames[-1] + (frames[1] - frames[0])) - 0.5
            mappable = ScalarMappable(BoundaryNorm(edges, len(frames)), ListedColormap(colors))
            bar = figure.colorbar(mappable, ax=axes, fraction=0.04, pad=0.02, aspect=30)
            shown = frames[:: math.ceil(len(frames) / 8)]
            bar.set_ticks(shown.tolist(), labels=[str(frame) for frame in shown])
            bar.ax.tick_params(length=0)
            bar.set_label("frame")
    return figure


def contour(ds: xr.Dataset) -> Figure:
    """Draw the intensity as a map of 2θ and frame, or time where the frames have one; empty bins are white.

    A channel the frames were joined to (voltage, else temperature) is drawn beside it.

    Parameters
    ----------
    ds
        Dataset of kind ``xrd.patterns``.
    """
    series = _series(ds)
    intensity = series["intensity"]
    at, label = rows(series)
    # Colours span what most bins hold: the strongest rings and the shadow of a beam stop lie beyond.
    low, high = map(float, np.nanpercentile(intensity, [2.0, 99.5]))
    high = max(high, low + 1e-12)
    with plotting.style():
        figure, axes, side = _panels(series, 0.8 * plotting.ONE_COLUMN)
        mesh = axes.pcolormesh(
            edges_of(series["two_theta"].values),
            edges_of(at),
            np.ma.masked_invalid(intensity.values),
            cmap=plotting.colormap(),
            norm=PowerNorm(0.5, vmin=low, vmax=high),
            rasterized=True,
        )
        axes.set_xlim(*_lit(series))
        two_theta_axis(axes, series)
        axes.set_ylabel(label)
        if label == "frame":
            axes.yaxis.set_major_locator(MaxNLocator(integer=True))
        if side is not None:
            _draw_channel(side, series, at, None)
        bar = figure.colorbar(mesh, ax=side or axes, fraction=0.04, pad=0.02, aspect=30, extend="both")
        bar.set_label(plotting.axis_label(intensity, "intensity"))
        bar.ax.minorticks_off()
        # The lower end is said too: below it everything has one colour.
        ticks = _root_ticks(low, high, origin=low, first=low)
        bar.set_ticks(ticks, labels=[f"{float(f'{tick:.3g}'):g}" for tick in ticks])
    return figure


def _panels(series: xr.Dataset, height: float) -> tuple[Figure, Axes, Axes | None]:
    """Return a figure with a panel for the patterns and, where they were joined to one, for a channel."""
    if channel(series) is None:
        figure, axes = plotting.new_figure(height=height)
        return figure, axes, None
    figure, (axes, side) = plotting.new_figure(
        columns=2, width=1.25 * plotting.ONE_COLUMN, height=height, sharey=True, width_ratios=(4, 1)
    )
    return figure, axes, side


def channel(series: xr.Dataset) -> str | None:
    """Return the channel worth a panel, if any frame has a value of it."""
    joined = [name for name in ("voltage", "temperature") if name in series.coords]
    return next((name for name in joined if bool(np.isfinite(series[name]).any())), None)


def _draw_channel(
    axes: Axes, series: xr.Dataset, levels: np.ndarray[Any, Any], colors: list[Any] | None
) -> None:
    """Draw the channel of every frame at the height of the frame."""
    name = channel(series)
    if name is None:
        return
    array = series[name]
    errors = series.get(f"{name}_errors")
    axes.plot(array, levels, color="0.6", lw=0.6)
    axes.errorbar(array, levels, xerr=errors, fmt="none", ecolor="0.4", elinewidth=0.5)
    axes.scatter(array, levels, s=6, c=colors or "black", zorder=3)
    label = plotting.axis_label(array, name)
    if name == "voltage" and array.attrs.get("reference"):
        label = f"{name} ({array.attrs['units']} vs\n{array.attrs['reference']})"
    axes.set_xlabel(label)
    # A channel that stands still is drawn as one: its noise does not fill the panel.
    low, high = axes.get_xlim()
    room = max(0.0, 0.02 * abs(low + high) / 2 - (high - low)) / 2
    axes.set_xlim(low - room, high + room)
    axes.xaxis.set_major_locator(MaxNLocator(2))


def _ticks_of_frames(axes: Axes, frames: np.ndarray[Any, Any], levels: np.ndarray[Any, Any]) -> None:
    """Write the numbers of the frames at the right of the panel beside their patterns."""
    shown = slice(None, None, math.ceil(len(frames) / 8))
    right = axes.secondary_yaxis("right")
    right.set_yticks(levels[shown], labels=[str(frame) for frame in frames[shown]])
    right.set_ylabel("frame")


def _series(ds: xr.Dataset) -> xr.Dataset:
    return ds if "frame" in ds.dims else ds.expand_dims("frame")


def _lit(series: xr.Dataset) -> tuple[float, float]:
    """Return the range of 2θ in which anything was measured."""
    measured = np.isfinite(series["intensity"].values).any(axis=0)
    two_theta = series["two_theta"].values[measured] if measured.any() else series["two_theta"].values
    return float(two_theta.min()), float(two_theta.max())


def rows(series: xr.Dataset) -> tuple[np.ndarray[tuple[int], np.dtype[np.float64]], str]:
    """Return the position of every frame along the map, and what it is."""
    if "time" in series.coords and series["time"].dims == ("frame",):
        seconds = (series["time"].values - series["time"].values[0]) / np.timedelta64(1, "s")
        if (np.diff(seconds) > 0).all():
            unit, scale = ("h", 3600.0) if seconds[-1] > 3 * 3600 else ("min", 60.0)
            return seconds / scale, f"time ({unit})"
    return np.arange(series.sizes["frame"], dtype=np.float64), "frame"


def edges_of(
    centers: np.ndarray[tuple[int], np.dtype[np.float64]],
) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    """Return the edges of cells around `centers`."""
    if len(centers) == 1:
        return np.array([centers[0] - 0.5, centers[0] + 0.5])
    inner = (centers[1:] + centers[:-1]) / 2
    return np.concatenate([[2 * centers[0] - inner[0]], inner, [2 * centers[-1] - inner[-1]]])


def two_theta_axis(axes: Axes, series: xr.Dataset) -> None:
    """Label the axis, and put q on the opposite one where the wavelength is known."""
    axes.set_xlabel("2θ (°)")
    axes.minorticks_on()
    axes.tick_params(axis="y", which="minor", length=0)
    wavelength = series.attrs.get("wavelength")
    if wavelength is None:
        axes.spines["top"].set_visible(False)
        return
    factor = 4 * np.pi / float(wavelength)
    top = axes.secondary_xaxis(
        "top",
        functions=(
            lambda angle: factor * np.sin(np.radians(angle) / 2),
            lambda q: np.degrees(2 * np.arcsin(np.clip(np.asarray(q, dtype=float) / factor, -1, 1))),
        ),
    )
    top.set_xlabel("q (Å⁻¹)")


def squared_ticks(axes: Axes) -> None:
    """Write the intensity itself beside an axis of its square root."""
    low, high = (max(limit, 0.0) for limit in axes.get_ylim())
    ticks = _root_ticks(low**2, high**2, first=0.0 if low == 0 else None)
    axes.set_yticks([math.sqrt(tick) for tick in ticks], labels=[f"{tick:g}" for tick in ticks])


def _root_ticks(low: float, high: float, origin: float = 0.0, first: float | None = None) -> list[float]:
    """Return round values from `low` to `high` that have room on an axis of √(value - origin)."""
    candidates = [m * 10.0**e for e in range(-3, 10) for m in (1, 2, 5) if low <= m * 10.0**e <= high]
    if len(candidates) < 3:
        candidates = [value for value in MaxNLocator(5).tick_values(low, high) if low <= value <= high]
    ticks = [] if first is None else [first]
    room = (math.sqrt(high - origin) - math.sqrt(low - origin)) / 12
    for value in reversed(candidates):
        root = math.sqrt(value - origin)
        if all(abs(root - math.sqrt(tick - origin)) > room for tick in ticks):
            ticks.append(value)
    return sorted(ticks)
