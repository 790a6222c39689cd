"""From edge energies to valences: a straight line through standards.

Edge energies of oxides of one metal, measured one way, rise nearly linearly with its valence (A. N. Mansour,
C. A. Melendres, M. Pankuch, R. A. Brizzolara, J. Electrochem. Soc. 141 (1994) L69, for nickel). With E = a +
b v fitted to the standards, weighted by their errors, a sample of energy E has

    v = (E - a) / b,    σ_v² = (σ_E² + σ_line²(v)) / b²,

σ_line from the covariance of a and b. Standards never lie on a line within the noise of their edges: their
chemistry differs. With more than two of them this scatter s is what makes χ²/(N - 2) of the line 1 (R. C.
Paule, J. Mandel, J. Res. Natl. Bur. Stand. 87 (1982) 377); it is added to the error of every standard, and to
that of the sample, which is as unlike the standards as they are unlike each other. Two standards lie on any
line: then the error holds noise only, and is too small.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from beamline import provenance
from beamline.errors import ConfigError, FitError, SchemaError
from xas.stacks import Statuses, scan_name

if TYPE_CHECKING:
    import xarray as xr

Array = np.ndarray[Any, np.dtype[np.float64]]


@provenance.step("xas.valence", returns="xas.scans")
def valence(
    scans: xr.Dataset, standards: Sequence[xr.Dataset] | Sequence[str], valences: Sequence[float]
) -> xr.Dataset:
    """Read the valence off a line through standards.

    Parameters
    ----------
    scans
        Scans with ``edge_energy`` (`xas.edge`).
    standards
        Scans of compounds of known valence, of the same edge, measured by the same method; two or more. Or
        the labels of such among `scans`, which are aligned and normalised as the others are.
    valences
        Theirs, in the same order.

    Returns
    -------
    Dataset
        `scans` with ``valence`` and its error, from the errors of the edges, of the energy shifts where they
        are known, of the line, and the scatter of the standards; beyond the standards ``status`` says so. The
        attributes of ``valence`` hold the line (eV at valence 0, eV per valence) and that scatter (eV).

    Raises
    ------
    ConfigError
        There are not as many valences as standards, or fewer than two different ones, or a label is none of
        the scans.
    SchemaError
        Edge energies are missing, or were measured by different methods or at different edges.
    FitError
        A standard has no edge energy, or the line is flat within its error.
    """
    chosen = [_labelled(scans, item) if isinstance(item, str) else item for item in standards]
    _check(scans, chosen, valences)
    known = np.asarray(valences, dtype=float)
    found = [_energies(ds) for ds in chosen]
    energies = np.array([float(energy[0]) for energy, _ in found])
    errors = np.array([float(error[0]) for _, error in found])
    design = np.column_stack([np.ones(known.size), known])
    line, covariance, chi2 = _line(design, energies, errors)
    freedom = known.size - 2
    scatter = _scatter(design, energies, errors) if freedom and chi2 > freedom else 0.0
    line, covariance, _ = _line(design, energies, np.hypot(errors, scatter))
    a, b = line
    if abs(b) < 3 * np.sqrt(covariance[1, 1]):
        raise FitError("standards", "have no trend of the edge with valence", "take other standards")
    energy, error = _energies(scans)
    value = (energy - a) / b
    of_line = covariance[0, 0] + 2 * value * covariance[0, 1] + value**2 * covariance[1, 1]
    sigma = np.sqrt(error**2 + scatter**2 + of_line) / abs(b)
    status = Statuses(scans, value.size)
    for row in np.flatnonzero((value < known.min() - sigma) | (value > known.max() + sigma)):
        status.note(
            row, "suspect", f"its valence lies beyond the standards, {known.min():g} to {known.max():g}"
        )
    dims = scans["edge_energy"].dims
    attrs = {
        "units": "",
        "long_name": "valence",
        "energy_at_zero": float(a),
        "energy_per_valence": float(b),
        "scatter_of_standards": scatter,
        "standards": ", ".join(f"{scan_name(ds, 0)} ({v:g})" for ds, v in zip(chosen, known, strict=True)),
    }
    return scans.assign(
        valence=(dims, value if dims else value[0], attrs),
        valence_errors=(dims, sigma if dims else sigma[0]),
        status=status.variable(),
    )


def _labelled(scans: xr.Dataset, label: str) -> xr.Dataset:
    """Return the scan of a label."""
    labels = [scan_name(scans, i) for i in range(scans.sizes.get("scan", 1))]
    if labels.count(label) != 1:
        told = ", ".join(labels[:5]) + (", …" if len(labels) > 5 else "")
        raise ConfigError("standards", f"names {label!r}, {labels.count(label)} of the scans ({told})")
    return scans.isel(scan=[labels.index(label)]) if "scan" in scans.dims else scans


def _line(design: Array, energies: Array, errors: Array) -> tuple[Array, Array, float]:
    """Return (a, b), their covariance, and χ², of a weighted fit."""
    weighted = design / errors[:, None]
    covariance = np.asarray(np.linalg.inv(weighted.T @ weighted), dtype=float)
    line = covariance @ (weighted.T @ (energies / errors))
    return line, covariance, float(np.sum(((energies - design @ line) / errors) ** 2))


def _scatter(design: Array, energies: Array, errors: Array) -> float:
    """Return the scatter (eV) that makes χ² the number of standards less two."""
    from scipy.optimize import brentq

    def excess(scatter: float) -> float:
        return _line(design, energies, np.hypot(errors, scatter))[2] - (len(energies) - 2)

    return float(brentq(excess, 0.0, 2 * np.ptp(energies)))


def _energies(ds: xr.Dataset) -> tuple[Array, Array]:
    """Return edge energies and their errors, with those of the axis, shape (scan,)."""
    error = np.atleast_1d(ds["edge_energy_errors"].values).astype(float)
    if "energy_shift_errors" in ds:
        error = np.hypot(error, np.atleast_1d(ds["energy_shift_errors"].values))
    return np.atleast_1d(ds["edge_energy"].values).astype(float), error


def _check(scans: xr.Dataset, standards: Sequence[xr.Dataset], valences: Sequence[float]) -> None:
    if len(standards) != len(valences):
        raise ConfigError("valences", f"are {len(valences)} for {len(standards)} standards")
    if not np.isfinite(np.asarray(valences, dtype=float)).all():
        raise ConfigError(
            "valences", f"are {', '.join(map(str, valences))}", "give a number for each standard"
        )
    if len({float(v) for v in valences}) < 2:
        raise ConfigError("standards", "have fewer than two different valences", "give at least two")
    for ds in (scans, *standards):
        if "edge_energy" not in ds:
            raise SchemaError(scan_name(ds, 0), "has no edge energy", "call xas.edge first")
    for name, values in (
        ("method", [ds["edge_energy"].attrs.get("method") for ds in (scans, *standards)]),
        ("edge", [(ds.attrs.get("element"), ds.attrs.get("edge")) for ds in (scans, *standards)]),
    ):
        if len(set(values)) > 1:
            raise SchemaError("standards", f"are not of the same {name} as the scans", "measure them alike")
    for ds in standards:
        if ds["edge_energy"].size != 1:
            raise SchemaError(scan_name(ds, 0), "is several scans", "give one scan of each standard")
        if not np.isfinite(ds["edge_energy"].values).all():
            raise FitError(scan_name(ds, 0), "has no edge energy", "look at its status")
