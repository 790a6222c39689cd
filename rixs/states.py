"""Figures of several states: maps on one scale, window spectra, the feature against voltage and cycle."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from beamline import plotting
from rixs.comparison import compare, in_order
from rixs.features import EMISSION, WINDOW
from rixs.figures import area_label, draw_map, highest

if TYPE_CHECKING:
    import xarray as xr
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

IN_A_ROW = 4
"""Maps side by side."""

SHOWN = (519.0, 528.5)
"""Emission (eV) of the window spectra: the bands, without the elastic line."""

CLOSE = (522.4, 525.4)
"""Emission (eV) of the inset: the feature."""


def maps_by_state(leaves: Mapping[str, xr.Dataset], alone: str = "map") -> dict[str, list[xr.Dataset]]:
    """Return the maps among the Datasets of a result by the state of their sample.

    The state is the attribute ``state``, else the name of the measurement ("rixs/charged/map": charged), else
    `alone`, for a map that is in no tree.
    """
    found: dict[str, list[xr.Dataset]] = {}
    for place, ds in leaves.items():
        if ds.attrs.get("kind") == "rixs.map":
            parts = [part for part in place.split("/") if part not in ("", "rixs", "map")]
            found.setdefault(str(ds.attrs.get("state", "/".join(parts) or alone)), []).append(ds)
    return found


def gallery(leaves: Mapping[str, xr.Dataset]) -> dict[str, Figure]:
    """Draw the figures over all states of a result: ``maps``, and ``states`` where they reach the feature.

    Parameters
    ----------
    leaves
        The Datasets of a result by their places.

    Raises
    ------
    FitError
        A map has gaps where the feature is.
    """
    states = _alike(maps_by_state(leaves))
    if len(states) < 2:
        return {}
    first = next(iter(states.values()))[0]
    window = tuple(first.attrs.get(f"window_{e}", w) for e, w in zip(("from", "to"), WINDOW, strict=True))
    figures = {"maps": maps({state: found[0] for state, found in states.items()}, window)}
    if all(_reaches(rmap, window) for found in states.values() for rmap in found):
        figures["states"] = comparison(compare(states, window=window))
    return figures


def _alike(states: dict[str, list[xr.Dataset]]) -> dict[str, list[xr.Dataset]]:
    """Return the maps that can be shown together: those of one edge and unit, most of them.

    A result may hold a map of the O K and one of a metal L edge; on one axis neither would be seen.
    """

    def together(a: xr.Dataset, b: xr.Dataset) -> bool:
        x, y = a["excitation_energy"].values, b["excitation_energy"].values
        overlap = x[0] < y[-1] and y[0] < x[-1]
        return bool(overlap and a["intensity"].attrs["units"] == b["intensity"].attrs["units"])

    every = [rmap for found in states.values() for rmap in found]
    groups = [
        {state: [m for m in found if together(m, one)] for state, found in states.items()} for one in every
    ]
    largest = max(groups, key=lambda group: sum(map(len, group.values())), default={})
    return {state: largest[state] for state in in_order(largest) if largest[state]}


def maps(states: Mapping[str, xr.Dataset], window: tuple[float, ...] = WINDOW) -> Figure:
    """Draw the maps of several states on one colour scale, with the window marked.

    Parameters
    ----------
    states
        A map of kind ``rixs.map`` by the name of its state.
    window
        Excitation energies, eV.
    """
    columns = min(IN_A_ROW, len(states))
    rows = -(-len(states) // columns)
    top = max(highest(rmap) for rmap in states.values())
    with plotting.style():
        figure, panels = plotting.new_figure(
            rows,
            columns,
            width=plotting.TWO_COLUMNS,
            height=plotting.TWO_COLUMNS * (0.05 + 0.24 * rows * (4 / columns) ** 0.5),
            sharex=True,
            sharey=True,
            squeeze=False,
        )
        flat = panels.ravel()
        for axes, (state, rmap), letter in zip(flat, states.items(), "abcdefghijkl", strict=False):
            image = draw_map(axes, rmap, top)
            for edge in window:
                axes.axhline(edge, color="white", lw=0.8, dashes=(4, 2))
            axes.set_title(state)
            plotting.panel_label(axes, letter)
        for axes in flat[len(states) :]:
            axes.set_visible(False)
        for axes in flat[len(states) - columns : len(states)]:
            axes.tick_params(labelbottom=True)
        figure.supxlabel("emission energy (eV)", fontsize=7)
        figure.supylabel("excitation energy (eV)", fontsize=7)
        bar = figure.colorbar(image, ax=panels, pad=0.01, aspect=30, extend="max")
        bar.set_label(_per_energy(next(iter(states.values()))["intensity"]))
    return figure


def comparison(table: xr.Dataset) -> Figure:
    """Draw a comparison: window spectra with error bands, and the feature against voltage and cycle.

    Parameters
    ----------
    table
        Dataset of kind ``rixs.comparison``.
    """
    cycled = _cycled(table)
    widths = [1.7, 1.0, 0.8] if cycled else [1.7, 1.0]
    with plotting.style():
        figure, panels = plotting.new_figure(
            1,
            len(widths),
            width=plotting.TWO_COLUMNS,
            height=0.38 * plotting.TWO_COLUMNS,
            gridspec_kw={"width_ratios": widths},
        )
        fresh = [i for i in range(table.sizes["state"]) if not (cycled and i in cycled[1:])]
        colors = _colors(table)
        _draw_spectra(panels[0], table, fresh, colors)
        if cycled:
            _draw_inset(panels[0], table, cycled, colors)
        _draw_areas(panels[1], table, fresh, colors)
        if cycled:
            _draw_cycles(panels[2], table, cycled, colors)
        for axes, letter in zip(panels, "abc", strict=False):
            plotting.panel_label(axes, letter)
    return figure


def _cycled(table: xr.Dataset) -> list[int]:
    """Return the charged states of one voltage at several cycles in order; [] where there are none."""
    best: list[int] = []
    charged = ~table["discharged"].values.astype(bool) & np.isfinite(table["cycle"].values)
    for voltage in np.unique(table["voltage"].values[charged & np.isfinite(table["voltage"].values)]):
        same = np.flatnonzero(charged & (table["voltage"].values == voltage))
        if same.size > max(len(best), 1):
            best = sorted(same.tolist(), key=lambda i: float(table["cycle"].values[i]))
    return best


def _colors(table: xr.Dataset) -> dict[int, Any]:
    """Return a colour for every state: the same in all panels."""
    count = table.sizes["state"]
    if count <= len(plotting.COLORS):
        return dict(enumerate(plotting.COLORS))
    return dict(enumerate(plotting.colors(count)))


def _band(axes: Axes, table: xr.Dataset, i: int, color: Any, label: str = "") -> None:
    x = table["emission_energy"].values
    y, sigma = table["spectrum"].values[i], table["spectrum_errors"].values[i]
    axes.fill_between(x, y - sigma, y + sigma, color=color, alpha=0.3, lw=0)
    axes.plot(x, y, color=color, label=label)


def _draw_spectra(axes: Axes, table: xr.Dataset, states: list[int], colors: dict[int, Any]) -> None:
    axes.axvspan(*EMISSION, color="0.92", lw=0)
    for i in states:
        _band(axes, table, i, colors[i], str(table["state"].values[i]))
    axes.set_xlim(*SHOWN)
    inside = (table["emission_energy"].values > SHOWN[0]) & (table["emission_energy"].values < SHOWN[1])
    top = float(np.nanmax(table["spectrum"].values[:, inside]))
    # Room above the curves for the inset and the legend.
    axes.set_ylim(-0.03 * top, (1.75 if _cycled(table) else 1.35) * top)
    axes.set_xlabel("emission energy (eV)")
    axes.set_ylabel(
        "integrated intensity\n(ADU per 10⁶ I₀ counts)" if _is_adu(table) else "integrated intensity"
    )
    lo, hi = (table.attrs[f"window_{end}"] for end in ("from", "to"))
    axes.set_title(f"excitation {lo:g}–{hi:g} eV, bands ±1 σ", loc="right")
    axes.legend(loc="upper right")


def _draw_inset(axes: Axes, table: xr.Dataset, cycled: list[int], colors: dict[int, Any]) -> None:
    inset = axes.inset_axes((0.04, 0.5, 0.42, 0.41))
    inset.axvspan(*EMISSION, color="0.92", lw=0)
    for i in cycled:
        _band(inset, table, i, colors[i], f"cycle {int(table['cycle'].values[i])}")
    inset.set_xlim(*CLOSE)
    inside = (table["emission_energy"].values > CLOSE[0]) & (table["emission_energy"].values < CLOSE[1])
    values = table["spectrum"].values[cycled][:, inside]
    low, high = float(np.nanmin(values)), float(np.nanmax(values))
    # Room below the curves, where they are high on the right, for the legend.
    inset.set_ylim(low - 0.55 * (high - low), high + 0.1 * (high - low))
    inset.set_yticks([])
    inset.tick_params(labelsize=6)
    volts = float(table["voltage"].values[cycled[0]])
    inset.set_title(f"{volts:g} V", fontsize=6, pad=2)
    inset.legend(loc="lower right", fontsize=6, handlelength=1.0)


def _points(axes: Axes, table: xr.Dataset, i: int, x: float, color: Any) -> None:
    """Draw a state's area with all errors, and those of its samples beside it."""
    state = table["state"].values[i]
    hollow = bool(table["discharged"].values[i])
    axes.errorbar(
        [x],
        [table["area"].values[i]],
        [table["area_errors"].values[i]],
        fmt="o",
        color=color,
        mfc="white" if hollow else color,
        capsize=2,
        zorder=3,
    )
    own = table["sample_area"].values[table["sample_state"].values == state]
    if own.size > 1:
        axes.plot(np.full(own.size, x), own, "_", color=color, ms=7, mew=0.8, zorder=2)


