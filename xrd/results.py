r"""From what an engine found to a Dataset of kind ``xrd.series``: the same whatever the engine.

Agreement (R. A. Young (ed.), The Rietveld Method (1993), chapter 3; background counted, as in GSAS-II):

.. math:: R_{wp} = \sqrt{\frac{\sum w (y_o - y_c)^2}{\sum w y_o^2}}, \qquad
          GOF = \sqrt{\frac{\sum w (y_o - y_c)^2 + \text{restraints}}{N - P + N_r}}

Errors are :math:`\sqrt{\mathrm{diag} (J^T W J)^{-1}}` times GOF, as GSAS-II scales them (also where GOF < 1);
divide by ``gof`` for unscaled ones. What follows from parameters (the other cell edges, the volume,
fractions) has the errors their covariance gives. GSAS-II propagates those of cells with a transposed matrix:
its error of the hexagonal a is 5/3 of what it should be (docs/decisions/0016).
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import xarray as xr

from xrd.broadening import reciprocal
from xrd.engines import Fit
from xrd.models import Model
from xrd.observations import Observations
from xrd.phases import CELL, Floats, Phase, cell_dependence, expand_cell

TABLE = ("scale", "size", "size_axial", "strain", "strain_axial", "march")
"""Parameters of phases that have a variable of their own, beside the cell, volume and fraction."""

_UNITS = {"size": "um", "size_axial": "um", "size_limit": "um"}
_LONG = {
    "strain": "microstrain (10⁻⁶)",
    "strain_axial": "microstrain along the axis (10⁻⁶)",
    "size_axial": "crystallite size along the axis",
    "march": "March-Dollase ratio",
    "size_limit": "crystallite size, lower bound (95 %)",
    "strain_limit": "microstrain (10⁻⁶), upper bound (95 %)",
    "tm_fraction": "part of the transition metal in the phase",
}


def series(patterns: xr.Dataset, observations: Observations, model: Model, fits: Sequence[Fit]) -> xr.Dataset:
    """Return the fits of patterns as one Dataset of kind ``xrd.series``.

    Variables, with ``_errors`` where they were refined:

    ==========================================  ===================================================
    (frame, phase)                              a, b, c, alpha, beta, gamma, volume, scale, fraction
                                                (by mass), tm_fraction, size, strain, size_axial,
                                                strain_axial, march, size_limit, strain_limit
    (frame)                                     rwp, gof (as ratios, not %), zero, status, message,
                                                cycles, chi2, points
    (frame, term)                               background: the Chebyshev coefficients
    (frame, variable)                           estimate: every free parameter
    (frame, variable, variable_)                covariance, scaled by GOF² as the errors are
    (frame, parameter)                          setting: every parameter, held and tied ones too
    (frame, two_theta)                          intensity with its errors, as observed; calculated and
                                                baseline (the background curve), NaN outside the fit;
                                                with ``curves``
    (frame, reflection)                         tick, with coordinates label, reflection_phase, h, k,
                                                l: 2θ of the reflections; with ``curves``
    ==========================================  ===================================================

    A value that was held for one phase and refined for another is NaN where it was held (it has no error);
    ``setting`` has it. A failed fit is NaN throughout, with its reason in ``message``.
    """
    names = list(model.parameters)
    values = np.array([fit.values for fit in fits])
    gof = np.array([_gof(fit, len(model.variables)) for fit in fits])
    covariance = np.array([fit.covariance for fit in fits]) * gof[:, None, None] ** 2
    matrix, _ = model.constraints()
    total = matrix @ covariance @ matrix.T
    found: dict[str, Any] = {}
    for name, columns in _phase_columns(model, names, values, total, fits).items():
        _add(found, name, ("frame", "phase"), *columns)
    limits = {"size_limit": "size", "strain_limit": "strain"}
    for name, parameter in limits.items():
        bounds = [[fit.limits.get(f"{p.name}/{parameter}", np.nan) for p in model.phases] for fit in fits]
        if np.isfinite(bounds).any():
            _add(found, name, ("frame", "phase"), np.array(bounds), None)
    norm = np.array([fit.norm for fit in fits])
    chi2 = np.array([fit.chi2 for fit in fits])
    with np.errstate(invalid="ignore", divide="ignore"):
        _add(found, "rwp", ("frame",), np.minimum(np.sqrt(chi2 / norm), 1.0), None)
    _add(found, "gof", ("frame",), gof, None)
    _add(found, "chi2", ("frame",), chi2, None, "weighted sum of squared residuals")
    _add(found, "points", ("frame",), np.array([fit.points for fit in fits]), None, "points fitted")
    found["status"] = ("frame", [fit.status for fit in fits])
    found["message"] = ("frame", [fit.message for fit in fits])
    found["cycles"] = ("frame", [fit.cycles for fit in fits], {"units": "", "long_name": "cycles of the fit"})
    for name, dims, columns in _pattern_columns(model, names, values, total):
        _add(found, name, dims, *columns)
    free = [names.index(name) for name in model.variables]
    _add(
        found, "estimate", ("frame", "variable"), *_refined(values[:, free], covariance), "refined parameter"
    )
    _add(
        found,
        "covariance",
        ("frame", "variable", "variable_"),
        covariance,
        None,
        "covariance, scaled by GOF²",
    )
    _add(found, "setting", ("frame", "parameter"), values, None, "parameter of the model")
    ds = xr.Dataset(
        found,
        coords={
            "phase": [phase.name for phase in model.phases],
            "variable": list(model.variables),
            "variable_": list(model.variables),
            "parameter": names,
            "parameter_units": ("parameter", [p.units for p in model.parameters.values()]),
        },
    )
    if all(fit.calculated is not None for fit in fits):
        _add_curves(ds, patterns, observations, fits)
        _add_ticks(ds, model, fits)
    return _with_frames(ds, patterns).assign_attrs(error_scaling="gof")


def cells(phase: Phase, free: Floats, covariance: Floats) -> tuple[Floats, Floats]:
    r"""Return a, b, c, α, β, γ and volume, and their standard deviations, from the free cell parameters.

    The volume is :math:`V = \sqrt{\det g}`, its derivative :math:`V\, \mathrm{tr}(g^{-1} ∂g) / 2`.
    """
    dependence = cell_dependence(phase.lattice)
    cell = expand_cell(phase.lattice, free)
    lattice = reciprocal(cell)
    rows = np.vstack([dependence, lattice.volume * lattice.log_volume @ dependence])
    variance = np.einsum("ri,ij,rj->r", rows, covariance, rows)
    return np.append(cell, lattice.volume), np.sqrt(np.maximum(variance, 0.0))


def _phase_columns(
    model: Model, names: list[str], values: Floats, total: Floats, fits: Sequence[Fit]
) -> dict[str, tuple[Floats, Floats | None]]:
    """Return value and error (frame, phase) of everything that belongs to phases."""
    frames, count = len(values), len(model.phases)
    found = {
        name: (np.full((frames, count), np.nan), np.zeros((frames, count))) for name in (*CELL, "volume")
    }
    for column, phase in enumerate(model.phases):
        rows = [names.index(f"{phase.name}/{name}") for name in phase.free_cell]
        for frame in np.flatnonzero(np.isfinite(values[:, rows]).all(axis=1)):
            best, errors = cells(phase, values[frame, rows], total[frame][np.ix_(rows, rows)])
            for i, name in enumerate((*CELL, "volume")):
                found[name][0][frame, column], found[name][1][frame, column] = best[i], errors[i]
    for name in TABLE:
        at = {i: f"{p.name}/{name}" for i, p in enumerate(model.phases) if f"{p.name}/{name}" in names}
        if not at or (name == "march" and all(model.parameters[key].value == 1 for key in at.values())):
            continue
        found[name] = (np.full((frames, count), np.nan), np.zeros((frames, count)))
        for i, key in at.items():
            row = names.index(key)
            found[name][0][:, i] = np.where([key in fit.limits for fit in fits], np.nan, values[:, row])
            found[name][1][:, i] = np.sqrt(np.maximum(total[:, row, row], 0.0))
    scales = [names.index(f"{phase.name}/scale") for phase in model.phases]
    amounts = {"fraction": [_mass(p) for p in model.phases], "tm_fraction": [_metal(p) for p in model.phases]}
    for name, weights in amounts.items():
        if np.isfinite(weights).any() and np.nansum(weights) > 0:
            block = total[:, scales][:, :, scales]
            found[name] = _fractions(values[:, scales], block, np.array(weights))
    return {name: _held(*columns) for name, columns in found.items()}


def _fractions(scales: Floats, covariance: Floats, weights: Floats) -> tuple[Floats, Floats]:
    """Return the shares of a total that scales times weights have, and their errors."""
    parts = np.where(np.isfinite(weights), scales * np.nan_to_num(weights), 0.0)
    total = parts.sum(axis=1, keepdims=True)
    with np.errstate(invalid="ignore", divide="ignore"):
        share = parts / total
        # ∂share_i/∂scale_j = (δ_ij - share_i) weight_j / total
        slopes = (np.eye(len(weights)) - share[:, :, None]) * np.nan_to_num(weights) / total[:, :, None]
        variance = np.einsum("fij,fjk,fik->fi", slopes, covariance, slopes)
    share = np.where(np.isfinite(weights), share, np.nan)
    return share, np.sqrt(np.maximum(variance, 0.0))


def _pattern_columns(
    model: Model, names: list[str], values: Floats, total: Floats
) -> Iterator[tuple[str, tuple[str, ...], tuple[Floats, Floats | None]]]:
    """Yield what belongs to whole patterns: zero and displacements, and the background's coefficients."""
    for name in ("zero", "displacement_x", "displacement_y", "displacement", "transparency", "absorption"):
        parameter = model.parameters.get(name)
        if parameter is None or (name != "zero" and not (parameter.free or parameter.value)):
            continue
        row = names.index(name)
        errors = np.sqrt(np.maximum(total[:, row, row], 0.0))
        yield name, ("frame",), _held(values[:, row], errors)
    rows = [names.index(f"background/{i}") for i in range(model.background.terms)]
    if rows:
        errors = np.sqrt(np.maximum(total[:, rows, rows], 0.0))
        yield "background", ("frame", "term"), _held(values[:, rows], errors)


