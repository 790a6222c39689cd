"""Figures of maps, cuts and features: the map with its window marked, and the cut beside it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from beamline import plotting
from rixs.cuts import window as integrate

if TYPE_CHECKING:
    import xarray as xr
    from matplotlib.axes import Axes
    from matplotlib.collections import QuadMesh
    from matplotlib.figure import Figure

WINDOW = (530.6, 531.8)
"""Excitation energies (eV) in which oxidised lattice oxygen resonates."""

BELOW = 13.0
"""Emission this far (eV) below the lowest excitation energy is drawn; there is none of interest beyond."""

ABOVE = 2.0
"""Emission this far (eV) above the highest excitation energy is drawn: the elastic line has a width."""


def overview(rmap: xr.Dataset) -> Figure:
    """Draw a map, with its window marked and the cut beside it where it has one, or covers `WINDOW`.

    Parameters
    ----------
    rmap
        Dataset of kind ``rixs.map``.
    """
    energy = rmap["excitation_energy"].values
    lo, hi = (
        rmap.attrs.get(f"window_{end}", limit) for end, limit in zip(("from", "to"), WINDOW, strict=True)
    )
    if energy[0] <= lo and hi <= energy[-1]:
        return map_and_window(rmap, lo, hi)
    with plotting.style():
        figure, axes = plotting.new_figure(height=0.8 * plotting.ONE_COLUMN)
        _draw_map(figure, axes, rmap)
    return figure


def map_and_window(rmap: xr.Dataset, lo: float, hi: float) -> Figure:
    """Draw a map with the window from `lo` to `hi` (eV) marked, and the integral over it beside.

    Parameters
    ----------
    rmap
        Dataset of kind ``rixs.map``.
    lo, hi
        Window of excitation energies, eV.

    Raises
    ------
    ConfigError
        The window is not within the map.
    """
    result = integrate(rmap, lo, hi)
    with plotting.style():
        figure, (left, right) = plotting.new_figure(
            1, 2, width=plotting.TWO_COLUMNS, height=0.36 * plotting.TWO_COLUMNS
        )
        _draw_map(figure, left, rmap)
        for edge in (lo, hi):
            left.axhline(edge, color="white", lw=0.8, dashes=(4, 2))
        _draw_cut(right, result, _emission_range(rmap))
        right.set_title(_window_title(lo, hi), loc="right")
        # The label of the colour bar and that of the cut stand back to back.
        figure.set_layout_engine("constrained", wspace=0.06)
        plotting.panel_label(left, "a")
        plotting.panel_label(right, "b")
    return figure


def loss_view(ds: xr.Dataset) -> Figure:
    """Draw a map against the energy loss, in which the elastic line stands upright.

    Parameters
    ----------
    ds
        Dataset of kind ``rixs.loss_map``.
    """
    loss = ds["energy_loss"].values
    shown = (max(loss[0], -ABOVE), min(loss[-1], BELOW))
    inside = (loss >= shown[0]) & (loss <= shown[1])
    values = ds["intensity"].values[:, inside]
    with plotting.style():
        figure, axes = plotting.new_figure(height=0.8 * plotting.ONE_COLUMN)
        image = axes.pcolormesh(
            loss[inside],
            ds["excitation_energy"].values,
            values,
            shading="nearest",
            vmin=0.0,
            # As in a map: the elastic line may be far above, the bands are the matter.
            vmax=float(np.nanpercentile(values[:, np.abs(loss[inside]) > 1], 99.9)),
            rasterized=True,
        )
        axes.set_facecolor("0.85")
        axes.set_xlim(*shown)
        axes.set_xlabel("energy loss (eV)")
        axes.set_ylabel("excitation energy (eV)")
        bar = figure.colorbar(image, ax=axes, pad=0.02, aspect=30, extend="max")
        bar.set_label(_intensity_label(ds["intensity"]))
    return figure


def cut(ds: xr.Dataset) -> Figure:
    """Draw a cut over emission, excitation or loss with its errors.

    Parameters
    ----------
    ds
        Dataset of kind ``rixs.cut``.
    """
    axis = str(ds["intensity"].dims[0])
    x = ds[axis].values
    shown = (float(x[0]), float(x[-1]))
    if axis == "emission_energy":
        first, last = ds.attrs.get("window_from", x[-1]), ds.attrs.get("window_to", x[-1])
        shown = (max(x[0], first - BELOW), min(x[-1], last + ABOVE))
    elif axis == "energy_loss":
        shown = (max(x[0], -ABOVE), min(x[-1], BELOW))
    with plotting.style():
        figure, axes = plotting.new_figure()
        _draw_cut(axes, ds, shown)
        if "window_from" in ds.attrs and axis != "excitation_energy":
            axes.set_title(_window_title(ds.attrs["window_from"], ds.attrs["window_to"]), loc="right")
        elif "window" in ds.attrs:
            axes.set_title(str(ds.attrs["window"]), loc="right")
    return figure


def feature(ds: xr.Dataset) -> Figure:
    """Draw a feature: the spectrum it stands in, each background below it, and the area above each.

    Parameters
    ----------
    ds
        Dataset of kind ``rixs.feature``.
    """
    axis = str(ds["intensity"].dims[0])
    loss = axis == "energy_loss"
    limits = [float(ds.attrs[f"{'loss' if loss else 'emission'}_{end}"]) for end in ("from", "to")]
    x = ds[axis].values
    if loss:
        ds = ds.isel({axis: (x > -1.2) & (x < 2.4)})
        x = ds[axis].values
    colors = plotting.COLORS[1:]
    with plotting.style():
        figure, (left, right) = plotting.new_figure(
            1,
            2,
            width=plotting.TWO_COLUMNS,
            height=0.34 * plotting.TWO_COLUMNS,
            gridspec_kw={"width_ratios": [2, 1]},
        )
        left.axvspan(*limits, color="0.92", lw=0)
        left.errorbar(
            x,
            ds["intensity"],
            ds["intensity_errors"],
            fmt=".",
            color=plotting.COLORS[0],
            elinewidth=0.5,
            label="window ±1 σ",
        )
        for name, color in zip(ds["model"].values, colors, strict=False):
            left.plot(x, ds["background"].sel(model=name), color=color, label=f"background: {name}")
        left.set_xlim(x[0], x[-1])
        left.set_ylim(bottom=min(0.0, float(ds["intensity"].min())))
        left.set_xlabel("energy loss (eV)" if loss else "emission energy (eV)")
        left.set_ylabel(_intensity_label(ds["intensity"]))
        left.set_title(_window_title(ds.attrs["window_from"], ds.attrs["window_to"]), loc="right")
        left.legend(loc="upper right" if loss else "upper left")
        names = [*map(str, ds["model"].values)]
        for i, (name, color) in enumerate(zip(names, colors, strict=False)):
            at = ds.sel(model=name)
            right.errorbar([i], at["area"], at["area_errors"], fmt="o", color=color, capsize=2)
        right.errorbar(
            [len(names)], ds["mean_area"], ds["mean_area_errors"], fmt="s", color="black", capsize=2
        )
        right.set_xticks(range(len(names) + 1), [*names, "mean,\nall errors"])
        right.set_xlim(-0.5, len(names) + 0.5)
        right.axhline(0, color="0.6", lw=0.5)
        right.set_ylabel(area_label(ds["area"]))
        plotting.panel_label(left, "a")
        plotting.panel_label(right, "b")
    return figure


def _draw_map(figure: Figure, axes: Axes, rmap: xr.Dataset) -> None:
    image = draw_map(axes, rmap, highest(rmap))
    axes.set_xlabel("emission energy (eV)")
    axes.set_ylabel("excitation energy (eV)")
    bar = figure.colorbar(image, ax=axes, pad=0.02, aspect=30, extend="max")
    bar.set_label(_intensity_label(rmap["intensity"]))


def highest(rmap: xr.Dataset) -> float:
    """Return the top of a map's colour scale: the elastic line may be far above, the bands are the matter."""
    shown = _emission_range(rmap)
    seen = (rmap["emission_energy"].values >= shown[0]) & (rmap["emission_energy"].values <= shown[1])
    return float(np.nanpercentile(rmap["intensity"].values[:, seen], 99.9))


