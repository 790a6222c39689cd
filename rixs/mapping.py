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
from beamline.model import MASK
from calibration.excitation import CORRECTION, corrected_energies
from rixs.repeats import FLAGS, compare, same_points

if TYPE_CHECKING:
    import xarray as xr

    from calibration.emission import EmissionAxis
    from calibration.excitation import Shift

Array = np.ndarray[Any, np.dtype[np.float64]]
Indices = np.ndarray[Any, np.dtype[np.intp]]


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
        Points without flux are left out and named in ``points_without_flux``. What else is known of the
        frames (time, exposure, channels with their errors) is known of the points: of repeats, ``exposure``
        is the time from the first start to the last end, ``time`` its middle, numbers are averaged, flags
        are all that are set, texts are listed. ``excitation_energy_errors`` is the error of the correction,
        where there is one; it is common to all points. Repeats are compared before they are averaged:
        ``repeats_chi2``, and ``repeats_mask`` where they have changed, or changed with dose. The drift that
        `emission` found is taken out.

    Raises
    ------
    SchemaError
        No spectrum has flux.
    CalibrationError
        `excitation` is given for energies that are corrected already.
    """
    import xarray as xr

    stated = corrected_energies(spectra, excitation)
    shift = excitation.value if excitation is not None else float(spectra.attrs.get(CORRECTION, 0.0))
    pixel = spectra["pixel"].values.astype(float)
    axis = emission.energy(pixel) + (shift - emission.excitation_shift)
    width = np.abs(emission.dispersion(pixel))
    moved = emission.moved(spectra)
    intensity = moved_back(spectra["intensity"].values, moved) / width
    seen = np.asarray(np.isfinite(intensity).any(axis=1))
    if not seen.any():
        raise SchemaError("spectra", "hold no point with flux", "look at i0")
    columns = np.flatnonzero(np.isfinite(intensity[seen]).any(axis=0))
    columns = columns[np.argsort(axis[columns])]
    groups = same_points(stated, seen)
    weights = spectra["i0"].values.astype(float)

    def combine(values: Array) -> Array:
        """Average the rows of `values` over the repeats of each point."""
        return np.array([np.average(values[g], axis=0, weights=np.abs(weights[g])) for g in groups])

    points = combine(stated)
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
        errors = np.sqrt(moved_back(spectra["intensity_errors"].values ** 2, moved)) / width
        share = [np.abs(weights[g]) / np.abs(weights[g]).sum() for g in groups]
        total = [
            np.sqrt(((s[:, None] * errors[g]) ** 2).sum(axis=0)) for g, s in zip(groups, share, strict=True)
        ]
        rmap["intensity_errors"] = (dims, np.array(total)[:, columns])
        dose = spectra["dose"].values if "dose" in spectra.coords else np.arange(len(stated), dtype=float)
        agree = [compare(intensity[g], errors[g], dose[g]) for g in groups]
        label = {"units": "", "long_name": "reduced chi² between repeats"}
        rmap = rmap.assign_coords(
            repeats_chi2=("excitation_energy", [chi2 for chi2, _ in agree], label),
            repeats_mask=("excitation_energy", np.array([flag for _, flag in agree], np.uint8), FLAGS),
        )
    rmap = rmap.assign_coords(_of_points(spectra, groups, set(rmap.variables)))
    rmap.attrs.pop(CORRECTION, None)
    rmap.attrs["points_without_flux"] = ", ".join(f"{e:.3f} eV" for e in stated[~seen])
    if excitation is not None:
        rmap.attrs["excitation_shift"] = f"{excitation.value:+.4f} +- {excitation.error:.4f} eV"
        if excitation.error > 0 and "excitation_energy_errors" not in rmap.coords:
            error = np.full(points.size, excitation.error)
            label = {
                "units": "eV",
                "long_name": "standard deviation of the excitation axis, common to all points",
            }
            rmap = rmap.assign_coords(excitation_energy_errors=("excitation_energy", error, label))
    return rmap


def moved_back(values: Array, moved: Array) -> Array:
    """Return spectra (frame, pixel) moved back by `moved` (frame; px), every pixel split between two."""
    if not moved.any():
        return values
    result = np.full(values.shape, np.nan)
    columns = np.arange(values.shape[1])
    for i, d in enumerate(moved):
        first = int(np.floor(d))
        part = d - first
        left, right = columns + first, columns + first + 1
        inside = (left >= 0) & (right < columns.size)
        row = values[i]
        result[i, inside] = (1 - part) * row[left[inside]] + part * row[right[inside]]
    return result


def _of_points(spectra: xr.Dataset, groups: list[Indices], known: set[Any]) -> dict[Any, Any]:
    """Return what is known of the frames for the points made of them, but for what is `known` already."""
    found: dict[Any, Any] = {}
    for name, coord in spectra.coords.items():
        if coord.dims != ("frame",) or name in known or name == "frame":
            continue
        parts = [coord.values[group] for group in groups]
        values: Any
        if str(name).endswith(MASK) or coord.dtype.kind == "b":
            values = np.array([np.bitwise_or.reduce(part) for part in parts])
        elif coord.dtype.kind == "M":
            values = np.array([part.min() + (part.max() - part.min()) // 2 for part in parts])
        elif coord.dtype.kind in "iuf":
            # Errors of repeats share their clock and resolution: their mean holds however they correlate.
            values = np.array([part.mean() for part in parts])
        else:
            values = [", ".join(dict.fromkeys(map(str, part))) for part in parts]
        found[name] = ("excitation_energy", values, coord.attrs)
    if {"time", "exposure"} <= set(found):
        found.update(_span(spectra, groups))
    return found


def _span(spectra: xr.Dataset, groups: list[Indices]) -> dict[str, Any]:
    """Return time and exposure of points: the middle of all their repeats, and how long those took."""
    half = np.round(spectra["exposure"].values * 5e8).astype("timedelta64[ns]")
    middle = spectra["time"].values
    begin = np.array([(middle - half)[group].min() for group in groups])
    end = np.array([(middle + half)[group].max() for group in groups])
    return {
        "time": ("excitation_energy", begin + (end - begin) // 2, spectra["time"].attrs),
        "exposure": (
            "excitation_energy",
            (end - begin) / np.timedelta64(1, "s"),
            {"units": "s", "long_name": "from the first start to the last end of an exposure"},
        ),
    }
