"""Figures of a series of edges: where the edge is against charge, and all scans as a map."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.lines import Line2D

from beamline import plotting
from beamline.errors import SchemaError
from xas.figures import XANES, edge_name, open_axes
from xas.stacks import scan_name

if TYPE_CHECKING:
    import xarray as xr
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

AXES = ("state_of_charge", "capacity", "voltage", "temperature", "dose")
"""Coordinates an edge is drawn against, the first that the scans have."""
ENOUGH = 8
"""Fewer scans than these are no map."""


def edge_against(ds: xr.Dataset, along: str | None = None) -> Figure:
    """Draw the edge energy against charge, temperature or any other coordinate, in the order of measurement.

    Points follow each other as they were measured, so that an edge that moves back is seen to: filled where
    the coordinate rises from the point before, open where it falls. Error bars are those of the edge and of
    the alignment. Samples (a coordinate ``sample``) have a colour each.

    Parameters
    ----------
    ds
        Scans with edge energies over (scan), kind ``xas.scans``.
    along
        Coordinate over (scan); by default the first of `AXES` there is, else the scans in their order.

    Raises
    ------
    SchemaError
        They have no edge energies, or no such coordinate.
    """
    if "edge_energy" not in ds or "scan" not in ds.dims:
        raise SchemaError("scans", "have no edge energies", "call xas.edge on several scans")
    name = along if along is not None else coordinate_of(ds)
    if name is not None and (name not in ds.coords or ds[name].dims != ("scan",)):
        raise SchemaError("scans", f"have no coordinate {name!r} of each scan")
    edge, errors = ds["edge_energy"].values, edge_errors(ds)
    x = np.arange(edge.size, dtype=float) if name is None else ds[name].values.astype(float)
    samples = ds["sample"].values if "sample" in ds.coords else np.full(edge.size, "")
    with plotting.style():
        figure, axes = plotting.new_figure()
        groups = list(dict.fromkeys(samples.tolist()))
        for color, sample in zip(_some_colors(len(groups)), groups, strict=True):
            mine = np.flatnonzero((samples == sample) & np.isfinite(x) & np.isfinite(edge))
            _path(axes, x[mine], edge[mine], errors[mine], color, name is None)
        open_axes(axes)
        axes.set_ylabel(f"{edge_name(ds)} energy (eV)")
        if name is None:
            labels = [scan_name(ds, n) for n in range(edge.size)]
            axes.set_xticks(x, labels, rotation=45 if max(map(len, labels)) > 4 else 0, ha="right")
            axes.minorticks_off()
        else:
            axes.set_xlabel(plotting.channel_label(ds[name], name))
        _legend(axes, groups, bool((np.diff(x[np.isfinite(x)]) < 0).any()) and name is not None)
    return figure


def series_map(ds: xr.Dataset) -> Figure:
    """Draw the normalised absorption of a series as a map, its change since the first scan, and the edge.

    Parameters
    ----------
    ds
        Normalised scans over (scan, energy), kind ``xas.scans``. Rows are at their ``time`` or
        ``temperature`` where that rises from scan to scan, else one after the other.

    Raises
    ------
    SchemaError
        They are not normalised, or all failed.
    """
    if "norm" not in ds or "scan" not in ds.dims:
        raise SchemaError("scans", "are no normalised series", "call xas.normalize on several scans")
    energy, norm = ds["energy"].values, ds["norm"].values
    good = np.flatnonzero(np.isfinite(ds["e0"].values))
    if not good.size:
        raise SchemaError("scans", "have all failed", "see their status")
    e0 = float(np.median(ds["e0"].values[good]))
    near = (energy > e0 + XANES[0]) & (energy < e0 + XANES[1])
    y, y_label = _rows(ds)
    change = norm - norm[good[0]]
    with plotting.style():
        height = 0.46 * plotting.TWO_COLUMNS
        ratios = [3, 3, 1.6] if "edge_energy" in ds else [3, 3]
        figure, panels = plotting.new_figure(
            1,
            len(ratios),
            width=plotting.TWO_COLUMNS,
            height=height,
            sharey=True,
            gridspec_kw={"width_ratios": ratios},
        )
        x_edges, y_edges = _edges(energy[near]), _edges(y)
        top = float(np.nanmax(norm[:, near]))
        most = float(np.nanpercentile(np.abs(change[:, near]), 99.8)) or 1e-3
        looks: tuple[tuple[Any, str, dict[str, Any]], ...] = (
            (norm, "normalised absorption", {"vmin": 0, "vmax": top}),
            (
                change,
                "change since the first scan",
                {"cmap": "PuOr_r", "vmin": -most, "vmax": most},
            ),
        )
        for axes, (values, text, options) in zip(panels, looks, strict=False):
            image = axes.pcolormesh(x_edges, y_edges, values[:, near], rasterized=True, **options)
            bar = figure.colorbar(image, ax=axes, location="top", fraction=0.05, pad=0.02, aspect=30)
            bar.set_label(text)
            bar.ax.minorticks_off()
            axes.set_xlabel(plotting.axis_label(ds["energy"]))
            axes.set_xlim(x_edges[0], x_edges[-1])
        panels[0].set_ylabel(y_label)
        panels[0].set_ylim(y_edges[0], y_edges[-1])
        if "edge_energy" in ds:
            _edge_column(panels[2], ds, y)
    return figure


def coordinate_of(ds: xr.Dataset) -> str | None:
    """Return the coordinate an edge is drawn against: the first of `AXES` with different values."""
    for name in AXES:
        if name in ds.coords and ds[name].dims == ("scan",):
            values = ds[name].values.astype(float)
            if np.isfinite(values).sum() > 1 and np.ptp(values[np.isfinite(values)]) > 0:
                return name
    return None


def edge_errors(ds: xr.Dataset) -> Any:
    """Return the errors of edge energies with those of the alignment, eV."""
    errors = ds["edge_energy_errors"].values
    if "energy_shift_errors" in ds.coords:
        errors = np.hypot(errors, np.nan_to_num(ds["energy_shift_errors"].values))
    return errors


def _path(axes: Axes, x: Any, edge: Any, errors: Any, color: Any, in_order: bool) -> None:
    """Draw one sample: a line through its points, filled where x rises, open where it falls."""
    axes.plot(x, edge, color=color, lw=0.6, alpha=0.7, zorder=1)
    falls = np.zeros(x.size, dtype=bool) if in_order else np.concatenate([[False], np.diff(x) < 0])
    for which, face in ((~falls, color), (falls, "white")):
        axes.errorbar(
            x[which],
            edge[which],
            errors[which],
            fmt="o",
            color=color,
            mfc=face,
            mec=color,
            ms=3.5,
            mew=0.8,
            elinewidth=0.7,
            capsize=1.5,
            capthick=0.7,
            zorder=2,
        )


def _legend(axes: Axes, groups: list[Any], has_falls: bool) -> None:
    handles = []
    if len(groups) > 1:
        handles += [
            Line2D([], [], color=color, marker="o", lw=0.6, label=str(group))
            for color, group in zip(_some_colors(len(groups)), groups, strict=True)
        ]
    if has_falls:
        marks = (("0.3", "rising"), ("white", "falling"))
        handles += [
            Line2D([], [], ls="", marker="o", mfc=face, mec="0.3", mew=0.8, ms=3.5, label=text)
            for face, text in marks
        ]
    if handles:
        axes.legend(
            handles=handles, loc="lower left", bbox_to_anchor=(0, 1), ncols=len(handles), columnspacing=1.2
        )


def _some_colors(count: int) -> list[Any]:
    return list(plotting.COLORS[:count]) if count <= len(plotting.COLORS) else plotting.colors(count)


def _rows(ds: xr.Dataset) -> tuple[Any, str]:
    """Return where the rows of a map are, and what that is."""
    if "time" in ds.coords and ds["time"].dims == ("scan",):
        hours = (ds["time"].values - ds["time"].values[0]) / np.timedelta64(1, "h")
        if (np.diff(hours) > 0).all():
            unit, scale = ("h", 1.0) if hours[-1] > 3 else ("min", 60.0)
            return hours * scale, f"time ({unit})"
    for name in ("temperature", "state_of_charge", "capacity", "voltage"):
        if name in ds.coords and ds[name].dims == ("scan",):
            values = ds[name].values.astype(float)
            if (np.diff(values) > 0).all():
                return values, plotting.channel_label(ds[name], name)
    return np.arange(1.0, ds.sizes["scan"] + 1), "scan"


def _edges(centres: Any) -> Any:
    """Return the edges of cells around centres."""
    middle = 0.5 * (centres[1:] + centres[:-1])
    return np.concatenate([[2 * centres[0] - middle[0]], middle, [2 * centres[-1] - middle[-1]]])


def _edge_column(axes: Axes, ds: xr.Dataset, y: Any) -> None:
    good = np.isfinite(ds["edge_energy"].values)
    axes.errorbar(
        ds["edge_energy"].values[good],
        y[good],
        xerr=edge_errors(ds)[good],
        fmt="o-",
        ms=1.8,
        lw=0.6,
        elinewidth=0.5,
        color=plotting.COLORS[0],
    )
    axes.set_xlabel(f"{edge_name(ds)} (eV)")
    axes.spines[["top", "right"]].set_visible(False)
    axes.locator_params(axis="x", nbins=3)