def _held(values: Floats, errors: Floats) -> tuple[Floats, Floats | None]:
    """Return values with errors; without errors where none was refined, NaN where held beside refined."""
    refined = (errors > 0) & np.isfinite(values)
    if not refined.any():
        return values, None
    return np.where(refined, values, np.nan), np.where(refined, errors, np.nan)


def _refined(values: Floats, covariance: Floats) -> tuple[Floats, Floats | None]:
    return _held(values, np.sqrt(np.maximum(np.diagonal(covariance, axis1=1, axis2=2), 0.0)))


def _gof(fit: Fit, variables: int) -> float:
    free = fit.points + fit.penalty[1] - variables
    return float(np.sqrt((fit.chi2 + fit.penalty[0]) / free)) if free > 0 else np.nan


def _mass(phase: Phase) -> float:
    return phase.mass() if phase.intensities == "structure" else np.nan


def _metal(phase: Phase) -> float:
    """Return the atoms of transition metals in the cell."""
    import gemmi

    if phase.intensities != "structure":
        return np.nan
    metals = [n for e, n in phase.contents().items() if 21 <= gemmi.Element(e).atomic_number <= 30]
    return float(sum(metals))


def _add(
    found: dict[str, Any],
    name: str,
    dims: tuple[str, ...],
    values: Any,
    errors: Any,
    long_name: str | None = None,
) -> None:
    from beamline.model import NAMES

    known = NAMES.get(name)
    units = _UNITS.get(name, (known.units or "") if known else _parameter_units(name))
    label = long_name or _LONG.get(name) or (known.long_name if known else name.replace("_", " "))
    found[name] = (dims, values, {"units": units, "long_name": label})
    if errors is not None:
        long = f"standard deviation of {label}"
        found[f"{name}_errors"] = (dims, errors, {"units": units, "long_name": long})


