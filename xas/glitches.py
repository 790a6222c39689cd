"""Points that are no absorption: found, replaced, and written down.

A glitch of the monochromator is one to three points wide. Every point is compared with the cubic through its
two neighbours to either side; z is its deviation over the noise of both, or over the usual deviation of the
25 points around, where the curve bends too fast for a cubic. A glitch also spoils the z of its neighbours.
Where |z| is largest, the shortest run of points is looked for without which no |z| around is above the
threshold; it is taken out, and the search goes on without it. From 15 eV below to 40 eV above the edge, and
within two points of that, nothing is looked for, since the edge itself bends within a few points; there, and
where a glitch is wider, `ranges` say what to take out. The points are replaced by the cubic, with the error
that has.
"""

from __future__ import annotations

import json
import warnings
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from beamline import model, provenance
from beamline.errors import ConfigError
from xas.normalization import scan_name, steepest_rise
from xas.resampling import measured_noise, single_scans

if TYPE_CHECKING:
    import xarray as xr

Array = np.ndarray[Any, np.dtype[np.float64]]

WIDEST = 3
"""Widest glitch that is found, points."""
AROUND = 25
"""Points whose median deviation says what is usual there."""
EDGE = (-15.0, 40.0)
"""Around E0 nothing is looked for, eV."""
FLAG = 1
"""Bit of ``mu_mask`` for points that were replaced."""


@provenance.step("xas.deglitch")
def deglitch(
    scans: xr.Dataset | xr.DataTree,
    threshold: float = 8.0,
    ranges: Sequence[Sequence[float]] = (),
) -> xr.Dataset | xr.DataTree:
    """Replace glitches of μ.

    Parameters
    ----------
    scans
        Kind ``xas.scans``: one scan, several over (scan, energy), or a DataTree of scans.
    threshold
        How far a point must deviate from its neighbours, in standard deviations; `inf` looks for none.
    ranges
        Energies (low, high), eV, to take out of every scan, wherever they are.

    Returns
    -------
    Dataset or DataTree
        The scans with those points of ``mu`` replaced, marked in ``mu_mask``. The attribute ``deglitched`` is
        a JSON list of scan, energy, and μ before and after: nothing is lost. A warning says how many.

    Raises
    ------
    ConfigError
        A range is none, or leaves nothing to replace it from.
    """
    import xarray as xr

    if not threshold > 3:
        raise ConfigError("threshold", f"is {threshold:g}", "below 4 noise is taken for glitches")
    for limits in ranges:
        if len(limits) != 2 or not limits[0] < limits[1]:
            raise ConfigError("ranges", f"hold {tuple(limits)}", "give (low, high) in eV")
    if isinstance(scans, xr.DataTree):
        leaves = {node.path: node.to_dataset() for node in scans.leaves}
        return xr.DataTree.from_dict({p: _deglitched(ds, threshold, ranges) for p, ds in leaves.items()})
    return _deglitched(scans, threshold, ranges)


def _deglitched(scans: xr.Dataset, threshold: float, ranges: Sequence[Sequence[float]]) -> xr.Dataset:
    from scipy.signal import medfilt

    if not (np.diff(scans["energy"].values) > 0).all():
        scans = scans.sortby("energy")  # as `single_scans` has them
    single = "scan" not in scans.dims
    records: list[dict[str, Any]] = json.loads(scans.attrs.get("deglitched", "[]"))
    before = len(records)
    mu = np.atleast_2d(scans["mu"].values.astype(float)).copy()
    noise, mask = np.empty_like(mu), np.zeros(mu.shape, dtype=np.int8)
    for row, ds in enumerate(single_scans(scans)):
        energy = ds["energy"].values.astype(float)
        name = scan_name(scans, row)
        good = np.isfinite(mu[row])
        noise[row] = np.nan
        if good.sum() < 10:
            continue
        # of five points the middle one: a glitch is steeper than any edge
        e0 = steepest_rise(energy[good], medfilt(mu[row, good], 5))
        sigma = measured_noise(ds, mu[row], e0)
        noise[row, good] = sigma[good]
        bad = _given(energy, good, ranges, name)
        bad |= _found(energy, mu[row], sigma, good & ~bad, e0, threshold)
        new, error = _replaced(energy, mu[row], sigma, good & ~bad, bad)
        at = np.flatnonzero(bad)
        records += [
            {"scan": name, "energy": float(energy[i]), "mu": float(mu[row, i]), "replaced_by": float(value)}
            for i, value in zip(at, new, strict=True)
        ]
        mu[row, at], noise[row, at], mask[row, at] = new, error, FLAG
    if len(records) > before:
        last = records[before:]
        where = ", ".join(f"{r['energy']:.1f}" for r in last[:4]) + (", …" if len(last) > 4 else "")
        names = sorted({r["scan"] for r in last})
        warnings.warn(
            f"{', '.join(names[:3])}{', …' if len(names) > 3 else ''}: {len(last)} point(s) of μ replaced as "
            f"glitches ({where} eV)",
            stacklevel=5,
        )
    if single:
        mu, noise, mask = mu[0], noise[0], mask[0]
    dims = scans["mu"].dims
    flags = {"flag_masks": np.array([FLAG], np.int8), "flag_meanings": "glitch", "long_name": "replaced μ"}
    out = scans.assign(mu=(dims, mu, scans["mu"].attrs), mu_errors=(dims, noise), mu_mask=(dims, mask, flags))
    out.attrs["deglitched"] = json.dumps(records, ensure_ascii=False)
    return model.with_defaults(out, "xas.scans")