def draw_map(axes: Axes, rmap: xr.Dataset, top: float) -> QuadMesh:
    """Draw a map on a colour scale from 0 to `top`, with its elastic line."""
    emission = rmap["emission_energy"].values
    excitation = rmap["excitation_energy"].values
    shown = _emission_range(rmap)
    inside = (emission >= shown[0]) & (emission <= shown[1])
    image = axes.pcolormesh(
        emission[inside],
        excitation,
        rmap["intensity"].values[:, inside],
        shading="nearest",
        vmin=0.0,
        vmax=top,
        rasterized=True,
    )
    axes.plot(excitation, excitation, color="white", lw=0.6, ls=":")
    axes.annotate(
        "elastic",
        (excitation[-1], excitation[-1]),
        xytext=(-16, -3),
        textcoords="offset points",
        color="white",
        ha="right",
        va="top",
    )
    axes.set_xlim(*shown)
    axes.set_ylim(*_outer(excitation))
    return image


def _draw_cut(axes: Axes, ds: xr.Dataset, shown: tuple[float, float]) -> None:
    axis = str(ds["intensity"].dims[0])
    inside = (ds[axis].values >= shown[0]) & (ds[axis].values <= shown[1])
    x, y = ds[axis].values[inside], ds["intensity"].values[inside]
    axes.axhline(0, color="0.6", lw=0.5)
    if "intensity_errors" in ds:
        sigma = ds["intensity_errors"].values[inside]
        axes.fill_between(x, y - sigma, y + sigma, color=plotting.COLORS[0], alpha=0.3, lw=0, label="±1 σ")
    axes.plot(x, y, color=plotting.COLORS[0])
    axes.set_xlim(*shown)
    axes.set_xlabel(f"{axis.replace('_', ' ')} (eV)")
    axes.set_ylabel(_intensity_label(ds["intensity"]))
    if "intensity_errors" in ds:
        axes.legend(loc="upper left")


