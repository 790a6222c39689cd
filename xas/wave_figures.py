"""Figures of EXAFS: kⁿχ(k), and χ(R) as magnitude and real part."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from beamline import plotting
from beamline.errors import SchemaError
from xas.figures import choose, line_colors, open_axes, shown_series
from xas.stacks import scan_name

if TYPE_CHECKING:
    import xarray as xr
    from matplotlib.figure import Figure

LONGEST = 6.0
"""What is drawn of R, angstrom."""


def chi_k(ds: xr.Dataset) -> Figure:
    """Draw kⁿχ(k) with its error as a band, one scan above the other; what was transformed is marked.

    Parameters
    ----------
    ds
        EXAFS, kind ``xas.exafs``; n is the weight of its transform, 2 where there is none.

    Raises
    ------
    SchemaError
        There is no χ(k).
    """
    if "chi" not in ds:
        raise SchemaError("chi", "has no variable 'chi'", "call xas.exafs first")
    series = shown_series(ds, "chi")
    chosen = choose(series)
    limits = series["chi_r"].attrs if "chi_r" in series else {}
    weight = int(limits.get("kweight", 2))
    k = series["k"].values
    waves = series["chi"].values[chosen] * k**weight
    errors = series["chi_errors"].values[chosen] * k**weight if "chi_errors" in series else 0 * waves
    # below k = 2 the wave is that of the edge, and its size says nothing of the rest
    step = 0.8 * float(np.nanmax(np.ptp(waves[:, k > 2.0], axis=1))) if len(chosen) > 1 else 0.0
    with plotting.style():
        height = plotting.ONE_COLUMN * (0.72 + 0.1 * (len(chosen) - 1))
        figure, axes = plotting.new_figure(height=height)
        for row, (color, index) in enumerate(zip(line_colors(len(chosen)), chosen, strict=True)):
            base = row * step
            shown = np.isfinite(waves[row]) & (k > 1.0)
            axes.fill_between(
                k[shown],
                (waves[row] - errors[row])[shown] + base,
                (waves[row] + errors[row])[shown] + base,
                color=color,
                alpha=0.3,
                lw=0,
            )
            axes.plot(k[shown], waves[row][shown] + base, color=color)
            axes.axhline(base, color="0.75", lw=0.4, zorder=0)
            if step:
                axes.text(1.01, base, scan_name(series, index), color=color, va="center", **_beside(axes))
        for name in ("kmin", "kmax"):
            if name in limits:
                axes.axvline(limits[name], color="0.5", lw=0.6, ls=(0, (3, 2)), zorder=0)
        open_axes(axes)
        axes.set_xlim(1, float(k[-1]))
        axes.set_xlabel("k (Å⁻¹)")
        unit = f" (Å$^{{-{weight}}}$)" if weight else ""
        axes.set_ylabel(f"{_power(weight)}χ(k){unit}" + (", offset" if step else ""))
        if step:
            axes.set_yticks([])
        else:
            name = scan_name(series, chosen[0])
            axes.text(0.98, 0.97, name, transform=axes.transAxes, ha="right", va="top")
    return figure


def chi_r_parts(ds: xr.Dataset) -> Figure:
    """Draw the magnitude of χ(R) above its real part, the scans upon each other.

    Parameters
    ----------
    ds
        Transformed EXAFS, kind ``xas.exafs``.

    Raises
    ------
    SchemaError
        There is no χ(R).
    """
    if "chi_r" not in ds:
        raise SchemaError("chi", "is not transformed", "call xas.fourier first")
    series = shown_series(ds, "chi_r")
    chosen = choose(series)
    r = series["r"].values
    near = r <= LONGEST
    weight = int(series["chi_r"].attrs["kweight"])
    unit = f"(Å$^{{-{weight + 1}}}$)"
    with plotting.style():
        figure, (top, bottom) = plotting.new_figure(2, 1, height=1.15 * plotting.ONE_COLUMN, sharex=True)
        for color, index in zip(line_colors(len(chosen)), chosen, strict=True):
            wave = series["chi_r"].values[index][near]
            top.plot(r[near], np.abs(wave), color=color, label=scan_name(series, index))
            bottom.plot(r[near], wave.real, color=color)
        bottom.axhline(0, color="0.75", lw=0.4, zorder=0)
        for axes in (top, bottom):
            open_axes(axes)
        top.set_xlim(0, LONGEST)
        top.set_ylim(0, None)
        top.set_ylabel(f"|χ(R)| {unit}")
        bottom.set_ylabel(f"Re χ(R) {unit}")
        bottom.set_xlabel("R, not phase corrected (Å)")
        columns = 2 if len(chosen) > 6 else 1
        top.legend(loc="upper right", ncols=columns, handlelength=1.0, labelspacing=0.25)
    return figure


def _power(weight: int) -> str:
    return {0: "", 1: "k", 2: "k²", 3: "k³"}[weight]


def _beside(axes: Any) -> dict[str, Any]:
    """Return how text is placed at the right of a panel, at a height of its data."""
    return {"transform": axes.get_yaxis_transform(), "clip_on": False}