def _given(energy: Array, good: Any, ranges: Sequence[Sequence[float]], name: str) -> Any:
    """Return the points within the ranges."""
    bad = np.zeros(energy.size, dtype=bool)
    for low, high in ranges:
        inside = good & (energy >= low) & (energy <= high)
        outside = good & ~inside
        if inside.any() and (outside[energy < low].sum() < 2 or outside[energy > high].sum() < 2):
            raise ConfigError("ranges", f"leave {name} nothing beside {low:g} to {high:g} eV to interpolate")
        bad |= inside
    return bad


def _found(energy: Array, mu: Array, sigma: Array, good: Any, e0: float, threshold: float) -> Any:
    """Return the points that are glitches, found one run after the other."""
    from scipy.ndimage import binary_dilation, median_filter

    bad = np.zeros(energy.size, dtype=bool)
    inside = (energy >= e0 + EDGE[0]) & (energy <= e0 + EDGE[1])
    outside = ~binary_dilation(inside, iterations=2)
    while np.isfinite(threshold) and bad.sum() < 0.05 * energy.size:
        at = np.flatnonzero(good & ~bad)
        z = _deviations(energy[at], mu[at], sigma[at])
        # where all points deviate it is the curve that bends: they are measured by their neighbourhood
        usual = 1.4826 * median_filter(z, AROUND, mode="nearest")
        z = np.where(outside[at], z / np.maximum(usual, 1.0), 0.0)
        worst = int(np.argmax(z))
        if z[worst] <= threshold:
            break
        part = at[max(0, worst - 12) : worst + 13]
        scale = sigma * max(float(usual[worst]), 1.0)
        run = _shortest_run(part, int(at[worst]), energy, mu, scale, outside, threshold)
        bad[run] = True
    return bad


def _shortest_run(
    part: Any, worst: int, energy: Array, mu: Array, sigma: Array, outside: Any, threshold: float
) -> Any:
    """Return the points near the worst without which the others agree, or agree best."""
    centre = int(np.flatnonzero(part == worst)[0])
    best, run = np.inf, part[centre : centre + 1]
    for width in range(1, WIDEST + 1):
        for first in range(max(0, centre - WIDEST), min(part.size - width, centre + WIDEST) + 1):
            taken = part[first : first + width]
            if not outside[taken].all():
                continue
            rest = np.delete(part, slice(first, first + width))
            z = np.where(outside[rest], _deviations(energy[rest], mu[rest], sigma[rest]), 0.0)
            if z.max() < best:
                best, run = float(z.max()), taken
        if best <= threshold:
            break
    return run


def _deviations(x: Array, y: Array, sigma: Array) -> Array:
    """Return |z| of every point against the cubic through its neighbours; 0 for the outermost two."""
    z = np.zeros(x.size)
    if x.size < 5:
        return z
    offsets = (0, 1, 3, 4)
    nodes, values, noise = (np.stack([a[o : a.size - 4 + o] for o in offsets]) for a in (x, y, sigma))
    weights = lagrange(nodes, x[None, 2:-2])[0]
    variance = sigma[2:-2] ** 2 + np.sum((weights * noise) ** 2, axis=0)
    z[2:-2] = np.abs(y[2:-2] - np.sum(weights * values, axis=0)) / np.sqrt(variance)
    return z


def lagrange(nodes: Array, at: Array) -> Array:
    """Return the weights of the cubics through four nodes (node, m) at some places (place, m)."""
    weights = np.ones((at.shape[0], 4, at.shape[1]))
    for i in range(4):
        for other in range(4):
            if other != i:
                weights[:, i] *= (at - nodes[other]) / (nodes[i] - nodes[other])
    return weights


def _replaced(energy: Array, mu: Array, sigma: Array, good: Any, bad: Any) -> tuple[Array, Array]:
    """Return the cubic through two good neighbours to either side at the bad points, and its error."""
    kept, at = np.flatnonzero(good), np.flatnonzero(bad)
    first = np.clip(np.searchsorted(kept, at) - 2, 0, kept.size - 4)
    nodes = kept[first[None] + np.arange(4)[:, None]]
    weights = lagrange(energy[nodes], energy[at][None])[0]
    return np.sum(weights * mu[nodes], axis=0), np.sqrt(np.sum((weights * sigma[nodes]) ** 2, axis=0))
