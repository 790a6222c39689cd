"""One look for every figure: the width of a journal column, small plain type, colours all can tell apart.

Figures are made with matplotlib's objects (`Figure`), never through pyplot, so that drawing in a thread or in
a program without a window leaves nothing behind. The style is applied where a figure is made
(``with style(): ...``) and changes no setting of the user's session.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import xarray as xr
    from matplotlib.axes import Axes
    from matplotlib.colors import Colormap
    from matplotlib.figure import Figure

ONE_COLUMN = 89 / 25.4
"""Width of one column of a Nature journal, in inch."""
TWO_COLUMNS = 183 / 25.4
"""Width of a page of a Nature journal, in inch."""

COLORS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
"""Colours of lines, told apart with any colour vision (M. Okabe, K. Ito, 2008), the most distinct first."""

SEQUENCE = "cividis"
"""Colour map of ordered lines and of images (J. R. Nuñez et al., PLoS ONE 13 (2018) e0199239)."""

_STYLE: dict[Any, Any] = {
    "font.family": "sans-serif",
    "font.sans-serif": ["Arial", "Helvetica", "Liberation Sans", "DejaVu Sans"],
    "font.size": 7.0,
    "axes.labelsize": 7.0,
    "axes.titlesize": 7.0,
    "xtick.labelsize": 7.0,
    "ytick.labelsize": 7.0,
    "legend.fontsize": 7.0,
    "mathtext.default": "regular",
    "axes.linewidth": 0.6,
    "axes.formatter.useoffset": False,
    "lines.linewidth": 0.8,
    "lines.markersize": 3.0,
    "patch.linewidth": 0.6,
    "xtick.major.width": 0.6,
    "ytick.major.width": 0.6,
    "xtick.minor.width": 0.4,
    "ytick.minor.width": 0.4,
    "xtick.major.size": 2.5,
    "ytick.major.size": 2.5,
    "xtick.minor.size": 1.5,
    "ytick.minor.size": 1.5,
    "xtick.direction": "out",
    "ytick.direction": "out",
    "legend.frameon": False,
    "legend.handlelength": 1.5,
    "figure.dpi": 150.0,
    "savefig.dpi": 300.0,
    "image.cmap": SEQUENCE,
    "image.interpolation": "nearest",
    "pdf.fonttype": 42,
    "svg.fonttype": "none",
}


@contextmanager
def style() -> Iterator[None]:
    """Apply the style of the suite while a figure is made or saved."""
    import logging

    import matplotlib as mpl
    from cycler import cycler

    # matplotlib warns through logging for each font of the list that is not installed.
    log = logging.getLogger("matplotlib.font_manager")
    level = log.level
    log.setLevel(logging.ERROR)
    try:
        with mpl.rc_context():
            for key, value in _STYLE.items():
                mpl.rcParams[key] = value
            mpl.rcParams["axes.prop_cycle"] = cycler(color=list(COLORS))
            yield
    finally:
        log.setLevel(level)


def new_figure(
    rows: int = 1,
    columns: int = 1,
    width: float = ONE_COLUMN,
    height: float | None = None,
    **options: Any,
) -> tuple[Figure, Any]:
    """Return an empty figure and its axes; call it, and draw, inside ``with style():``.

    Parameters
    ----------
    rows, columns
        Panels.
    width, height
        Size in inch; the height is three quarters of the width of a panel per row where it is not given.
    options
        Further arguments of ``Figure.subplots`` (``sharex=True``).
    """
    from matplotlib.figure import Figure

    size = (width, height if height is not None else 0.75 * width / columns * rows)
    figure = Figure(figsize=size, layout="constrained")
    return figure, figure.subplots(rows, columns, **options)


def colors(count: int) -> list[Any]:
    """Return `count` colours in order, from dark to light, that print on white."""
    import numpy as np

    # The palest fifth of the map is lost on white paper.
    return list(colormap()(np.linspace(0.0, 0.85, max(count, 1))))[:count]


def colormap() -> Colormap:
    """Return the colour map of ordered lines and of images."""
    import matplotlib as mpl

    return mpl.colormaps[SEQUENCE]


def axis_label(array: xr.DataArray, symbol: str = "") -> str:
    """Return the label of an axis: what it is and its unit, "scattering angle 2θ (°)".

    `symbol` stands for the array's ``long_name`` where the field has a shorter word.
    """
    text = symbol or str(array.attrs.get("long_name", array.name or ""))
    unit = pretty_unit(str(array.attrs.get("units", "")))
    return f"{text} ({unit})" if unit else text


def channel_label(array: xr.DataArray, name: str, separator: str = " ") -> str:
    """Return the label of a channel; a voltage says against what it was measured."""
    unit = pretty_unit(str(array.attrs.get("units", "")))
    if name == "voltage" and array.attrs.get("reference"):
        unit = f"{unit} vs {array.attrs['reference']}"
    text = name.replace("_", " ")
    return f"{text}{separator}({unit})" if unit else text


def pretty_unit(units: str) -> str:
    """Return a unit as it is printed: "1/angstrom" as "Å⁻¹", "degC" as "°C"."""
    printed = {
        "deg": "°",
        "degree": "°",
        "degC": "°C",
        "angstrom": "Å",
        "angstrom**3": "Å³",
        "1/angstrom": "Å⁻¹",
        "um": "µm",
        "count": "counts",
        "photon": "photons",
    }
    return printed.get(units, units.replace("*", "·"))


def panel_label(axes: Axes, letter: str) -> None:
    """Write a bold letter above the left corner of a panel."""
    axes.annotate(
        letter,
        (0, 1),
        xycoords="axes fraction",
        xytext=(-4, 4),
        textcoords="offset points",
        ha="right",
        va="bottom",
        fontweight="bold",
        fontsize=8,
    )
