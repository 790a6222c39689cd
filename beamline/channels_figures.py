"""Channels against time."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from matplotlib.ticker import MaxNLocator

from beamline import model, plotting

if TYPE_CHECKING:
    import xarray as xr
    from matplotlib.figure import Figure

MOST_PANELS = 6
"""More panels than these are too low to read a value from."""


def overview(ds: xr.Dataset) -> Figure:
    """Draw the channels of one clock one above the other; of more than `MOST_PANELS` the first.

    Parameters
    ----------
    ds
        Dataset of kind ``channels``.
    """
    names = [
        str(name)
        for name, array in ds.data_vars.items()
        if array.dtype.kind in "iuf" and not str(name).endswith((model.ERRORS, model.MASK))
    ]
    names = sorted(names, key=lambda name: name not in ("voltage", "current", "temperature"))[:MOST_PANELS]
    seconds = (ds["time"].values - ds["time"].values[0]) / np.timedelta64(1, "s")
    longest = float(seconds[-1]) if seconds.size else 0.0
    unit, scale = ("h", 3600.0) if longest > 3 * 3600 else ("min", 60.0) if longest > 600 else ("s", 1.0)
    with plotting.style():
        rows = max(len(names), 1)
        height = plotting.ONE_COLUMN * (0.45 + 0.27 * rows)
        figure, axes = plotting.new_figure(rows=rows, height=height, sharex=True, squeeze=False)
        for panel, name, color in zip(axes[:, 0], names, plotting.COLORS, strict=False):
            discrete = ds[name].dtype.kind in "iu"  # cycles and steps hold until the next one
            panel.plot(
                seconds / scale,
                ds[name],
                color=color,
                lw=0.8,
                drawstyle="steps-post" if discrete else "default",
            )
            panel.yaxis.set_major_locator(MaxNLocator(3, integer=discrete))
            panel.set_ylabel(plotting.channel_label(ds[name], name, "\n"))
        start = (
            np.datetime_as_string(ds["time"].values[0], unit="s").replace("T", " ") if seconds.size else ""
        )
        axes[-1, 0].set_xlabel(f"time since {start} UTC ({unit})")
        axes[-1, 0].set_xlim(0, longest / scale or 1)
        figure.align_ylabels()
    return figure