def _parameter_units(name: str) -> str:
    return {"displacement": "um", "displacement_x": "um", "displacement_y": "um", "transparency": "cm"}.get(
        name, ""
    )


def _add_curves(
    ds: xr.Dataset, patterns: xr.Dataset, observations: Observations, fits: Sequence[Fit]
) -> None:
    units = patterns["intensity"].attrs.get("units", "")
    ds.coords["two_theta"] = ("two_theta", observations.two_theta, {"units": "deg", "long_name": "2θ"})
    curves = {"calculated": "calculated intensity", "baseline": "background under the reflections"}
    observed = {"units": units, "long_name": "observed intensity"}
    ds["intensity"] = (("frame", "two_theta"), observations.intensity, observed)
    ds["intensity_errors"] = (("frame", "two_theta"), observations.errors, {"units": units})
    for name, label in curves.items():
        stack = np.array([getattr(fit, name) for fit in fits])
        ds[name] = (("frame", "two_theta"), stack, {"units": units, "long_name": label})


def _add_ticks(ds: xr.Dataset, model: Model, fits: Sequence[Fit]) -> None:
    """Add the reflections, those of all frames under one index."""
    keys: dict[tuple[str, tuple[int, ...]], int] = {}
    labels: list[str] = []
    for fit in fits:
        for phase, ticks in zip(model.phases, fit.ticks, strict=False):
            for hkl, label in zip(ticks.hkl, ticks.labels, strict=True):
                key = (phase.name, tuple(int(i) for i in hkl))
                if key not in keys:
                    keys[key] = len(keys)
                    labels.append(label)
    position = np.full((len(fits), len(keys)), np.nan)
    for frame, fit in enumerate(fits):
        for phase, ticks in zip(model.phases, fit.ticks, strict=False):
            columns = [keys[phase.name, tuple(int(i) for i in hkl)] for hkl in ticks.hkl]
            position[frame, columns] = ticks.two_theta
    attributes = {"units": "deg", "long_name": "2θ of the reflection"}
    ds["tick"] = (("frame", "reflection"), position, attributes)
    ds.coords["label"] = ("reflection", np.array(labels, dtype=str))
    ds.coords["reflection_phase"] = ("reflection", np.array([name for name, _ in keys], dtype=str))
    indices = np.array([hkl for _, hkl in keys], dtype=int).reshape(-1, 3)
    ds.coords["hkl"] = (("reflection", "index"), indices, {"units": "", "long_name": "Miller indices"})


def _with_frames(ds: xr.Dataset, patterns: xr.Dataset) -> xr.Dataset:
    """Return the Dataset with the coordinates of the patterns' frames."""
    kept = {
        name: coord
        for name, coord in patterns.coords.items()
        if "frame" in coord.dims and set(coord.dims) <= {"frame"}
    }
    ds = ds.assign_coords(kept)
    inherited = ("wavelength", "polarization_corrected")
    ds.attrs = {key: patterns.attrs[key] for key in inherited if key in patterns.attrs}
    ds.attrs["phases"] = json.dumps([str(name) for name in ds["phase"].values])
    return ds


def refined_cell(ds: xr.Dataset) -> list[str]:
    """Return the cell parameters of a series that were refined, those that equal another only once.

    Parameters
    ----------
    ds
        Dataset of kind ``xrd.series``, or one phase of it.
    """
    names: list[str] = []
    for name in CELL:
        if f"{name}_errors" not in ds or not np.isfinite(ds[f"{name}_errors"]).any():
            continue
        if not any(np.array_equal(ds[name], ds[other], equal_nan=True) for other in names):
            names.append(name)
    return names
