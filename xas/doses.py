"""Whether repeated scans change with dose, before they are averaged.

Repeats in the order of their dose are compared from E₀ - 20 to E₀ + 60 eV. What thickness and background do
(the mean scan, a constant, a slope; where there is no foil, also a shift of the axis) is taken off. What is
left, in units of its noise, is described by cubic splines with knots 2 eV apart, finer than which no edge
changes, and a straight line through the repeats is fitted to each of the ν coefficients. With s the slopes in
units of their noise, and r what the lines leave of n repeats,

    F = (|s|²/ν) / (|r|² / ((n - 2) ν)),

is distributed as F(ν, (n - 2) ν) if nothing changes, whatever the size of the noise (two repeats: |s|² as
χ²(ν), the noise being believed). The p-value is the probability of such an F, or a larger one, by chance.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from beamline.errors import SchemaError
from xas.normalization import steepest_rise

if TYPE_CHECKING:
    import xarray as xr

Array = np.ndarray[Any, np.dtype[np.float64]]

WINDOW = (-20.0, 60.0)
"""What is compared, eV relative to E0."""
KNOTS = 2.0
"""Distance of the knots, eV."""
SUSPECT = 1e-3
"""Below this p-value a series is flagged."""


@dataclass(frozen=True)
class DoseEffect:
    """What repeats say about dose.

    Attributes
    ----------
    p_value
        Probability of such a change with dose, or a larger one, if there is none; NaN if it cannot be tested.
    change
        Largest difference between the last and the first repeat on the fitted lines, in parts of the edge,
        less what thickness and background explain of it.
    energy, difference
        Where (eV) and what the last differs from the first on the lines, in units of μ.
    """

    p_value: float
    change: float
    energy: Array
    difference: Array


def dose_test(scans: xr.Dataset) -> DoseEffect:
    """Test repeats of one sample and spot for a change with dose.

    Parameters
    ----------
    scans
        Aligned repeats (`xas.align`), in the order of the coordinate ``dose`` or ``time`` where they have
        one, else as they stand.

    Raises
    ------
    SchemaError
        They are no stack with errors, or there are fewer than two.
    """
    if "scan" not in scans.dims or "mu_errors" not in scans or scans.sizes["scan"] < 2:
        raise SchemaError("scans", "are not two or more with mu_errors", "call xas.align first")
    mu, sigma = scans["mu"].values.astype(float), scans["mu_errors"].values.astype(float)
    aligned = str(scans.attrs.get("aligned_on")) == "mu_ref"
    return change_with_dose(scans["energy"].values, mu, sigma, order_of(scans), aligned)


def order_of(scans: xr.Dataset) -> Array:
    """Return the dose of every scan, its time, or its place, whichever is known first."""
    for name in ("dose", "time"):
        if name in scans.coords and scans[name].dims == ("scan",):
            values = scans[name].values.astype(float)
            if np.ptp(values) > 0:
                return np.asarray(values)
    return np.arange(scans.sizes["scan"], dtype=float)


def change_with_dose(energy: Array, mu: Array, sigma: Array, dose: Array, aligned: bool) -> DoseEffect:
    """Return whether scans (scan, energy) of noise `sigma` change with `dose`.

    `aligned` says that a foil put them on one axis, so that a shift of the edge is a change.
    """
    from scipy.stats import chi2, f

    nothing = DoseEffect(np.nan, np.nan, np.empty(0), np.empty(0))
    mean = np.mean(mu, axis=0)
    finite = np.isfinite(mean)
    if finite.sum() < 20 or np.ptp(dose) == 0:
        return nothing
    e0 = steepest_rise(energy[finite], mean[finite])
    near = finite & (energy > e0 + WINDOW[0]) & (energy < e0 + WINDOW[1])
    x, rows, noise = energy[near], mu[:, near], np.sqrt(np.mean(sigma[:, near] ** 2, axis=0))
    if x.size < 20:
        return nothing
    nuisance = [mean[near], np.ones(x.size), x - e0]
    if not aligned:
        nuisance.append(np.gradient(mean[near], x))
    splines, _ = np.linalg.qr(_splines(x, noise))
    # within the splines: what else is orthogonal to a noisy mean holds its noise
    inside = splines.T @ (np.stack(nuisance, axis=1) / noise[:, None])
    full, _ = np.linalg.qr(inside, mode="complete")
    basis = splines @ full[:, len(nuisance) :]
    # noisier scans weigh less
    weights = 1 / np.mean((sigma[:, near] / noise) ** 2, axis=1)
    data = (rows / noise) @ basis
    data = data - weights @ data / weights.sum()
    t = dose - weights @ dose / weights.sum()
    size = float(np.sqrt(weights @ t**2))
    slope = (weights * t) @ data / size
    left = np.sqrt(weights)[:, None] * (data - np.outer(t, slope) / size)
    freedom, n = basis.shape[1], dose.size
    if n == 2:
        p_value = float(chi2.sf(slope @ slope, freedom))
    else:
        ratio = (slope @ slope) / max(float(np.sum(left**2)) / (n - 2), 1e-300)
        p_value = float(f.sf(ratio, freedom, (n - 2) * freedom))
    difference = noise * (basis @ slope) * float(np.ptp(t)) / size
    return DoseEffect(p_value, float(np.abs(difference).max() / np.ptp(mean[near])), x, difference)


def _splines(x: Array, noise: Array) -> Array:
    """Return cubic B-splines over the points, in units of the noise, shape (point, spline)."""
    from scipy.interpolate import BSpline

    inner = np.arange(x[0], x[-1], max(KNOTS, 2 * float(np.median(np.diff(x)))))[1:]
    knots = np.concatenate([[x[0]] * 4, inner, [x[-1]] * 4])
    return np.asarray(BSpline.design_matrix(x, knots, 3).toarray() / noise[:, None])