def _draw_areas(axes: Axes, table: xr.Dataset, states: list[int], colors: dict[int, Any]) -> None:
    """Draw areas against voltage, or, where it is not known, side by side."""
    axes.axhline(0, color="0.6", lw=0.5)
    known = [i for i in states if np.isfinite(table["voltage"].values[i])]
    if len(known) >= 2:
        for i in known:
            _points(axes, table, i, float(table["voltage"].values[i]), colors[i])
        for i in set(states) - set(known):
            value, error = table["area"].values[i], table["area_errors"].values[i]
            axes.axhspan(value - error, value + error, color=colors[i], alpha=0.25, lw=0)
            axes.annotate(
                str(table["state"].values[i]),
                (0.45, max(value + error, 0.0)),  # not on the line of zero
                xycoords=("axes fraction", "data"),
                xytext=(0, 1),
                textcoords="offset points",
                color=colors[i],
                ha="center",
                va="bottom",
            )
        axes.set_xlabel("voltage (V)")
        axes.margins(x=0.12)
    else:
        for place, i in enumerate(states):
            _points(axes, table, i, place, colors[i])
        names = [str(table["state"].values[i]) for i in states]
        axes.set_xticks(range(len(states)), names, rotation=30, ha="right")
        axes.set_xlim(-0.5, len(states) - 0.5)
    axes.set_ylabel(area_label(table["area"]))


