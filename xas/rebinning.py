"""Quick scans on the grid of a usual one: boxcar means, with their errors.

A continuous scan has thousands of points, many more than the absorption has features. They are averaged in
bins around a grid of equal steps in energy below and at the edge, and in k above it:

    E < E₀ - 30 eV: 5 eV;   to E₀ + 50 eV: 0.25 eV;   beyond: 0.05 1/angstrom.

The points of a bin are not spread evenly around its centre. Where there are three or more, a straight line is
fitted to them, whose value at the centre is taken (the mean, if they are); its variance is

    σ² (1/n + (E - x̄)² / Σ (xᵢ - x̄)²).

Where there are fewer, μ is interpolated between its neighbours, and nothing is gained: σ grows where the grid
is denser than the points. A bin of width w flattens a curve by w² μ''/24.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from beamline import model, provenance
from beamline.errors import ConfigError
from xas.constants import ETOK
from xas.normalization import steepest_rise
from xas.resampling import measured_noise, single_scans

if TYPE_CHECKING:
    import xarray as xr

Array = np.ndarray[Any, np.dtype[np.float64]]

FEW = 3
"""Bins with fewer points than this are interpolated."""


@provenance.step("xas.rebin")
def rebin(
    scans: xr.Dataset | xr.DataTree,
    e0: float | None = None,
    xanes: tuple[float, float] = (-30.0, 50.0),
    pre_step: float = 5.0,
    xanes_step: float = 0.25,
    k_step: float = 0.05,
) -> xr.Dataset | xr.DataTree:
    """Average scans in the bins of a usual grid.

    Parameters
    ----------
    scans
        Kind ``xas.scans``: one scan over (energy), several over (scan, energy), or a DataTree of scans.
    e0
        Edge the grid belongs to, eV; by default the steepest rise of the first scan, for all of them.
    xanes
        Begin and end of the fine steps, eV relative to E0.
    pre_step, xanes_step
        Steps below and in that range, eV.
    k_step
        Steps beyond, 1/angstrom.

    Returns
    -------
    Dataset or DataTree
        The scans on the grid, as far as each goes: μ with errors, every other variable over the energy, and
        ``points``, how many were averaged (0 where μ is interpolated).

    Raises
    ------
    ConfigError
        The steps or the range make no grid.
    """
    import xarray as xr

    if min(pre_step, xanes_step, k_step) <= 0 or not xanes[0] < xanes[1] or xanes[1] <= 0:
        raise ConfigError("xanes, pre_step, xanes_step, k_step", "make no grid", "steps are > 0, xanes rises")
    steps = (xanes, pre_step, xanes_step, k_step)
    if isinstance(scans, xr.DataTree):
        leaves = {node.path: node.to_dataset() for node in scans.leaves}
        edge = _edge(next(iter(leaves.values()))) if e0 is None else e0
        return xr.DataTree.from_dict({path: _rebinned(ds, edge, steps) for path, ds in leaves.items()})
    return _rebinned(scans, _edge(scans) if e0 is None else e0, steps)


def usual_grid(
    low: float, high: float, e0: float, xanes: tuple[float, float], pre: float, fine: float, k_step: float
) -> Array:
    """Return the grid between two energies, eV."""
    below = np.arange(e0 + xanes[0] - pre, low, -pre)[::-1]
    near = np.arange(e0 + xanes[0], e0 + xanes[1], fine)
    first = np.sqrt(ETOK * xanes[1])
    k = np.arange(first, np.sqrt(ETOK * max(high - e0, xanes[1])) + k_step, k_step)
    grid = np.concatenate([below, near, e0 + k**2 / ETOK])
    return np.asarray(grid[(grid >= low) & (grid <= high)])


def in_bins(energy: Array, rows: Array, sigma: Array, grid: Array) -> tuple[Array, Array, Any]:
    """Return rows (variable, energy) averaged on a grid, the standard deviations, and the points averaged.

    Parameters
    ----------
    energy
        Increasing, eV.
    rows, sigma
        Variables, and the standard deviation of the first of them.
    grid
        Centres of the bins, increasing, within the energies.
    """
    edges = np.concatenate([[-np.inf], 0.5 * (grid[1:] + grid[:-1]), [np.inf]])
    # the outermost bins are as wide to both sides
    first = np.searchsorted(energy, [2 * grid[0] - edges[1], *edges[1:-1]])
    last = np.searchsorted(energy, [*edges[1:-1], 2 * grid[-1] - edges[-2]])
    count = np.maximum(last - first, 0)
    x = energy - grid[np.clip(np.searchsorted(edges, energy, side="right") - 1, 0, grid.size - 1)]

    def sums(values: Array) -> Array:
        total = np.concatenate([np.zeros((*values.shape[:-1], 1)), np.cumsum(values, axis=-1)], axis=-1)
        return np.asarray(total[..., np.maximum(last, first)] - total[..., first])

    n = np.maximum(count, 1)
    mean = sums(x) / n
    spread = np.maximum(sums(x**2) - n * mean**2, 1e-30)
    # rows are taken relative to their mean, so that differences of large sums lose nothing
    offset = rows.mean(axis=1, keepdims=True)
    means = sums(rows - offset) / n
    slopes = (sums((rows - offset) * x) - n * mean * means) / spread
    lined = count >= FEW
    off = np.where(lined, -mean, 0.0)
    out = means + slopes * off + offset
    error = np.sqrt(sums(sigma**2) / n * (1 / n + off**2 / spread))
    for row, values in zip(out, rows, strict=True):
        row[~lined] = np.interp(grid[~lined], energy, values)
    density = np.interp(grid, energy, np.gradient(energy)) / np.gradient(grid)
    fewer = np.interp(grid, energy, sigma) * np.sqrt(np.maximum(density, 1.0))
    return out, np.where(lined, error, fewer), np.where(lined, count, 0)


def _rebinned(
    scans: xr.Dataset, e0: float, steps: tuple[tuple[float, float], float, float, float]
) -> xr.Dataset:
    parts = single_scans(scans)
    axes = [ds["energy"].values.astype(float) for ds in parts]
    if not axes[0][0] < e0 < axes[0][-1]:
        reach = f"{axes[0][0]:g} to {axes[0][-1]:g} eV"
        raise ConfigError("e0", f"= {e0:g} eV is not in the scan, which goes from {reach}")
    grid = usual_grid(axes[0][0], axes[0][-1], e0, *steps)
    names = [
        str(name) for name, v in parts[0].data_vars.items() if v.dims == ("energy",) and v.dtype.kind in "iuf"
    ]
    names = ["mu", *(name for name in names if name not in ("mu", "mu_errors"))]
    found = []
    for energy, ds in zip(axes, parts, strict=True):
        mu = ds["mu"].values.astype(float)
        good = np.isfinite(mu)
        sigma = measured_noise(ds, mu, e0)
        rows = np.array([ds[name].values.astype(float)[good] for name in names])
        values, errors, count = in_bins(energy[good], rows, sigma[good], grid)
        beyond = (grid < energy[good][0]) | (grid > energy[good][-1])
        values[:, beyond], errors[beyond], count[beyond] = np.nan, np.nan, 0
        found.append((values, errors, count))
    single = "scan" not in scans.dims
    dims = ("energy",) if single else ("scan", "energy")
    stacked = [np.array([part[i] for part in found]) for i in range(3)]
    curves, noise, count = (array[0] for array in stacked) if single else stacked
    variables = {name: (dims, curves[..., i, :], scans[name].attrs) for i, name in enumerate(names)}
    kept = scans.drop_vars([name for name, v in scans.variables.items() if "energy" in v.dims])
    out = kept.assign({**variables, "mu_errors": (dims, noise), "points": (dims, count)})
    out = out.assign_coords(energy=("energy", grid, scans["energy"].attrs))
    return model.with_defaults(
        out.assign_attrs(rebinned=f"{axes[0].size} points on {grid.size}, E0 = {e0:.2f} eV"), "xas.scans"
    )


def _edge(scans: xr.Dataset) -> float:
    first = single_scans(scans)[0]
    mu = first["mu"].values.astype(float)
    good = np.isfinite(mu)
    # over steps as wide as the grid's: the derivative of a quick scan is noise
    energy, mu = first["energy"].values.astype(float)[good], mu[good]
    coarse = np.arange(energy[0], energy[-1], max(0.5, float(np.median(np.diff(energy)))))
    means, _, _ = in_bins(energy, mu[None], np.ones(mu.size), coarse)
    return steepest_rise(coarse, means[0])
