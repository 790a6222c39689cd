"""From spectra to a map: pixels become emission energies, frames excitation energies.

Intensity per pixel becomes intensity per eV, so that areas do not depend on the dispersion. The correction of
the excitation energy moves both axes by the same amount, since the emission axis was calibrated with elastic
lines at excitation energies; the energy loss is a difference and does not move.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from beamline import provenance
from beamline.errors import SchemaError

if TYPE_CHECKING:
    import xarray as xr

    from calibration.emission import EmissionAxis
    from calibration.excitation import Shift

Array = np.ndarray[Any, np.dtype[np.float64]]

SAME_POINT = 0.03
"""Excitation energies (eV) closer than this are one point; read-backs of repeats differ by 0.015."""


@provenance.step("rixs.make_map", returns="rixs.map")
def make_map(spectra: xr.Dataset, emission: EmissionAxis, excitation: Shift | None = None) -> xr.Dataset:
    """Put normalised spectra on energy axes.

    Parameters
    ----------
    spectra
        Kind ``rixs.spectra``: intensity (frame, pixel) per count of I0, from `rixs.normalize`.
    emission
        Emission axis.
    excitation
        Correction of the excitation energies; the emission axis follows it, whatever correction it was
        calibrated with.

    Returns
    -------
    Dataset
        ``intensity`` (excitation_energy, emission_energy), ascending, per eV. Repeats of a point are averaged
        with their I0 as weights, which is the sum of their photons over the sum of their flux; ``repeats``
        says how many there were. ``emission_energy_errors`` are those of the axis, common to all points.
        Points without flux are left out and named in ``points_without_flux``.

    Raises
    ------
    SchemaError
        No spectrum has flux.
    """
    import xarray as xr

    shift = excitation.value if excitation is not None else 0.0
    pixel = spectra["pixel"].values.astype(float)
    axis = emission.energy(pixel) + (shift - emission.excitation_shift)
    width = np.abs(emission.dispersion(pixel))
    stated = spectra["excitation_energy"].values
    intensity = spectra["intensity"].values / width
    seen = np.asarray(np.isfinite(intensity).any(axis=1))
    if not seen.any():
        raise SchemaError("spectra", "hold no point with flux", "look at i0")
    columns = np.flatnonzero(np.isfinite(intensity[seen]).any(axis=0))
    columns = columns[np.argsort(axis[columns])]
    groups = _points(stated, seen)
    weights = spectra["i0"].values.astype(float)

    def combine(values: Array) -> Array:
        """Average the rows of `values` over the repeats of each point."""
        return np.array([np.average(values[g], axis=0, weights=np.abs(weights[g])) for g in groups])

    points = combine(stated) + shift
    emission_energy = axis[columns]
    label = {"units": "eV", "long_name": "standard deviation of the emission axis"}
    units = f"{spectra.intensity.attrs['units']}/eV"
    dims = ("excitation_energy", "emission_energy")
    rmap = xr.Dataset(
        {"intensity": (dims, combine(intensity)[:, columns], {"units": units})},
        coords={
            "excitation_energy": points,
            "emission_energy": emission_energy,
            "energy_loss": (dims, points[:, None] - emission_energy),
            "emission_energy_errors": ("emission_energy", emission.energy_errors(pixel)[columns], label),
            "i0": ("excitation_energy", [weights[g].sum() for g in groups], spectra["i0"].attrs),
            "repeats": (
                "excitation_energy",
                [len(g) for g in groups],
                {"units": "", "long_name": "spectra averaged"},
            ),
        },
        attrs={key: value for key, value in spectra.attrs.items() if key not in ("kind", "history")},
    )
    if "intensity_errors" in spectra:
        errors = spectra["intensity_errors"].values / width
        share = [np.abs(weights[g]) / np.abs(weights[g]).sum() for g in groups]
        total = [
            np.sqrt(((s[:, None] * errors[g]) ** 2).sum(axis=0)) for g, s in zip(groups, share, strict=True)
        ]
        rmap["intensity_errors"] = (dims, np.array(total)[:, columns])
    if "i0_mask" in spectra.coords:
        mask = spectra["i0_mask"].values
        flagged = np.array([np.bitwise_or.reduce(mask[g]) for g in groups])
        rmap = rmap.assign_coords(i0_mask=("excitation_energy", flagged, spectra["i0_mask"].attrs))
    rmap.attrs["points_without_flux"] = ", ".join(f"{e:.3f} eV" for e in stated[~seen])
    if excitation is not None:
        rmap.attrs["excitation_shift"] = f"{excitation.value:+.4f} +- {excitation.error:.4f} eV"
    return rmap


def _points(
    energy: Array, seen: np.ndarray[Any, np.dtype[np.bool_]]
) -> list[np.ndarray[Any, np.dtype[np.intp]]]:
    """Return the frames of every point, in order of energy."""
    order = np.flatnonzero(seen)[np.argsort(energy[seen], kind="stable")]
    groups: list[list[int]] = []
    for i in order:
        if groups and energy[i] - energy[groups[-1][0]] < SAME_POINT:
            groups[-1].append(int(i))
        else:
            groups.append([int(i)])
    return [np.array(group, dtype=np.intp) for group in groups]