def _draw_cycles(axes: Axes, table: xr.Dataset, cycled: list[int], colors: dict[int, Any]) -> None:
    axes.axhline(0, color="0.6", lw=0.5)
    for i in cycled:
        _points(axes, table, i, float(table["cycle"].values[i]), colors[i])
    axes.set_xticks(np.unique(table["cycle"].values[cycled]))
    axes.set_xlabel("cycle")
    axes.set_ylabel(area_label(table["area"]))
    axes.set_ylim(bottom=min(0.0, axes.get_ylim()[0]))
    axes.margins(x=0.15)
    axes.set_title(f"{float(table['voltage'].values[cycled[0]]):g} V", loc="right")


def _reaches(rmap: xr.Dataset, window: tuple[float, ...]) -> bool:
    from rixs.bands import BESIDE

    excitation, emission = rmap["excitation_energy"].values, rmap["emission_energy"].values
    inside = excitation[0] <= window[0] and window[1] <= excitation[-1]
    return bool(
        inside and emission[0] <= BESIDE[0] and emission[-1] >= BESIDE[1] and "intensity_errors" in rmap
    )


def _is_adu(table: xr.Dataset) -> bool:
    return str(table["spectrum"].attrs["units"]) == "ADU/megacount"


def _per_energy(array: xr.DataArray) -> str:
    if str(array.attrs["units"]) == "ADU/megacount/eV":
        return "intensity (ADU eV⁻¹ per 10⁶ I₀ counts)"
    return f"intensity ({plotting.pretty_unit(str(array.attrs['units']))})"
