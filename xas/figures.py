"""Figures of absorption: edges one above the other with their derivatives, and |χ(R)| with its fit."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr
from matplotlib.cm import ScalarMappable
from matplotlib.colors import BoundaryNorm, ListedColormap
from matplotlib.lines import Line2D

from beamline import plotting
from beamline.errors import SchemaError
from xas.normalization import scan_name

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MOST_LINES = 12
"""More lines than these cannot be told apart in a column; every n-th scan is drawn then."""
MOST_NAMES = 6
"""Up to this many lines have a colour and a name each; more are coloured in order."""
XANES = (-20.0, 60.0)
"""What is drawn around the edge, eV."""


def edge_stack(ds: xr.Dataset) -> Figure:
    """Draw the normalised edges, and below them the derivatives; a dot marks each edge position.

    Parameters
    ----------
    ds
        Normalised scans, kind ``xas.scans``.

    Raises
    ------
    SchemaError
        They are not normalised.
    """
    if "norm" not in ds:
        raise SchemaError("scans", "are not normalised", "call xas.normalize first")
    series = shown_series(ds, "norm")
    chosen = choose(series)
    energy = series["energy"].values
    e0 = float(np.median(series["e0"].values))
    near = (energy > e0 + XANES[0]) & (energy < e0 + XANES[1])
    with plotting.style():
        figure, (top, bottom) = plotting.new_figure(
            2, 1, height=1.05 * plotting.ONE_COLUMN, sharex=True, gridspec_kw={"height_ratios": [2.2, 1]}
        )
        colors = line_colors(len(chosen))
        for color, index in zip(colors, chosen, strict=True):
            norm = series["flat"].values[index]
            label = scan_name(series, index)
            top.plot(energy[near], norm[near], color=color, label=label)
            bottom.plot(energy[near], _derivative(energy, norm)[near], color=color)
            if "edge_energy" in series:
                at = float(series["edge_energy"].values[index])
                top.plot(at, np.interp(at, energy, norm), "o", color=color, ms=3, mec="white", mew=0.4)
        for axes in (top, bottom):
            open_axes(axes)
        top.set_ylabel("normalised absorption")
        bottom.set_ylabel("derivative (eV⁻¹)")
        bottom.set_xlabel(plotting.axis_label(series["energy"]))
        top.set_xlim(energy[near][0], energy[near][-1])
        top.set_ylim(-0.05, None)
        bottom.axhline(0, color="0.6", lw=0.4, zorder=0)
        if len(chosen) <= MOST_NAMES:
            top.legend(loc="lower right", handlelength=1.0, labelspacing=0.25)
        else:
            _order_bar(figure, (top, bottom), series, chosen, colors)
        if edge_name(ds) != "edge":
            top.text(0.02, 0.96, edge_name(ds), transform=top.transAxes, va="top")
    return figure


def chi_r(ds: xr.Dataset) -> Figure:
    """Draw |χ(R)|, one scan above the other; a fit as a line over open points.

    What speaks against a fit is stated beside it; of several scans the suspect and failed fits are marked so.
    Of a fit that failed there is no line.

    Parameters
    ----------
    ds
        Transformed EXAFS, kind ``xas.exafs``.

    Raises
    ------
    SchemaError
        They are not transformed.
    """
    if "chi_r" not in ds:
        raise SchemaError("chi", "is not transformed", "call xas.fourier first")
    series = shown_series(ds, "chi_r")
    chosen = choose(series)
    r = series["r"].values
    shown = r <= 6.0
    fitted = "chi_r_fit" in series
    magnitude = np.abs(series["chi_r"].values)
    step = 0.45 * float(magnitude[:, shown].max()) if len(chosen) > 1 else 0.0
    with plotting.style():
        height = plotting.ONE_COLUMN * (0.72 + 0.06 * (len(chosen) - 1))
        figure, axes = plotting.new_figure(height=height)
        for row, (color, index) in enumerate(zip(line_colors(len(chosen)), chosen, strict=True)):
            base = row * step
            data = magnitude[index][shown] + base
            status = _status(series, index)
            if fitted:
                axes.plot(r[shown], data, "o", color=color, ms=2.4, mfc="white", mew=0.6)
                if not status.startswith("failed"):
                    model = np.abs(series["chi_r_fit"].values[index]) + base
                    limits = series["chi_r_fit"].attrs
                    used = (r >= limits["rmin"]) & (r <= limits["rmax"])
                    axes.plot(r[shown], model[shown], color="black", lw=0.5, ls=(0, (2, 2)))
                    axes.plot(r[used], model[used], color="black", lw=1.0)
            else:
                axes.plot(r[shown], data, color=color)
            if step:
                name = " ".join(filter(None, (scan_name(series, index), _short(status))))
                axes.text(6.08, base, name, color=color, va="bottom")
        open_axes(axes)
        axes.set_xlim(0, 6)
        axes.set_ylim(0, None)
        axes.set_xlabel("R, not phase corrected (Å)")
        weight = int(series["chi_r"].attrs["kweight"])
        axes.set_ylabel(f"|χ(R)| (Å$^{{-{weight + 1}}}$)" + (", offset" if step else ""))
        if step:
            axes.set_yticks([])
        else:
            text = [scan_name(series, chosen[0])]
            text += _distances(series, chosen[0]) if fitted else []
            text += textwrap.wrap(_status(series, chosen[0]), 36)
            axes.text(0.98, 0.97, "\n".join(text), transform=axes.transAxes, ha="right", va="top")
        if fitted:
            points = Line2D(
                [], [], ls="", marker="o", color="0.3", ms=2.4, mfc="white", mew=0.6, label="data"
            )
            line = Line2D([], [], color="black", lw=1.0, label="fit, in its range")
            axes.legend(
                handles=[points, line], loc="lower left", bbox_to_anchor=(0, 1), ncols=2, handlelength=1.2
            )
    return figure


def scans_overview(ds: xr.Dataset) -> dict[str, Figure]:
    """Draw all figures of normalised scans by name: the edges, their energies, a long series as a map.

    Parameters
    ----------
    ds
        Normalised scans, kind ``xas.scans``.
    """
    from xas import series_figures

    figures = {"": edge_stack(ds)}
    if "scan" in ds.dims and "edge_energy" in ds and ds.sizes["scan"] > 1:
        figures["edge"] = series_figures.edge_against(ds)
    if ds.sizes.get("scan", 1) >= series_figures.ENOUGH:
        figures["map"] = series_figures.series_map(ds)
    return figures


def exafs_overview(ds: xr.Dataset) -> dict[str, Figure]:
    """Draw all figures of EXAFS by name: |χ(R)| with its fit, kⁿχ(k), and χ(R) in its parts.

    Parameters
    ----------
    ds
        Transformed EXAFS, kind ``xas.exafs``.
    """
    from xas import wave_figures

    return {"": chi_r(ds), "k": wave_figures.chi_k(ds), "parts": wave_figures.chi_r_parts(ds)}


def shown_series(ds: xr.Dataset, name: str) -> xr.Dataset:
    """Return the scans that have numbers, over the dim scan.

    Raises
    ------
    SchemaError
        None has.
    """
    series = ds if "scan" in ds.dims else ds.expand_dims("scan")
    good = np.isfinite(series[name].values).any(axis=1)
    if not good.any():
        raise SchemaError("scans", "have all failed", "see their status")
    return series.isel(scan=np.flatnonzero(good))


def edge_name(ds: xr.Dataset) -> str:
    """Return what edge it is: "Ni K edge"."""
    return " ".join([*(str(ds.attrs[key]) for key in ("element", "edge") if key in ds.attrs), "edge"])


def choose(series: xr.Dataset) -> list[int]:
    """Return which scans are drawn: all, or of more than `MOST_LINES` every n-th."""
    return list(range(0, series.sizes["scan"], math.ceil(series.sizes["scan"] / MOST_LINES)))


def _derivative(energy: Any, norm: Any) -> Any:
    """Return the derivative over 1 eV, about the width of the core hole: less is noise on this scale."""
    half = 0.5
    rise = np.interp(energy + half, energy, norm) - np.interp(energy - half, energy, norm)
    return rise / (2 * half)


def _status(series: xr.Dataset, index: int) -> str:
    """Return what speaks against the fit of a scan; nothing where it is good, or none was made."""
    fitted = "chi_r_fit" in series and "status" in series
    status = str(np.atleast_1d(series["status"].values)[index]) if fitted else "ok"
    return "" if status == "ok" else status


def _short(status: str) -> str:
    return f"(fit {status.partition(':')[0]})" if status else ""


def _distances(series: xr.Dataset, index: int) -> list[str]:
    """Return the fitted distances with their errors in the last digits."""
    lines = []
    for n, shell in enumerate(series["shell"].values):
        value = float(series["distance"].values[index][n])
        error = float(series["distance_errors"].values[index][n])
        digits = (
            f"{value:.3f}({round(error * 1000):d}) Å" if np.isfinite([value, error]).all() else "not found"
        )
        element = str(shell).rstrip("0123456789")
        centre = str(series.attrs.get("element", ""))
        lines.append(f"{centre}–{element} {digits}")
    return lines


def line_colors(count: int) -> list[Any]:
    """Return a colour for each line."""
    return list(plotting.COLORS[:count]) if count <= MOST_NAMES else plotting.colors(count)


def _order_bar(
    figure: Figure, axes: Sequence[Axes], series: xr.Dataset, chosen: list[int], colors: list[Any]
) -> None:
    """Draw the colours in their order beside the axes, with the names of the scans."""
    norm = BoundaryNorm(np.arange(len(chosen) + 1) - 0.5, len(chosen))
    mappable = ScalarMappable(norm, ListedColormap(colors))
    bar = figure.colorbar(mappable, ax=list(axes), fraction=0.04, pad=0.02, aspect=30)
    bar.set_ticks(list(range(len(chosen))), labels=[scan_name(series, index) for index in chosen])
    bar.ax.tick_params(length=0)
    bar.ax.minorticks_off()


def open_axes(axes: Axes) -> None:
    """Leave out the upper and right frame."""
    axes.spines[["top", "right"]].set_visible(False)
    axes.minorticks_on()
