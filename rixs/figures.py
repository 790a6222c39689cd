"""Figures of maps and cuts: the map with its window marked, and the cut beside it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from beamline import plotting
from rixs.cuts import window as integrate

if TYPE_CHECKING:
    import xarray as xr
    from matplotlib.axes import Axes
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


def cut(ds: xr.Dataset) -> Figure:
    """Draw a cut over emission energies with its errors.

    Parameters
    ----------
    ds
        Dataset of kind ``rixs.cut``.
    """
    energy = ds["emission_energy"].values
    first, last = ds.attrs.get("window_from", energy[-1]), ds.attrs.get("window_to", energy[-1])
    with plotting.style():
        figure, axes = plotting.new_figure()
        _draw_cut(axes, ds, (max(energy[0], first - BELOW), min(energy[-1], last + ABOVE)))
        if {"window_from", "window_to"} <= set(ds.attrs):
            axes.set_title(_window_title(first, last), loc="right")
    return figure


def _draw_map(figure: Figure, axes: Axes, rmap: xr.Dataset) -> None:
    emission = rmap["emission_energy"].values
    excitation = rmap["excitation_energy"].values
    shown = _emission_range(rmap)
    inside = (emission >= shown[0]) & (emission <= shown[1])
    values = rmap["intensity"].values[:, inside]
    # The elastic line may be far above all else: a percentile keeps the bands visible.
    highest = float(np.nanpercentile(values, 99.9))
    image = axes.pcolormesh(
        emission[inside], excitation, values, shading="nearest", vmin=0.0, vmax=highest, rasterized=True
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
    axes.set_xlabel("emission energy (eV)")
    axes.set_ylabel("excitation energy (eV)")
    bar = figure.colorbar(image, ax=axes, pad=0.02, aspect=30, extend="max")
    bar.set_label(_intensity_label(rmap["intensity"]))


def _draw_cut(axes: Axes, ds: xr.Dataset, shown: tuple[float, float]) -> None:
    energy = ds["emission_energy"].values
    inside = (energy >= shown[0]) & (energy <= shown[1])
    x, y = energy[inside], ds["intensity"].values[inside]
    axes.axhline(0, color="0.6", lw=0.5)
    if "intensity_errors" in ds:
        sigma = ds["intensity_errors"].values[inside]
        axes.fill_between(x, y - sigma, y + sigma, color=plotting.COLORS[0], alpha=0.3, lw=0, label="±1 σ")
    axes.plot(x, y, color=plotting.COLORS[0])
    axes.set_xlim(*shown)
    axes.set_xlabel("emission energy (eV)")
    axes.set_ylabel(_intensity_label(ds["intensity"]))
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
    }
    return known.get(units, f"intensity ({plotting.pretty_unit(units)})")
