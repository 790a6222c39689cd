"""The mean of repeated scans, with its error, and whether the scans agree.

    μ = Σ wᵢ μᵢ / Σ wᵢ,   σ² = Σ wᵢ² σᵢ² / (Σ wᵢ)², times χ² where that is above 1.

The weight of a scan is one over the mean of its σ², the same at all energies: were it not, scans of different
thickness would bend the mean where their noise changes. A partial scan is brought to the thickness and
background of the mean of the others before it takes part, or there would be a step where it ends.

χ² is that of the shapes: of what is left of each scan when the mean, seen through a change of thickness and
background (a, b + c (E - E₀)), is taken off. Its degrees of freedom are counted with the scan being part of
the mean. Noise that one scan has and the others have not makes χ² large; a scan that stands out is named, not
left out. Before the mean is taken, the repeats are asked whether they change with dose (`xas.doses`).
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from beamline import model, provenance
from beamline.errors import JoinError, SchemaError
from xas.doses import SUSPECT, change_with_dose, order_of
from xas.normalization import scan_name

if TYPE_CHECKING:
    import xarray as xr

Array = np.ndarray[Any, np.dtype[np.float64]]

STANDS_OUT = 5.0
"""A scan whose χ² lies so many standard deviations above 1, and twice above the others', stands out."""


DISAGREE = 4.0
"""With a larger χ² of agreement than this a merge says so."""


@provenance.step("xas.merge", returns="xas.scans")
def merge(scans: xr.Dataset, by: str | Sequence[str] | None = None) -> xr.Dataset:
    """Average repeated scans, weighted by their noise.

    Parameters
    ----------
    scans
        Aligned scans (`xas.align`): ``mu`` and ``mu_errors`` over (scan, energy). A scan that was not aligned
        (all NaN) takes no part; a partial one where it was measured.
    by
        What belongs together: a group for every scan, or a regular expression that is taken out of the labels
        and leaves the group ("_[0-9]+$" makes "a_001" and "a_002" one). None merges all scans.

    Returns
    -------
    Dataset
        One scan per group, in the order they first appear: the variables averaged, ``mu_errors``; per group
        ``repeats``, ``agreement_chi2``, ``dose_p_value`` and ``dose_change`` (NaN for a single scan), the
        means of what scans carry (``energy_shift``, ``time``, channels joined to them); the attribute
        ``merged`` names the members.

    Raises
    ------
    SchemaError
        The scans are no stack with errors.
    JoinError
        There is not a group for every scan, or a group holds no scan that can be used.
    """
    import xarray as xr

    if "scan" not in scans.dims or "mu_errors" not in scans:
        raise SchemaError("scans", "are no stack with mu_errors", "call xas.align first")
    labels = [scan_name(scans, i) for i in range(scans.sizes["scan"])]
    groups = _groups(labels, by)
    order = order_of(scans)
    merged = []
    for name, members in groups.items():
        usable = [n for n in members if np.isfinite(scans["mu"].values[n]).any()]
        if not usable:
            raise JoinError(name, "has no scan that could be aligned", "leave its files out")
        merged.append(_mean(scans.isel(scan=usable), name, order[usable]))
    out = xr.concat(merged, "scan", combine_attrs="override", coords="minimal", compat="override")
    kept = {key: value for key, value in scans.attrs.items() if key not in ("history", "normalization")}
    told = (f"{name}: {', '.join(labels[n] for n in members)}" for name, members in groups.items())
    return out.assign_attrs({**kept, "merged": "; ".join(told)})


def _groups(labels: list[str], by: str | Sequence[str] | None) -> dict[str, list[int]]:
    """Return the scans of each group by its name."""
    if by is None:
        names = ["merged"] * len(labels)
    elif isinstance(by, str):
        try:
            names = [re.sub(by, "", label) for label in labels]
        except re.error as error:
            raise JoinError("by", f"is no regular expression ({error})", 'for one: "_[0-9]+$"') from error
        if names == labels:
            raise JoinError("by", f"{by!r} is in none of the labels ({', '.join(labels[:3])}, …)")
    else:
        names = [str(name) for name in by]
    if len(names) != len(labels):
        raise JoinError("by", f"names groups of {len(names)} scans, there are {len(labels)}")
    groups: dict[str, list[int]] = {}
    for n, name in enumerate(names):
        groups.setdefault(name, []).append(n)
    return groups


