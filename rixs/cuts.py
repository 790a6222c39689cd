"""Cuts through a map: the integral over a window of excitation energies, against the emission energy.

The map is taken as linear between its points, so that the integral over any window is a sum of the points
with exact weights, parts of a step included, and its variance is exact as well. Integrals over windows that
meet add up.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from beamline import provenance
from beamline.errors import ConfigError

if TYPE_CHECKING:
    import xarray as xr

Array = np.ndarray[Any, np.dtype[np.float64]]


@provenance.step("rixs.window", returns="rixs.cut")
def window(rmap: xr.Dataset, lo: float, hi: float) -> xr.Dataset:
    """Integrate a map over excitation energies from `lo` to `hi` (eV).

    Parameters
    ----------
    rmap
        Kind ``rixs.map``.
    lo, hi
        Window, eV; within the excitation energies of the map.

    Returns
    -------
    Dataset
        ``intensity`` (emission_energy), integrated over the window. A pixel that a point needed for it lacks
        is NaN. ``i0_mask`` tells whether a point in the window was flagged. Where the map states how well the
        excitation axis is known, ``intensity_systematic`` says how far the cut moves with one standard
        deviation of it, |I(hi) − I(lo)| σ: common to all pixels, and beside the counting errors.

    Raises
    ------
    ConfigError
        The window is empty, or reaches beyond the map.
    """
    import xarray as xr

    energy = rmap["excitation_energy"].values
    if not lo < hi:
        raise ConfigError(f"window {lo} to {hi} eV", "is empty", "give the lower end first")
    if lo < energy[0] or hi > energy[-1]:
        raise ConfigError(
            f"window {lo} to {hi} eV", f"is not within the map's {energy[0]:.3f} to {energy[-1]:.3f} eV"
        )
    weights = integration_weights(energy, lo, hi)
    used = weights != 0
    intensity = weights[used] @ rmap["intensity"].values[used]
    units = str(rmap["intensity"].attrs["units"])
    units = units.removesuffix("/eV") if units.endswith("/eV") else f"{units}*eV"
    cut = xr.Dataset(
        {"intensity": ("emission_energy", intensity, {"units": units})},
        coords={
            "emission_energy": rmap["emission_energy"],
            **{
                name: coord
                for name, coord in rmap.coords.items()
                if coord.dims == ("emission_energy",) and name != "emission_energy"
            },
        },
        attrs={
            **{key: value for key, value in rmap.attrs.items() if key not in ("kind", "history")},
            "window": f"{lo} to {hi} eV excitation",
            "window_from": float(lo),
            "window_to": float(hi),
        },
    )
    if "intensity_errors" in rmap:
        variance = weights[used] ** 2 @ rmap["intensity_errors"].values[used] ** 2
        cut["intensity_errors"] = ("emission_energy", np.sqrt(variance))
    if "excitation_energy_errors" in rmap.coords:
        ends = [_interpolated(energy, rmap["intensity"].values, end) for end in (lo, hi)]
        moved = np.abs(ends[1] - ends[0]) * float(rmap["excitation_energy_errors"].values[used].mean())
        label = {"units": units, "long_name": "error from the excitation axis, common to all points"}
        cut["intensity_systematic"] = ("emission_energy", moved, label)
    if "i0_mask" in rmap.coords:
        flagged = np.bitwise_or.reduce(rmap["i0_mask"].values[used])
        cut = cut.assign_coords(i0_mask=((), flagged, rmap["i0_mask"].attrs))
    return cut


def _interpolated(energy: Array, values: Array, at: float) -> Array:
    """Return the row of a map at an energy between its points."""
    right = int(np.searchsorted(energy, at).clip(1, energy.size - 1))
    part = (at - energy[right - 1]) / (energy[right] - energy[right - 1])
    return np.asarray((1 - part) * values[right - 1] + part * values[right])


def integration_weights(x: Array, lo: float, hi: float) -> Array:
    """Return w with Σ w y = ∫ y dx from `lo` to `hi`, for y linear between the points `x` (ascending)."""
    weights = np.zeros(x.size)
    for i in range(x.size - 1):
        a, b = max(lo, float(x[i])), min(hi, float(x[i + 1]))
        if a < b:
            # The part of a step: its length times the line's value in its middle.
            right = ((a + b) / 2 - x[i]) / (x[i + 1] - x[i])
            weights[i] += (b - a) * (1 - right)
            weights[i + 1] += (b - a) * right
    return weights
