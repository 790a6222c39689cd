"""Scans with an axis each, brought onto one: interpolation, the noise that goes with it, and gaps.

The common axis is that of the first complete scan, where all complete scans overlap. A scan is partial if it
lacks a quarter of the usual range, or ends less than 15 eV above the edge; it keeps what it has, and is NaN
where nothing was measured. Interpolation is modified Akima, which does not overshoot at an edge. Noise is
estimated before it, since interpolated points scatter less than they err.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from beamline.errors import FitError, JoinError, SchemaError
from xas.noise import point_noise
from xas.normalization import ATHENA, scan_name, steepest_rise, stored_values

if TYPE_CHECKING:
    import xarray as xr

Array = np.ndarray[Any, np.dtype[np.float64]]

OK = "ok"
LACKS = 0.25
"""A scan that lacks more than this part of the usual range is partial."""
FEWEST = 20
"""A scan with fewer finite points than these says nothing."""
ROOM = 15.0
"""A scan that ends less than this (eV) above the edge says nothing about the step."""


def single_scans(scans: xr.DataTree | xr.Dataset | Iterable[xr.Dataset]) -> list[xr.Dataset]:
    """Return single scans over (energy), energies increasing.

    Raises
    ------
    SchemaError
        There are none, or they are no scans.
    """
    import xarray as xr

    if isinstance(scans, xr.DataTree):
        found = [leaf.to_dataset() for leaf in scans.leaves]
    elif isinstance(scans, xr.Dataset):
        found = [scans]
    elif isinstance(scans, Iterable) and not isinstance(scans, Mapping):
        return [part for item in scans for part in single_scans(item)]
    else:
        raise SchemaError("scans", "are neither a Dataset, a DataTree nor a list of them")
    parts = [
        ds.isel(scan=i) if "scan" in ds.dims else ds for ds in found for i in range(ds.sizes.get("scan", 1))
    ]
    for ds in parts:
        if "mu" not in ds or ds["mu"].dims != ("energy",):
            raise SchemaError("scans", "have no mu over energy", "read them with beamline.read")
    if not parts:
        raise SchemaError("scans", "are empty")
    return [ds if np.all(np.diff(ds["energy"].values) > 0) else ds.sortby("energy") for ds in parts]


def first_complete(parts: Sequence[xr.Dataset], names: Sequence[str]) -> int:
    """Return the number of the first scan that is long enough, with numbers for μ and the variables named."""
    spans = np.array([float(np.ptp(ds["energy"].values)) for ds in parts])
    for n, ds in enumerate(parts):
        variables = [name for name in ("mu", *names) if name in ds]
        there = all(np.isfinite(ds[name].values).mean() > 1 - LACKS for name in variables)
        if spans[n] > (1 - LACKS) * float(np.median(spans)) and there:
            return n
    return 0


def edge_of(ds: xr.Dataset) -> float:
    """Return the steepest rise of a scan, eV.

    Raises
    ------
    FitError
        It has fewer than `FEWEST` points.
    """
    mu = ds["mu"].values.astype(float)
    good = np.isfinite(mu)
    if good.sum() < FEWEST:
        raise FitError(scan_name(ds, 0), f"has {int(good.sum())} finite points", "leave it out")
    return steepest_rise(ds["energy"].values.astype(float)[good], mu[good])


def status_of(ds: xr.Dataset) -> str:
    """Return whether a scan has enough points to have a place in a stack."""
    count = int(np.isfinite(ds["mu"].values).sum())
    return OK if count >= FEWEST else f"failed: has {count} finite points"


def same_edge(parts: Sequence[xr.Dataset]) -> None:
    """Refuse scans of different edges.

    Raises
    ------
    JoinError
        They are.
    """
    edges = {(str(ds.attrs.get("element", "")), str(ds.attrs.get("edge", ""))) for ds in parts} - {("", "")}
    if len(edges) > 1:
        raise JoinError("scans", f"are of different edges: {', '.join(sorted(map(' '.join, edges)))}")


def common_axis(axes: Sequence[Array], status: list[str], e0: float) -> tuple[Array, list[str]]:
    """Return the axis of the stack, and the status of every scan.

    Parameters
    ----------
    axes
        Energies of each scan, eV, aligned.
    status
        "ok", or why a scan has no place in the stack.
    e0
        The edge, eV.

    Raises
    ------
    JoinError
        Complete scans have no common range.
    """
    usable = [n for n, text in enumerate(status) if text == OK]
    begin = float(np.median([axes[n][0] for n in usable]))
    end = float(np.median([axes[n][-1] for n in usable]))
    lacking = LACKS * (end - begin) if len(usable) > 2 else np.inf
    status = list(status)
    for n in usable:
        low, high = axes[n][0], axes[n][-1]
        if low > begin + lacking or high < end - lacking or not low < e0 < high - ROOM:
            status[n] = f"partial: measured from {low:.1f} to {high:.1f} eV"
    complete = [n for n in usable if status[n] == OK] or usable
    first = axes[complete[0]]
    low, high = max(axes[n][0] for n in complete), min(axes[n][-1] for n in complete)
    energy = first[(first >= low) & (first <= high)]
    if energy.size < 10:
        raise JoinError("scans", "have no common range of energy", "align scans of one edge only")
    return energy, status


def on_axis(axes: Sequence[Array], columns: Sequence[Array], energy: Array, usable: Sequence[bool]) -> Array:
    """Return variables of all scans on one axis, shape (scan, variable, energy).

    Parameters
    ----------
    axes
        Energies of each scan, eV.
    columns
        Of each scan its variables, shape (variable, its energies); gaps are interpolated over.
    energy
        The axis, eV. Beyond what a scan measured it is NaN.
    usable
        Which scans to take; the others are NaN.
    """
    out = np.full((len(axes), columns[0].shape[0], energy.size), np.nan)
    groups: dict[tuple[int, bytes], list[int]] = {}
    for n, (axis, values) in enumerate(zip(axes, columns, strict=True)):
        if not usable[n]:
            continue
        if axis.size == energy.size and np.array_equal(axis, energy):
            out[n] = values
        else:
            # scans whose axes differ by a shift only are made of the same intervals
            groups.setdefault((axis.size, np.round(axis - axis[0], 7).tobytes()), []).append(n)
    for members in groups.values():
        for n, rows in _interpolated(axes, columns, energy, members):
            out[n] = rows
    return out


def _interpolated(
    axes: Sequence[Array], columns: Sequence[Array], energy: Array, members: list[int]
) -> Iterator[tuple[int, Array]]:
    from scipy.interpolate import Akima1DInterpolator

    base = axes[members[0]] - axes[members[0]][0]
    stack = np.stack([columns[n] for n in members])
    if np.isfinite(stack).all():
        curves = Akima1DInterpolator(base, stack.reshape(-1, base.size), axis=1, method="makima").c
        curves = curves.reshape(4, base.size - 1, len(members), -1)
        for place, n in enumerate(members):
            x = energy - axes[n][0]
            at = np.clip(np.searchsorted(base, x, side="right") - 1, 0, base.size - 2)
            t = (x - base[at])[:, None]
            c = curves[:, at, place]
            rows = ((c[0] * t + c[1]) * t + c[2]) * t + c[3]
            rows[(x < 0) | (x > base[-1])] = np.nan
            yield n, rows.T
        return
    for n in members:
        rows = np.empty((columns[n].shape[0], energy.size))
        for row, values in zip(rows, columns[n], strict=True):
            good = np.isfinite(values)
            row[:] = Akima1DInterpolator(axes[n][good], values[good], method="makima")(energy)
        yield n, rows


def noise_on(axis: Array, sigma: Array, energy: Array) -> Array:
    """Return the noise of a scan on another axis, such that its points can be taken for independent.

    Where the new axis is denser by q its points share the noise of fewer measured ones: σ grows by √q.
    """
    if axis.size == energy.size and np.array_equal(axis, energy):
        return sigma
    density = np.interp(energy, axis, np.gradient(axis)) / np.gradient(energy)
    return np.asarray(np.interp(energy, axis, sigma) * np.sqrt(np.maximum(density, 1.0)))


def measured_noise(ds: xr.Dataset, mu: Array, e0: float) -> Array:
    """Return the noise of μ on the axis it was measured on: what the scan states, else what it scatters."""
    if "mu_errors" in ds:
        return np.asarray(ds["mu_errors"].values, dtype=float)
    good = np.isfinite(mu)
    energy = ds["energy"].values.astype(float)
    return np.asarray(np.interp(energy, energy[good], point_noise(energy[good], mu[good], e0)))


def times(parts: Sequence[xr.Dataset]) -> dict[str, Any]:
    """Return when the scans were taken and how long they took, where all of them say so."""
    stated = [name for name in ("time", "exposure", "dose") if all(name in ds.coords for ds in parts)]
    return {
        name: ("scan", np.array([ds[name].values for ds in parts]), parts[0][name].attrs) for name in stated
    }


def stored_by_athena(parts: Sequence[xr.Dataset], shifts: Array) -> tuple[dict[str, Any], dict[str, float]]:
    """Return what Athena stored: coordinates over (scan) where the scans differ, and attributes."""
    coordinates: dict[str, Any] = {}
    attributes: dict[str, float] = {}
    stored = [stored_values(ds, 0) for ds in parts]
    for key, (units, long_name) in ATHENA.items():
        values = np.array([values.get(key, np.nan) for values in stored])
        if key == "athena_e0":
            values = values + shifts
        if (values == values[0]).all():
            attributes[key] = float(values[0])
        elif np.isfinite(values).any():
            coordinates[key] = ("scan", values, {"units": units, "long_name": long_name})
    return coordinates, attributes


def common_attributes(parts: Sequence[xr.Dataset]) -> dict[str, Any]:
    """Return the attributes all scans share, and what was written down of each that was corrected.

    A history is made anew by the step.
    """
    rest = [ds.attrs for ds in parts]
    shared = {
        key: value
        for key, value in rest[0].items()
        if key not in ("history", "label", *ATHENA) and all(attrs.get(key) == value for attrs in rest)
    }
    replaced = dict.fromkeys(str(attrs["deglitched"]) for attrs in rest if "deglitched" in attrs)
    if replaced:
        points = [point for text in replaced for point in json.loads(text)]
        shared["deglitched"] = json.dumps(points, ensure_ascii=False)
    if "bad_detectors" not in shared and any("bad_detectors" in attrs for attrs in rest):
        told = ((scan_name(ds, 0), str(ds.attrs.get("bad_detectors", ""))) for ds in parts)
        shared["bad_detectors"] = "; ".join(f"{label}: {text}" for label, text in told if text)
    return shared
