"""Put scans on one energy axis: a reference foil measured with each scan says how the axis drifted.

The shift of each foil against the first one is measured by `xas.shifts`, with its error. It is added to the
axis, or turned into an angle of the monochromator, which is what really drifts: along the angle, what is 5 eV
at the Ni K edge is 6.3 eV at 9300 eV (`calibration.mono`). ``energy_shift`` says for every scan how far its
axis is, at the edge, from what was measured.

The error of a shift belongs to the scan alone, the first scan included: a difference of two shifts has the
root of the sum of their squares. Over a series the drift can be modelled (`xas.drifts`); the shifts measured
stay beside it.

What cannot be aligned is not guessed: its row is NaN and ``alignment`` says why. A scan that was aborted
keeps what it has.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import numpy as np

from beamline import provenance
from beamline.errors import CalibrationError, ConfigError
from xas import resampling
from xas.drifts import Drift, model_drift
from xas.normalization import scan_name
from xas.references import reference_shifts
from xas.shifts import Shifts

if TYPE_CHECKING:
    import xarray as xr

Array = np.ndarray[Any, np.dtype[np.float64]]

SMOOTH = 4.0
"""With a larger χ² per degree of freedom than this a drift is not smooth, and no model is used."""


@provenance.step("xas.align", returns="xas.scans")
def align(
    scans: xr.DataTree | xr.Dataset | Iterable[xr.Dataset],
    reference: str | None = "mu_ref",
    along: str = "energy",
    d_spacing: float | None = None,
    drift: bool = False,
) -> xr.Dataset:
    """Shift scans onto the energy of the first complete one and put them on its axis.

    Parameters
    ----------
    scans
        Scans of one edge, each over its own ``energy`` (eV): the leaves of a DataTree, a list of Datasets, or
        a Dataset over (scan, energy).
    reference
        Variable to align on: "mu_ref", the foil, or "mu", the sample itself; None shifts nothing and only
        brings the scans onto one axis. A single scan has nothing to be aligned with and needs no reference.
    along
        "energy" adds the shift to every energy, as Athena does; "angle" turns the monochromator by what the
        shift is at the edge.
    d_spacing
        Lattice spacing of the monochromator in angstrom, for the angle; by default what the scans state.
    drift
        Take the shifts from a model of smooth drifts and jumps over the series instead of one by one. A scan
        without a usable foil gets the shift of the model.

    Returns
    -------
    Dataset
        Over (scan, energy): the variables all scans have, interpolated (modified Akima) onto the axis of the
        first complete scan where all complete scans overlap; the noise of μ, estimated before; coordinates
        ``label``, ``alignment`` ("ok", "partial: …", "failed: …"; NaN where nothing was measured),
        ``energy_shift`` (eV, with errors), and what Athena stored with each scan, its E0 shifted with the
        axis: an attribute where it is the same for all scans, else a coordinate. Of a modelled drift there
        are ``measured_shift`` beside it and the attributes ``drift_chi2`` and ``drift_jumps``.

    Raises
    ------
    JoinError
        The scans are of different edges, have no overlap, or lack the reference, or it is the sample over
        again.
    FitError
        No other reference looks like the first one.
    ConfigError
        `along` makes no sense, or lacks the lattice spacing.
    """
    parts = resampling.single_scans(scans)
    resampling.same_edge(parts)
    labels = [scan_name(ds, i) for i, ds in enumerate(parts)]
    spacing = _spacing(parts, along, d_spacing)
    axes = [ds["energy"].values.astype(float) for ds in parts]
    first = resampling.first_complete(parts, [reference] if reference else [])
    found = Shifts(np.zeros(len(parts)), np.full(len(parts), np.nan), ("",) * len(parts))
    if reference is not None and len(parts) > 1:
        found = reference_shifts(parts, labels, reference, first)
    model = _drift(found, parts) if drift and reference is not None and len(parts) > 1 else None
    shifts, errors = (found.shift, found.errors) if model is None else (model.shift, model.errors)
    status = [
        resampling.status_of(ds) if np.isfinite(shift) else f"failed: its {reference} {problem}"
        for ds, shift, problem in zip(parts, shifts, found.problem, strict=True)
    ]
    e0 = resampling.edge_of(parts[first])
    moved = [
        _moved(axis, shift, e0, spacing) if np.isfinite(shift) else axis
        for axis, shift in zip(axes, shifts, strict=True)
    ]
    out = _stack(parts, labels, moved, shifts, status, e0)
    if reference is not None and len(parts) > 1:
        out = _with_errors(out, "energy_shift", errors)
    out.attrs["aligned_on"] = reference or "nothing"
    if spacing is not None and reference is not None:
        out.attrs["aligned_along"] = f"angle, d = {spacing:g} angstrom, energy_shift at {e0:.2f} eV"
    if model is not None:
        out = out.assign_coords(measured_shift=("scan", found.shift))
        out = _with_errors(out, "measured_shift", found.errors)
        out.attrs["drift_chi2"] = model.reduced_chi2
        out.attrs["drift_jumps"] = "; ".join(
            f"{size:+.3f} ± {error:.3f} eV before {labels[at]}" for at, size, error in model.jumps
        )
    return out


def _drift(found: Shifts, parts: list[xr.Dataset]) -> Drift | None:
    """Return the model of the drift; None, with a warning, where there is no smooth one."""
    position = None
    if all("time" in ds.coords for ds in parts):
        position = np.array([ds["time"].values for ds in parts]).astype("datetime64[ns]").astype(float)
        if (np.diff(position) <= 0).any():
            position = None
    model = model_drift(found.shift, found.errors, position)
    if model.reduced_chi2 > SMOOTH:
        warnings.warn(
            f"shifts scatter {np.sqrt(model.reduced_chi2):.1f} times more than they err about a smooth drift "
            "with jumps; each scan keeps its own",
            stacklevel=4,
        )
        return None
    return model


def _spacing(parts: list[xr.Dataset], along: str, d_spacing: float | None) -> float | None:
    """Return the lattice spacing for an alignment along the angle, None along the energy."""
    if along not in ("energy", "angle"):
        raise ConfigError("along", f"is {along!r}", 'it is "energy" or "angle"')
    if along == "energy":
        return None
    spacing = d_spacing or parts[0].attrs.get("d_spacing")
    if not spacing:
        raise ConfigError("d_spacing", "is not known", "give that of the crystal: d_spacing=3.1356")
    return float(spacing)


def _moved(axis: Array, shift: float, e0: float, spacing: float | None) -> Array:
    """Return the axis a shift (eV, at the edge) brings an axis to."""
    if spacing is None or shift == 0:
        return axis + shift
    from calibration.mono import angle_of, turned

    try:
        before, after = angle_of(np.array([e0 - shift, e0]), spacing)
        return turned(axis, float(after - before), spacing)
    except CalibrationError as error:
        raise ConfigError("d_spacing", f"of {spacing:g} angstrom makes no sense: {error}") from error


def _stack(
    parts: list[xr.Dataset],
    labels: list[str],
    axes: list[Array],
    shifts: Array,
    status: list[str],
    e0: float,
) -> xr.Dataset:
    """Return the scans on one axis."""
    import xarray as xr

    energy, status = resampling.common_axis(axes, status, e0)
    usable = [not text.startswith("failed") for text in status]
    names = [n for n in ("mu", "mu_ref", "i0") if all(n in ds for ds in parts)]
    columns = [np.array([ds[name].values for name in names], dtype=float) for ds in parts]
    rows = resampling.on_axis(axes, columns, energy, usable)
    noise = np.full(rows.shape[::2], np.nan)
    for n, (ds, axis) in enumerate(zip(parts, axes, strict=True)):
        if usable[n]:
            sigma = resampling.measured_noise(ds, columns[n][0], e0 - float(np.nan_to_num(shifts[n])))
            noise[n] = np.where(np.isfinite(rows[n, 0]), resampling.noise_on(axis, sigma, energy), np.nan)
    coordinates, attributes = resampling.stored_by_athena(parts, shifts)
    before = np.array([float(ds["energy_shift"]) if "energy_shift" in ds.coords else 0.0 for ds in parts])
    return xr.Dataset(
        {
            **{name: (("scan", "energy"), rows[:, i], parts[0][name].attrs) for i, name in enumerate(names)},
            "mu_errors": (("scan", "energy"), noise),
        },
        {
            "energy": energy,
            "label": ("scan", np.array(labels)),
            "alignment": ("scan", np.array(_kept(parts, status))),
            "energy_shift": ("scan", before + shifts),
            **resampling.times(parts),
            **coordinates,
        },
        {**resampling.common_attributes(parts), **attributes},
    )


def _kept(parts: list[xr.Dataset], status: list[str]) -> list[str]:
    """Return what is said of every scan; what was known to be wrong before is not forgotten."""
    before = [str(ds["alignment"].values) if "alignment" in ds.coords else resampling.OK for ds in parts]
    return [new if new != resampling.OK else old for old, new in zip(before, status, strict=True)]


def _with_errors(ds: xr.Dataset, name: str, errors: Array) -> xr.Dataset:
    return ds.assign_coords({f"{name}_errors": ("scan", errors)})
