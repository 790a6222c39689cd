"""Figures of refinements: a pattern with its fit, and what was refined along a series."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr
from matplotlib.ticker import MaxNLocator

from beamline import plotting
from beamline.errors import SchemaError
from xrd.figures import channel, rows, squared_ticks, two_theta_axis
from xrd.results import refined_cell

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Floats = np.ndarray[Any, np.dtype[np.float64]]

SYMBOLS = {"alpha": "α", "beta": "β", "gamma": "γ", "volume": "V", "fraction": "mass fraction"}
_OBSERVED, _CALCULATED, _BACKGROUND, _EXCLUDED = "0.35", plotting.COLORS[1], "0.6", "0.92"
_PHASES = (plotting.COLORS[0], *plotting.COLORS[2:])
"""Colours of phases; that of calculated patterns is left out."""


def overview(ds: xr.Dataset) -> dict[str, Figure]:
    """Draw what there is to see of a refinement, by name.

    One pattern is drawn with its fit. Of a series the parameters are drawn along it, and, where it holds its
    patterns, the first of them and the one that is fitted worst.

    Parameters
    ----------
    ds
        Dataset of kind ``xrd.series``.
    """
    frames = ds.sizes["frame"]
    found = {"": parameters(ds)} if frames > 1 else {}
    if "calculated" in ds:
        gof = np.nan_to_num(ds["gof"].values, nan=-1.0)
        shown = dict.fromkeys([0, int(np.argmax(gof))] if frames > 1 else [0])
        width = len(str(frames - 1))
        found |= {f"pattern_{i:0{width}d}" if frames > 1 else "": pattern(ds, i) for i in shown}
    return found or {"": parameters(ds)}


def pattern(ds: xr.Dataset, frame: int = 0) -> Figure:
    """Draw a pattern as observed and calculated, its reflections, and the difference over its errors.

    The intensity is on a scale of square roots, on which the noise of counts is equally high everywhere.
    What was not fitted is shaded.

    Parameters
    ----------
    ds
        Dataset of kind ``xrd.series`` that holds patterns (``curves=True``).
    frame
        Which of them.

    Raises
    ------
    SchemaError
        It holds none.
    """
    if "calculated" not in ds:
        raise SchemaError("series", "holds no patterns", "refine with curves=True")
    one = ds.isel(frame=frame)
    x, observed, errors, calculated, baseline = (
        one[name].values for name in ("two_theta", "intensity", "intensity_errors", "calculated", "baseline")
    )
    fitted = np.isfinite(calculated)
    phases = [str(name) for name in ds["phase"].values]
    heights = [3.2, 0.16 * len(phases) + 0.1, 1.0]
    with plotting.style():
        figure, (top, strip, bottom) = plotting.new_figure(
            3, 1, width=plotting.TWO_COLUMNS, height=0.52 * plotting.TWO_COLUMNS, sharex=True,
            gridspec_kw={"height_ratios": heights, "hspace": 0.03},
        )  # fmt: skip
        root = [np.sqrt(np.clip(curve, 0, None)) for curve in (observed, calculated, baseline)]
        top.plot(x, root[0], ls="none", marker="o", ms=1.6, mew=0, color=_OBSERVED, label="observed")
        top.plot(x, root[1], color=_CALCULATED, lw=0.8, label="calculated")
        top.plot(x, root[2], color=_BACKGROUND, lw=0.8, ls="--", label="background")
        _frame_root(top, root, fitted, one)
        _draw_ticks(strip, one, phases)
        with np.errstate(invalid="ignore", divide="ignore"):
            residual = (observed - calculated) / errors
        bottom.axhspan(-3, 3, color="0.9", lw=0)
        bottom.plot(x, residual, color=_OBSERVED, lw=0.5)
        _frame_residual(bottom, residual)
        for axes in (top, strip, bottom):
            _shade(axes, x, fitted)
        seen = np.isfinite(observed)
        top.set_xlim(float(x[seen].min()), float(x[seen].max()))
        two_theta_axis(top, ds)
        top.set_xlabel("")
        bottom.set_xlabel("2θ (°)")
        figure.align_ylabels([top, bottom])
    return figure


def parameters(ds: xr.Dataset) -> Figure:
    """Draw cells, volumes and agreement along a series, with error bars, beside the channel it was joined to.

    The axis is the temperature of a sample that is only heated or only cooled, else the time, else the number
    of the frame. Fits that did not end well are drawn hollow.

    Parameters
    ----------
    ds
        Dataset of kind ``xrd.series``.
    """
    phases = [str(name) for name in ds["phase"].values]
    x, label = _along(ds)
    cells = {phase: [*refined_cell(ds.sel(phase=phase)), "volume"] for phase in phases}
    depth = max(len(names) for names in cells.values())
    wide = [[f"{p}/{cells[p][i]}" if i < len(cells[p]) else "." for p in phases] for i in range(depth)]
    shared = ["fraction"] if len(phases) > 1 and "fraction_errors" in ds else []
    shared += ["rwp"]
    beside = channel(ds)
    if beside is not None and not label.startswith(beside):
        shared += [beside]
    mosaic: list[Any] = [*wide, *([name] * len(phases) for name in shared)]
    ended = ds["status"].values == "converged"
    with plotting.style():
        from matplotlib.figure import Figure

        width = plotting.ONE_COLUMN if len(phases) == 1 else plotting.TWO_COLUMNS
        figure = Figure(
            figsize=(width, (0.31 * len(mosaic) + 0.08) * plotting.ONE_COLUMN), layout="constrained"
        )
        panels = figure.subplot_mosaic(mosaic, sharex=True)
        for color, phase in zip(_cycle(len(phases)), phases, strict=True):
            for name in cells[phase]:
                axes = panels[f"{phase}/{name}"]
                _points(axes, ds.sel(phase=phase), name, x, ended, color)
                axes.set_ylabel(plotting.axis_label(ds[name], SYMBOLS.get(name, name)))
            panels[f"{phase}/{cells[phase][0]}"].set_title(phase)
        if "fraction" in panels:
            for color, phase in zip(_cycle(len(phases)), phases, strict=True):
                _points(panels["fraction"], ds.sel(phase=phase), "fraction", x, ended, color, phase)
            panels["fraction"].set_ylabel("mass fraction")
            panels["fraction"].legend(ncols=len(phases))
        _draw_agreement(panels["rwp"], ds, x, ended)
        if beside is not None and beside in panels:
            _draw_beside(panels[beside], ds, beside, x)
        for axes in panels.values():
            axes.margins(x=0.03)
            axes.yaxis.set_major_locator(MaxNLocator(4))
            axes.tick_params(labelbottom=False)
            if label == "frame":
                axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        lowest = [panels[f"{phase}/{cells[phase][-1]}"] for phase in phases if len(phases) > 1]
        for axes in (*lowest, panels[shared[-1]]):
            axes.tick_params(labelbottom=True)
        panels[shared[-1]].set_xlabel(label)
        figure.align_ylabels()
    return figure


def _along(ds: xr.Dataset) -> tuple[Floats, str]:
    """Return the axis of a series, and its label."""
    if "temperature" in ds.coords and ds.sizes["frame"] > 1:
        temperature = ds["temperature"].values.astype(float)
        steps = np.diff(temperature)
        if np.isfinite(steps).all() and ((steps > 0).all() or (steps < 0).all()):
            return temperature, plotting.axis_label(ds["temperature"], "temperature")
    return rows(ds)


def _points(
    axes: Axes, ds: xr.Dataset, name: str, x: Floats, ended: Any, color: Any, label: str | None = None
) -> None:
    """Draw a parameter with its errors; hollow where the fit did not end well."""
    values = ds[name].values
    errors = ds[f"{name}_errors"].values if f"{name}_errors" in ds else np.full(len(values), np.nan)
    axes.errorbar(x, values, errors, fmt="none", ecolor=color, elinewidth=0.7)
    axes.plot(x, values, color=color, lw=0.5, alpha=0.5)
    axes.scatter(x[ended], values[ended], s=5, color=color, lw=0, label=label, zorder=3)
    axes.scatter(x[~ended], values[~ended], s=8, facecolors="white", edgecolors=color, lw=0.6, zorder=3)


def _draw_agreement(axes: Axes, ds: xr.Dataset, x: Floats, ended: Any) -> None:
    """Draw Rwp, and Rexp = Rwp/GOF, what it is of a model that leaves nothing but noise."""
    percent = 100 * ds["rwp"].values
    axes.plot(x, percent, color="black", lw=0.5, alpha=0.5)
    axes.scatter(x[ended], percent[ended], s=5, color="black", lw=0, zorder=3, label="Rwp")
    axes.scatter(x[~ended], percent[~ended], s=8, facecolors="white", edgecolors="black", lw=0.6, zorder=3)
    axes.plot(x, percent / ds["gof"].values, color="0.5", lw=0.8, ls="--", label="Rexp")
    axes.set_ylabel("Rwp, Rexp (%)")
    axes.set_ylim(0, 1.15 * float(np.nanmax(percent, initial=0.1)))
    axes.legend(ncols=2, loc="lower left")


def _draw_beside(axes: Axes, ds: xr.Dataset, name: str, x: Floats) -> None:
    array = ds[name]
    axes.plot(x, array, color="black", lw=0.5, marker="o", ms=1.8)
    label = plotting.axis_label(array, name)
    if name == "voltage" and array.attrs.get("reference"):
        label = f"{name}\n({array.attrs['units']} vs {array.attrs['reference']})"
    axes.set_ylabel(label)


def _frame_root(axes: Axes, root: list[Floats], fitted: Any, one: xr.Dataset) -> None:
    """Set the limits to what was fitted, else to what was observed, and write the intensities."""
    if fitted.any():
        low, high = float(root[2][fitted].min()), float(np.fmax(root[0], root[1])[fitted].max())
    else:
        low, high = float(np.nanmin(root[0])), float(np.nanmax(root[0]))
    room = 0.05 * (high - low)
    axes.set_ylim(max(low - 2 * room, 0.0), high + room)
    squared_ticks(axes)
    label = plotting.axis_label(one["intensity"], "intensity")
    axes.set_ylabel(f"{label}, square-root scale")
    note = f"Rwp {100 * float(one['rwp']):.2f} %, GOF {float(one['gof']):.2f}"
    status = str(one["status"].values)
    axes.legend(
        title=note if status == "converged" else f"{note}, {status}", alignment="right", markerscale=2
    )


def _draw_ticks(axes: Axes, one: xr.Dataset, phases: list[str]) -> None:
    """Draw a row of ticks for each phase, named at its left end."""
    owner = one["reflection_phase"].values
    for row, (phase, color) in enumerate(zip(phases, _cycle(len(phases)), strict=True)):
        at = one["tick"].values[owner == phase]
        at = at[np.isfinite(at)]
        axes.vlines(at, -row - 0.35, -row + 0.35, color=color, lw=0.6)
    axes.set_ylim(-len(phases) + 0.4, 0.6)
    axes.set_yticks([-row for row in range(len(phases))], labels=phases)
    for text, color in zip(axes.get_yticklabels(), _cycle(len(phases)), strict=True):
        text.set_color(color)
    axes.tick_params(axis="y", length=0)
    axes.tick_params(axis="x", which="both", length=0)
    for side in ("top", "bottom", "right"):
        axes.spines[side].set_visible(False)


def _frame_residual(axes: Axes, residual: Floats) -> None:
    """Set limits that keep single points from hiding the rest."""
    finite = np.abs(residual[np.isfinite(residual)])
    reach = max(5.0, min(float(finite.max()), 4 * float(np.percentile(finite, 99.5)))) if finite.size else 5.0
    axes.set_ylim(-1.1 * reach, 1.1 * reach)
    axes.set_ylabel("difference/σ")
    axes.axhline(0, color="0.5", lw=0.5)


def _shade(axes: Axes, x: Floats, fitted: Any) -> None:
    """Shade what was left out of the fit."""
    edges = np.flatnonzero(np.diff(np.concatenate([[False], ~fitted, [False]]).astype(int)))
    for first, last in zip(edges[::2], edges[1::2], strict=True):
        low = x[first] if first == 0 else (x[first - 1] + x[first]) / 2
        high = x[last - 1] if last == len(x) else (x[last - 1] + x[last]) / 2
        axes.axvspan(float(low), float(high), color=_EXCLUDED, lw=0, zorder=0.5)


def _cycle(count: int) -> list[str]:
    return [_PHASES[i % len(_PHASES)] for i in range(math.ceil(count))]