def _mean(scans: xr.Dataset, name: str, order: Array) -> xr.Dataset:
    """Return the mean of some scans as a Dataset over (scan, energy) with one scan."""
    import xarray as xr

    energy = scans["energy"].values
    mu, sigma = scans["mu"].values.astype(float), scans["mu_errors"].values.astype(float)
    labels = [scan_name(scans, i) for i in range(mu.shape[0])]
    mu, sigma = _matched(energy, mu, sigma)
    weights = np.where(np.isfinite(mu), 1 / np.nanmean(sigma**2, axis=1, keepdims=True), 0.0)
    mean = _weighted(mu, weights)
    total = weights.sum(axis=0)
    measured = total > 0
    noise = np.sqrt(np.sum((weights * np.nan_to_num(sigma)) ** 2, axis=0))
    error = np.where(measured, noise / np.where(measured, total, 1.0), np.nan)
    agreement, p_value, change = np.nan, np.nan, np.nan
    if mu.shape[0] > 1:
        each = shape_chi2(energy, mu, sigma, mean, error, weights / total)
        agreement = float(np.mean(each))
        error = error * np.sqrt(max(1.0, agreement))
        _name_those_that_stand_out(name, labels, each)
        if agreement > DISAGREE:
            warnings.warn(
                f"{name}: its scans differ {np.sqrt(agreement):.1f} times more than their noise, and so much "
                "is the error of their mean larger",
                stacklevel=5,
            )
        effect = change_with_dose(energy, mu, sigma, order, str(scans.attrs.get("aligned_on")) == "mu_ref")
        p_value, change = effect.p_value, effect.change
        if p_value < SUSPECT:
            warnings.warn(
                f"{name}: its repeats change with dose (p = {p_value:.1g}, by {100 * change:.1f} % of the "
                "edge); the first are nearest to the sample",
                stacklevel=5,
            )
    curves: dict[str, Any] = {"mu": mean, "mu_errors": error}
    for extra in ("mu_ref", "i0"):
        if extra in scans:
            curves[extra] = _weighted(scans[extra].values.astype(float), weights)
    numbers = {
        "repeats": mu.shape[0],
        "agreement_chi2": agreement,
        "dose_p_value": p_value,
        "dose_change": change,
    }
    coordinates = {key: ("scan", np.array([value])) for key, value in numbers.items()}
    return xr.Dataset(
        {key: (("scan", "energy"), values[None], scans[key].attrs) for key, values in curves.items()},
        {
            "energy": scans["energy"],
            "label": ("scan", np.array([name])),
            **coordinates,
            **_carried(scans),
        },
    )


def _matched(energy: Array, mu: Array, sigma: Array) -> tuple[Array, Array]:
    """Return the scans with the partial ones at the thickness and background of the others' mean."""
    whole = np.isfinite(mu).all(axis=1)
    if whole.all() or not whole.any():
        return mu, sigma
    weights = 1 / np.mean(sigma[whole] ** 2, axis=1)
    model = weights @ mu[whole] / weights.sum()
    out, errors = mu.copy(), sigma.copy()
    for n in np.flatnonzero(~whole):
        used = np.isfinite(mu[n])
        if used.sum() < 10:
            continue
        x = energy[used] - energy[used][0]
        design = np.stack([model[used], np.ones(x.size), x], axis=1) / sigma[n, used, None]
        a, b, c = np.linalg.lstsq(design, mu[n, used] / sigma[n, used], rcond=None)[0]
        if a > 0:
            out[n, used], errors[n, used] = (mu[n, used] - b - c * x) / a, sigma[n, used] / a
    return out, errors


def shape_chi2(energy: Array, mu: Array, sigma: Array, mean: Array, error: Array, share: Array) -> Array:
    """Return χ² per degree of freedom of every scan's shape about the mean it is part of, shape (scan,).

    `share` is what part of the mean each scan is, shape (scan, energy).
    """
    centre = float(np.nanmean(energy))
    found = []
    for values, noise, part in zip(mu, sigma, share, strict=True):
        used = np.isfinite(values) & (part < 0.99)
        if used.sum() < 10:
            found.append(1.0)
            continue
        # what a scan shares with the mean cannot differ from it
        own, shared = noise[used], part[used]
        scatter = np.sqrt(np.maximum(own**2 * (1 - 2 * shared) + error[used] ** 2, (1e-3 * own) ** 2))
        design = np.stack([mean[used], np.ones(used.sum()), energy[used] - centre], axis=1) / scatter[:, None]
        y = values[used] / scatter
        left = y - design @ np.linalg.lstsq(design, y, rcond=None)[0]
        found.append(float(left @ left) / (used.sum() - 3))
    return np.array(found)


def _name_those_that_stand_out(name: str, labels: list[str], chi2: Array) -> None:
    if len(labels) < 3:
        return
    for n, value in enumerate(chi2):
        others = float(np.median(np.delete(chi2, n)))
        if value > max(1.5, 2 * others) and value > 1 + STANDS_OUT * np.sqrt(2 / 200):
            warnings.warn(
                f"{name}: {labels[n]} differs from the other repeats (χ² {value:.1f}, theirs {others:.1f})",
                stacklevel=6,
            )


def _weighted(rows: Array, weights: Array) -> Array:
    total = weights.sum(axis=0)
    values = np.sum(weights * np.where(weights > 0, np.nan_to_num(rows), 0.0), axis=0)
    return np.where(total > 0, values / np.where(total > 0, total, 1.0), np.nan)


def _carried(scans: xr.Dataset) -> dict[str, Any]:
    """Return the means of what the scans carry, as coordinates of one scan."""
    out: dict[str, Any] = {}
    for key, coord in scans.coords.items():
        name = str(key)
        if coord.dims != ("scan",) or name == "label" or name.endswith("_errors"):
            continue
        values = coord.values
        if values.dtype.kind == "M":
            start = values.min()
            out[name] = ("scan", np.array([start + (values - start).mean()]), coord.attrs)
        elif name == "alignment":
            bad = [str(v) for v in values if str(v) != "ok"]
            out[name] = ("scan", np.array([bad[0] if bad else "ok"]))
        elif values.dtype.kind in "UO":
            if (values == values[0]).all():
                out[name] = ("scan", values[:1])
        elif name.endswith(model.MASK):
            out[name] = ("scan", np.array([np.bitwise_or.reduce(values)]), coord.attrs)
        elif values.dtype.kind in "iuf":
            errors = scans.coords.get(f"{name}_errors")
            total = name in ("exposure", "dose")
            out[name] = ("scan", np.array([values.sum() if total else values.mean()]), coord.attrs)
            if errors is not None:
                of_mean = float(np.sqrt(np.sum(errors.values**2))) / (1 if total else values.size)
                out[f"{name}_errors"] = ("scan", np.array([of_mean]), errors.attrs)
    return out