def _window_title(lo: float, hi: float) -> str:
    return f"excitation {lo:g}–{hi:g} eV"


def _emission_range(rmap: xr.Dataset) -> tuple[float, float]:
    emission, excitation = rmap["emission_energy"].values, rmap["excitation_energy"].values
    return max(emission[0], excitation[0] - BELOW), min(emission[-1], excitation[-1] + ABOVE)


def _outer(axis: Any) -> tuple[float, float]:
    """Return the outer edges of the cells around the points of an axis."""
    if axis.size < 2:
        return float(axis[0] - 0.5), float(axis[0] + 0.5)
    return float(1.5 * axis[0] - 0.5 * axis[1]), float(1.5 * axis[-1] - 0.5 * axis[-2])


def _intensity_label(array: xr.DataArray) -> str:
    units = str(array.attrs["units"])
    known = {
        "ADU/megacount/eV": "intensity (ADU eV⁻¹ per 10⁶ I₀ counts)",
        "ADU/megacount": "integrated intensity (ADU per 10⁶ I₀ counts)",
        "count/megacount": "yield (counts per 10⁶ I₀ counts)",
        "1/(ADU/megacount)": "inverse yield (10⁶ I₀ counts per ADU)",
        "": str(array.attrs.get("long_name", "intensity")),
    }
    return known.get(units, f"intensity ({plotting.pretty_unit(units)})")


def area_label(array: xr.DataArray) -> str:
    """Return the label of an axis of areas."""
    units = str(array.attrs["units"])
    known = {"ADU/megacount*eV": "area (ADU eV per 10⁶ I₀ counts)"}
    return known.get(units, f"area ({plotting.pretty_unit(units)})")
