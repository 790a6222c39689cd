"""Put scans on one energy axis: a reference foil measured with each scan says how the axis drifted.

The foil of scan i, shown at energies E, is that of the first scan, F, seen through a shift and a change of
thickness and background, F a spline through the first foil as smooth as its noise asks for:

    μ_ref,i(E) = a F(E + δᵢ) + b + c (E - E₀),    E from E₀ - 30 to E₀ + 60 eV.

(An interpolation of noisy points would scatter least half way between them and pull δ there.) For each δ
the numbers a, b and c are a linear fit; δᵢ is the least-squares minimum, looked for on a grid of starts first
because the edge of a foil has several rises, then refined with a loss that lets single bad points go (soft
L1). δᵢ is added to the axis and to ``energy_shift``, which says for every scan how far the axis now is from
what was measured: subtract it and the measured axis is back.

The error of δᵢ is what the noise of the foil's own points does to its position (noise from `xas.noise`,
Cramér-Rao for the linearised fit), made larger by √χ² where the fit is worse than the noise. It belongs to
the scan alone, the first scan included: a difference of two shifts has the root of the sum of their squares.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from beamline import provenance
from beamline.errors import FitError, JoinError, SchemaError
from xas.noise import point_noise
from xas.normalization import ATHENA, scan_name, steepest_rise, stored_values

if TYPE_CHECKING:
    import xarray as xr

Array = np.ndarray[Any, np.dtype[np.float64]]

WINDOW = (-30.0, 60.0)
REACH = 15.0
"""Largest shift (eV) that is looked for to either side."""


@provenance.step("xas.align", returns="xas.scans")
def align(
    scans: xr.DataTree | xr.Dataset | Iterable[xr.Dataset], reference: str | None = "mu_ref"
) -> xr.Dataset:
    """Shift scans onto the energy of the first one and put them on its axis.

    Parameters
    ----------
    scans
        Scans of one edge, each over its own ``energy`` (eV): the leaves of a DataTree, a list of Datasets, or
        a Dataset over (scan, energy).
    reference
        Variable to align on: "mu_ref", the foil, or "mu", the sample itself; None shifts nothing and only
        brings the scans onto one axis. A single scan has nothing to be aligned with and needs no reference.

    Returns
    -------
    Dataset
        Over (scan, energy): the variables all scans have, interpolated (modified Akima) onto the axis of the
        first scan where all scans overlap; the noise of μ, estimated before; coordinates ``label`` and
        ``energy_shift`` (eV, with errors), and what Athena stored with each scan, its E0 shifted with the
        axis: an attribute where it is the same for all scans, else a coordinate.

    Raises
    ------
    JoinError
        The scans are of different edges, have no overlap, or lack the reference.
    FitError
        A reference does not look like the first one.
    """
    import xarray as xr

    parts = _parts(scans)
    _same_edge(parts)
    labels = [scan_name(ds, i) for i, ds in enumerate(parts)]
    shifts, errors = np.zeros(len(parts)), None
    if reference is not None and len(parts) > 1:
        shifts, errors = _shifts(parts, labels, reference)
    axes = [ds["energy"].values.astype(float) + shift for ds, shift in zip(parts, shifts, strict=True)]
    low, high = max(axis[0] for axis in axes), min(axis[-1] for axis in axes)
    energy = axes[0][(axes[0] >= low) & (axes[0] <= high)]
    if energy.size < 10:
        raise JoinError("scans", "have no common range of energy", "align scans of one edge only")
    parts = [_with_noise(ds) for ds in parts]
    names = [n for n in ("mu", "mu_ref", "i0") if all(n in ds for ds in parts)]
    coordinates, attributes = _stored(parts, shifts)
    before = np.array([float(ds["energy_shift"]) if "energy_shift" in ds else 0.0 for ds in parts])
    out = xr.Dataset(
        {
            name: (
                ("scan", "energy"),
                np.array([_on(axis, ds[name].values, energy) for axis, ds in zip(axes, parts, strict=True)]),
                parts[0][name].attrs,
            )
            for name in names
        },
        {
            "energy": energy,
            "label": ("scan", np.array(labels)),
            "energy_shift": (
                "scan",
                before + shifts,
                {"units": "eV", "long_name": "energy shift since measured"},
            ),
            **_times(parts),
            **coordinates,
        },
        {**_common_attributes(parts), **attributes},
    )
    noise = [_noise_on(axis, ds["mu_errors"].values, energy) for axis, ds in zip(axes, parts, strict=True)]
    out["mu_errors"] = (("scan", "energy"), np.array(noise))
    if errors is not None:
        attrs = {"units": "eV", "long_name": "standard deviation of energy shift since measured"}
        out = out.assign_coords(energy_shift_errors=("scan", errors, attrs))
    out.attrs["aligned_on"] = reference or "nothing"
    return out


def _shifts(parts: list[xr.Dataset], labels: list[str], reference: str) -> tuple[Array, Array]:
    """Return the shift of every scan against the first, and their errors, in eV."""
    missing = [label for label, ds in zip(labels, parts, strict=True) if reference not in ds]
    if missing:
        reason = str(parts[labels.index(missing[0])].attrs.get("mu_ref_from", ""))
        raise JoinError(
            missing[0], f"has no {reference}{f' ({reason})' if reason else ''}", 'align on "mu", or on None'
        )
    energy, target = _spectrum(parts[0], reference)
    e0 = steepest_rise(energy, target)
    span = _span(energy, target, e0)
    shifts, errors = [], []
    for label, ds in zip(labels, parts, strict=True):
        axis, values = _spectrum(ds, reference)
        shift, error, scale, misfit = _match(axis, values, energy, target, e0)
        if not 0.05 < scale < 20 or misfit > 0.1 * span * scale:
            raise FitError(
                label, f"its {reference} does not look like that of {labels[0]}", "is it the same foil?"
            )
        shifts.append(shift)
        errors.append(error)
    # what smoothing does to F shifts all scans alike, the first one too
    return np.array(shifts) - shifts[0], np.array(errors)


def _match(
    axis: Array, values: Array, energy: Array, target: Array, e0: float
) -> tuple[float, float, float, float]:
    """Return shift, its error, scale a, and the rms of what the fit leaves, for one scan."""
    from scipy.interpolate import UnivariateSpline
    from scipy.optimize import least_squares

    weights = 1 / point_noise(energy, target, e0)
    curve = UnivariateSpline(energy, target, w=weights, s=energy.size, k=3)
    low, high = e0 + WINDOW[0], e0 + WINDOW[1]

    def fit(shift: float) -> tuple[Array, Array, Array]:
        """Return residuals, coefficients and points of the linear fit at one shift."""
        # which points take part must not change with the shift, or the sum of squares would jump
        x = axis[points]
        inside = np.clip(x + shift, energy[0], energy[-1])
        design = np.column_stack([curve(inside), np.ones(x.size), x - e0])
        coefficients = np.linalg.lstsq(design, values[points], rcond=None)[0]
        return values[points] - design @ coefficients, coefficients, inside

    # the window must hold the edge of this scan too, wherever it has drifted
    points = (axis > low - REACH) & (axis < high + REACH)
    starts = np.arange(-REACH, REACH + 0.1, 0.5)
    costs = np.array([float(np.sum(fit(s)[0] ** 2)) for s in starts])
    best = float(starts[np.argmin(costs)])
    points = (axis > low - best) & (axis < high - best)
    sigma = point_noise(axis, values, e0 - best)[points]
    found = least_squares(lambda s: fit(s[0])[0] / sigma, [best], loss="soft_l1", f_scale=3.0, x_scale=0.1)
    shift = float(found.x[0])
    residuals, coefficients, inside = fit(shift)
    slope = coefficients[0] * curve(inside, 1)
    others = np.column_stack([curve(inside), np.ones(inside.size), inside - e0])
    weighted = others / sigma[:, None]
    gradient = slope / sigma
    gradient = gradient - weighted @ np.linalg.lstsq(weighted, gradient, rcond=None)[0]
    own = 1 / np.sqrt(float(gradient @ gradient))
    chi2 = float(np.median((residuals / sigma) ** 2)) / 0.4549
    return shift, own * np.sqrt(max(1.0, chi2)), float(coefficients[0]), float(np.sqrt(np.mean(residuals**2)))


def _spectrum(ds: xr.Dataset, name: str) -> tuple[Array, Array]:
    """Return axis and values of a variable where it is finite."""
    energy, values = ds["energy"].values.astype(float), ds[name].values.astype(float)
    good = np.isfinite(values)
    if good.sum() < 20:
        raise FitError(scan_name(ds, 0), f"its {name} has {int(good.sum())} finite points")
    return energy[good], values[good]


def _span(energy: Array, target: Array, e0: float) -> float:
    near = (energy > e0 + WINDOW[0]) & (energy < e0 + WINDOW[1])
    return float(np.ptp(target[near]))


def _on(axis: Array, values: Array, energy: Array) -> Array:
    from scipy.interpolate import Akima1DInterpolator

    if axis.size == energy.size and np.array_equal(axis, energy):
        return np.asarray(values, dtype=float)
    good = np.isfinite(values)
    curve = Akima1DInterpolator(axis[good], np.asarray(values, dtype=float)[good], method="makima")
    return np.asarray(curve(energy))


def _with_noise(ds: xr.Dataset) -> xr.Dataset:
    """Estimate the noise on the measured axis: interpolated points scatter less than they err."""
    if "mu_errors" in ds:
        return ds
    energy, mu = ds["energy"].values.astype(float), ds["mu"].values.astype(float)
    return ds.assign(mu_errors=("energy", point_noise(energy, mu, steepest_rise(energy, mu))))


def _noise_on(axis: Array, sigma: Array, energy: Array) -> Array:
    """Return the noise on another axis, such that its points can be taken for independent.

    Where the new axis is denser by q its points share the noise of fewer measured ones: σ grows by √q.
    """
    if axis.size == energy.size and np.array_equal(axis, energy):
        return sigma
    density = np.interp(energy, axis, np.gradient(axis)) / np.gradient(energy)
    return np.asarray(np.interp(energy, axis, sigma) * np.sqrt(np.maximum(density, 1.0)))


def _parts(scans: xr.DataTree | xr.Dataset | Iterable[xr.Dataset]) -> list[xr.Dataset]:
    """Return single scans over (energy)."""
    import xarray as xr

    if isinstance(scans, xr.DataTree):
        found = [leaf.to_dataset() for leaf in scans.leaves]
    elif isinstance(scans, xr.Dataset):
        found = [scans]
    elif isinstance(scans, Iterable) and not isinstance(scans, Mapping):
        found = [part for item in scans for part in _parts(item)]
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
    return [ds.sortby("energy") for ds in parts]


def _same_edge(parts: list[xr.Dataset]) -> None:
    edges = {(str(ds.attrs.get("element", "")), str(ds.attrs.get("edge", ""))) for ds in parts} - {("", "")}
    if len(edges) > 1:
        raise JoinError("scans", f"are of different edges: {', '.join(sorted(map(' '.join, edges)))}")


def _times(parts: list[xr.Dataset]) -> dict[str, Any]:
    """Return when the scans were taken and how long they took, where all of them say so."""
    stated = [name for name in ("time", "exposure") if all(name in ds.coords for ds in parts)]
    return {name: ("scan", np.array([ds[name].values for ds in parts])) for name in stated}


def _stored(parts: list[xr.Dataset], shifts: Array) -> tuple[dict[str, Any], dict[str, float]]:
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


def _common_attributes(parts: list[xr.Dataset]) -> dict[str, Any]:
    """Return the attributes all scans share; a history is made anew by the step."""
    first = dict(parts[0].attrs)
    return {
        key: value
        for key, value in first.items()
        if key not in ("history", "label", *ATHENA) and all(ds.attrs.get(key) == value for ds in parts)
    }
