"""Monochromator: by what angle it is off, from foils of known edges.

A monochromator shows E = hc / (2 d sin θ). It is off in its angle, so that what is true is

    E' = hc / (2 d' sin(θ + Δθ)),    θ = arcsin(hc / (2 d E)),

with d the lattice spacing the beamline calculated with and d' the true one. Δθ is not a constant shift: what
is 5 eV at the Ni K edge is 6.3 eV at 9300 eV, so that adding a constant stretches k.

One foil gives Δθ, with d' as stated; two foils or more give both. The edge of a foil is its first inflection
(`calibration.inflections`), put at the tabulated energy: that of Elam, Ravel and Sieber, Radiat. Phys. Chem.
63 (2002) 121, by xraydb (Mn 6539, Fe 7112, Co 7709, Ni 8333, Cu 8979 eV), which are those of Bearden and
Burr, Rev. Mod. Phys. 39 (1967) 125, as the field rounds them. S. Kraft et al., Rev. Sci. Instrum. 67 (1996)
681, measured inflections absolutely (Ni 8331.49 eV): give ``reference=`` to put the edge there.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from beamline import provenance
from beamline.errors import CalibrationError
from calibration.inflections import first_inflection
from calibration.records import Calibration

if TYPE_CHECKING:
    import xarray as xr

Array = np.ndarray[Any, np.dtype[np.float64]]

HC = 12398.419843320026
"""Photon energy times wavelength, eV angstrom (exact in the SI)."""

LARGEST = 10.0
"""A foil farther from its tabulated edge than this (eV) is no foil of that element."""

RECORD = "mono_calibration"
"""Attribute of scans that holds the calibration they are on the axis of."""

APART = 0.01
"""Foils whose edges lie within this part of their energy say nothing about the lattice spacing."""

D_OFF = 1e-3
"""A lattice spacing this far from the one stated (relative) is none: 300 K of temperature make 8e-4."""

D_ERROR = 1e-4
"""Standard deviation (angstrom) of a stated lattice spacing: that of Si(111) for 10 K of temperature."""

_NO_FOIL = re.compile(r"\b(none|no|filter|oxide|powder|solution)\b", re.IGNORECASE)
"""Words for references that are not the metal."""


@dataclass(frozen=True)
class Monochromator(Calibration):
    """What turns energies shown into energies.

    Attributes
    ----------
    delta_theta
        Δθ, deg.
    d_spacing
        True lattice spacing d', angstrom.
    d_shown
        Lattice spacing d the shown energies were calculated with, angstrom.
    covariance
        Of (Δθ, d'), in these units.
    foils
        Of each foil: element, energy shown at its first inflection and its standard deviation (eV), energy
        it was put at (eV).
    """

    delta_theta: float
    d_spacing: float
    d_shown: float
    covariance: tuple[tuple[float, float], tuple[float, float]]
    foils: tuple[tuple[str, float, float, float], ...]

    @property
    def shift(self) -> float:
        """What is added to energies at the edge of the first foil, eV: a constant shift, as in Athena."""
        shown = np.array([self.foils[0][1]])
        return float(self.energy(shown)[0] - shown[0])

    def energy(self, shown: Array) -> Array:
        """Return true energies (eV) for energies shown (eV)."""
        return turned(shown, self.delta_theta, self.d_shown, self.d_spacing)

    def shown(self, energy: Array) -> Array:
        """Return what the monochromator shows (eV) at true energies (eV): the inverse of `energy`."""
        return turned(energy, -self.delta_theta, self.d_spacing, self.d_shown)

    def of_angle(self, angle: Array) -> Array:
        """Return true energies (eV) for angles of the monochromator (deg)."""
        return energy_of(np.asarray(angle) + self.delta_theta, self.d_spacing)

    def energy_errors(self, shown: Array) -> Array:
        """Return the standard deviation (eV) of `energy`, that of the calibration alone."""
        gradient = np.stack(_derivatives(np.asarray(shown), self.delta_theta, self.d_shown, self.d_spacing))
        return np.asarray(np.sqrt(np.einsum("pi,pq,qi->i", gradient, np.array(self.covariance), gradient)))


def calibrate(
    foils: xr.Dataset | Sequence[xr.Dataset],
    element: str | Sequence[str] | None = None,
    d_spacing: float | None = None,
    *,
    reference: float | Sequence[float] | None = None,
    channel: str = "mu",
    d_error: float = D_ERROR,
    largest: float = LARGEST,
) -> Monochromator:
    """Measure Δθ with one foil, or Δθ and d with several.

    Parameters
    ----------
    foils
        Kind ``xas.scans``, each over (energy), on the axis the monochromator showed.
    element
        Of each foil; by default its attribute ``element``.
    d_spacing
        Lattice spacing the shown energies were calculated with, angstrom; by default the attribute
        ``d_spacing`` of the first scan.
    reference
        Energies to put the first inflections at, eV; by default those tabulated.
    channel
        Variable that holds the foil: "mu", or "mu_ref" where it was measured behind a sample.
    d_error
        Standard deviation of `d_spacing`, angstrom, for one foil, which says nothing about it.
    largest
        How far (eV) a foil may be from its reference.

    Raises
    ------
    CalibrationError
        The element or lattice spacing is not known, the edge is not found, or is farther than `largest`;
        several foils have edges too close for a lattice spacing, or make one that is far from that stated.
    """
    scans = [foils] if not isinstance(foils, Sequence) else list(foils)
    elements = _one_each(element, len(scans), "element") or [str(s.attrs.get("element", "")) for s in scans]
    references = _one_each(reference, len(scans), "reference") or [tabulated(symbol) for symbol in elements]
    spacing = float(scans[0].attrs.get("d_spacing", 0.0)) if d_spacing is None else d_spacing
    if not 0 < spacing < np.inf:
        told = "is not known" if d_spacing is None else f"is {d_spacing}"
        raise CalibrationError("d_spacing", told, "give that of the crystal: d_spacing=3.1356")
    found = []
    for scan, symbol, put_at in zip(scans, elements, references, strict=True):
        position, error = _position(scan, channel, symbol)
        if not abs(position - put_at) <= largest:
            raise CalibrationError(
                f"{symbol} foil",
                f"rises first at {position:.2f} eV, {abs(position - put_at):.1f} eV from {put_at:g} eV",
                f"is it the metal? A shift beyond {largest:g} eV needs largest=",
            )
        found.append((symbol, position, error, float(put_at)))
    if len(found) > 1 and np.ptp([foil[3] for foil in found]) < APART * found[0][3]:
        energies = ", ".join(f"{foil[3]:g}" for foil in found)
        raise CalibrationError(
            "foils", f"have edges too close for a lattice spacing ({energies} eV)", "give one of them"
        )
    mono = _fit(tuple(found), spacing, d_error)
    if not abs(mono.d_spacing / spacing - 1) < D_OFF:
        raise CalibrationError(
            "foils",
            f"make a lattice spacing of {mono.d_spacing:.5f} angstrom, {spacing:g} is stated",
            "measure them one after the other, and take their axes as shown",
        )
    return mono


@provenance.step("calibration.mono.apply")
def apply(
    scans: xr.Dataset | xr.DataTree, mono: Monochromator, constant: bool = False
) -> xr.Dataset | xr.DataTree:
    """Put scans on the true axis.

    Parameters
    ----------
    scans
        Kind ``xas.scans`` on the axis the monochromator showed; of a DataTree every leaf.
    mono
        The calibration.
    constant
        Add the shift of the first foil's edge everywhere, as Athena does, and note it in ``energy_shift``.

    Returns
    -------
    Dataset or DataTree
        The scans over true energies. The attribute ``mono_calibration`` holds the record, with which
        ``mono.shown(energy)`` is what was measured.

    Raises
    ------
    CalibrationError
        The scans were calibrated before.
    """
    import xarray as xr

    if isinstance(scans, xr.DataTree):
        leaves = {node.path: node.to_dataset() for node in scans.leaves}
        return xr.DataTree.from_dict({path: _applied(ds, mono, constant) for path, ds in leaves.items()})
    return _applied(scans, mono, constant)


def turned(shown: Array, delta_theta: float, d_shown: float, d_true: float | None = None) -> Array:
    """Return the energies (eV) of a monochromator whose angle is greater by `delta_theta` (deg) than shown.

    Raises
    ------
    CalibrationError
        An energy is below what the crystal reflects.
    """
    angle = angle_of(shown, d_shown) + delta_theta
    return energy_of(angle, d_shown if d_true is None else d_true)


def angle_of(energy: Array, d_spacing: float) -> Array:
    """Return Bragg angles (deg) of energies (eV), d in angstrom.

    Raises
    ------
    CalibrationError
        An energy is below what the crystal reflects.
    """
    energy = np.asarray(energy, dtype=float)
    lowest = HC / (2 * d_spacing)
    if (energy <= lowest).any():
        raise CalibrationError(
            "energy", f"goes down to {energy.min():g} eV, where d = {d_spacing} angstrom reflects nothing"
        )
    return np.asarray(np.rad2deg(np.arcsin(lowest / energy)))


def energy_of(angle: Array, d_spacing: float) -> Array:
    """Return energies (eV) of Bragg angles (deg), d in angstrom."""
    return np.asarray(HC / (2 * d_spacing * np.sin(np.deg2rad(angle))))


def tabulated(element: str, edge: str = "K") -> float:
    """Return the energy (eV) the first inflection of a metal is put at (Elam et al. 2002, by xraydb).

    Raises
    ------
    CalibrationError
        There is no such element.
    """
    import xraydb

    try:
        found = xraydb.xray_edge(element, edge)
    except ValueError:
        found = None
    if found is None:
        raise CalibrationError("element", f"is {element!r}, of which no {edge} edge is known", "Ni, for one")
    return float(found.energy)


def _position(scan: xr.Dataset, channel: str, element: str) -> tuple[float, float]:
    """Return where the foil first rises, and the error of that, eV."""
    if channel not in scan or scan[channel].dims != ("energy",):
        raise CalibrationError(
            f"{element} foil", f"has no {channel} over energy", "give one scan of the foil"
        )
    stated = str(scan.attrs.get("reference", ""))
    if channel == "mu_ref" and _NO_FOIL.search(stated):
        raise CalibrationError(
            f"{element} foil", f"is none: the reference is {stated!r}", "measure the metal"
        )
    energy, mu = scan["energy"].values.astype(float), scan[channel].values.astype(float)
    noise = scan.get(f"{channel}_errors")
    errors = None if noise is None else noise.values.astype(float)
    good = np.isfinite(mu)
    return first_inflection(energy[good], mu[good], None if errors is None else errors[good])


def _fit(foils: tuple[tuple[str, float, float, float], ...], d_shown: float, d_error: float) -> Monochromator:
    """Solve for (Δθ, d') by Gauss and Newton; one foil leaves d' where its prior has it."""
    shown, errors, true = (np.array([foil[i] for foil in foils]) for i in (1, 2, 3))
    prior = 1 / d_error if len(foils) == 1 else 0.0
    delta, d = 0.0, d_shown
    for _ in range(20):
        residuals = np.append((true - turned(shown, delta, d_shown, d)) / errors, prior * (d_shown - d))
        rows = np.stack(_derivatives(shown, delta, d_shown, d), axis=1) / errors[:, None]
        jacobian = np.vstack([rows, [0.0, prior]])
        step = np.linalg.lstsq(jacobian, residuals, rcond=None)[0]
        delta, d = delta + float(step[0]), d + float(step[1])
        if abs(step[0]) < 1e-12 and abs(step[1]) < 1e-12:
            break
    covariance = np.linalg.inv(jacobian.T @ jacobian)
    pairs = tuple(tuple(float(value) for value in row) for row in covariance)
    return Monochromator(delta, d, d_shown, (pairs[0], pairs[1]), foils)  # type: ignore[arg-type]


def _derivatives(shown: Array, delta_theta: float, d_shown: float, d_true: float) -> tuple[Array, Array]:
    """Return dE'/dΔθ in eV/deg and dE'/dd' in eV/angstrom: -E' cot θ', and -E'/d'."""
    angle = np.deg2rad(angle_of(shown, d_shown) + delta_theta)
    energy = HC / (2 * d_true * np.sin(angle))
    return -energy / np.tan(angle) * np.deg2rad(1.0), -energy / d_true


def _applied(scan: xr.Dataset, mono: Monochromator, constant: bool) -> xr.Dataset:
    if RECORD in scan.attrs:
        raise CalibrationError("scans", "are calibrated already", "calibrate them as they were measured")
    shown = scan["energy"]
    energy = shown.values + mono.shift if constant else mono.energy(shown.values)
    out = scan.assign_coords(energy=("energy", energy, shown.attrs))
    if constant:
        before = scan["energy_shift"] if "energy_shift" in scan.coords else None
        dims, value = ((), 0.0) if before is None else (before.dims, before.values)
        attrs = {"units": "eV", "long_name": "energy shift since measured"}
        out = out.assign_coords(energy_shift=(dims, value + mono.shift, attrs))
    record = {"id": mono.id, "constant": constant, **mono.to_record()}
    out.attrs[RECORD] = json.dumps(record)
    return out


def _one_each(value: Any, count: int, name: str) -> list[Any] | None:
    """Return one value for each foil, where there are any."""
    if value is None:
        return None
    values = [value] if isinstance(value, str | float | int) else list(value)
    if len(values) != count:
        raise CalibrationError(name, f"is given for {len(values)} of {count} foils", "give one for each")
    return values
