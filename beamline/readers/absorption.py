"""What every reader of absorption scans does once it has columns: from named channels to μ(E).

``mu`` is ln(I0/It) in transmission, If/I0 in fluorescence (no self-absorption correction); ``mu_ref`` is
ln(It/Ir), the foil behind the sample. Nothing is guessed in silence: ``attrs`` say which columns made what
(``energy_from``, ``mu_from``, ``mu_ref_from``), which edge it is and how that is known, and how many points
were dropped or merged. The edge is identified from the energy of the steepest rise and the tables of
Elam, Ravel and Sieber (2002) in xraydb; where a file's own label contradicts the energy, the energy wins and
a warning says so.
"""

from __future__ import annotations

import itertools
import re
import warnings
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from beamline.errors import DataFileError
from beamline.readers.absorption_columns import HC as HC
from beamline.readers.absorption_columns import (
    candidates,
    energy_axis,
    line_of,
    reference_channel,
    single_detectors,
)
from beamline.readers.absorption_columns import roles as roles
from beamline.readers.absorption_edges import identify, steepest
from beamline.readers.absorption_edges import nearest_edge as nearest_edge
from beamline.readers.absorption_edges import tabulated as tabulated

if TYPE_CHECKING:
    import xarray as xr

Array = np.ndarray[Any, np.dtype[np.float64]]


def scan(
    labels: Sequence[str],
    columns: Array,
    *,
    units: Sequence[str] | None = None,
    name: str,
    element: str | None = None,
    edge: str | None = None,
    stated: tuple[str, str] = ("", ""),
    reference: str | None = None,
    d_spacing: float | None = None,
    mode: str | None = None,
) -> xr.Dataset:
    """Return the Dataset of one scan.

    Parameters
    ----------
    labels
        Name of each column.
    columns
        Data, shape (row, column).
    units
        Unit of each column where the file says so; "" where not.
    name
        What errors call the scan: the file, or the group in it.
    element, edge
        What the user says was measured; it must agree with the energy.
    stated
        What the file says was measured; the energy is believed more.
    reference
        The file's word on the reference sample; "none" means that the column is no foil.
    d_spacing
        Lattice spacing of the monochromator, angstrom, for files that give its angle.
    mode
        "transmission" or "fluorescence"; None takes the first that shows an edge.

    Raises
    ------
    DataFileError
        There is no energy or no μ in the columns, or the user's element contradicts the data.
    """
    found = roles(labels)
    if "chi" in found and ("k" in found or "energy" not in found):
        raise DataFileError(name, "holds χ(k), not μ(E)", "read the scan it was made from")
    energy, energy_from = energy_axis(labels, columns, found, units, name, d_spacing)
    choices = list(candidates(labels, columns, found, stated[0], energy, mode))
    if not choices:
        raise DataFileError(
            name,
            f"has no column of μ{f' in {mode}' if mode else ''} (columns: {', '.join(labels)})",
            'name them with columns=["energy", "i0", "it", …]',
        )
    expected = tabulated(element, edge or "K") if element else tabulated(stated[0], stated[1] or "K")
    mu, mu_from = _first_with_edge(energy, choices, expected)
    channels = {"mu": mu}
    attributes = {"energy_from": energy_from, "mu_from": mu_from}
    mu_ref, mu_ref_from = reference_channel(labels, columns, found, reference)
    if mu_ref is not None:
        channels["mu_ref"] = mu_ref
    if mu_ref_from:
        attributes["mu_ref_from"] = mu_ref_from
    if reference:
        attributes["reference"] = reference
    for role in ("i0", "it", "ir", "fluorescence"):
        if role in found:
            channels[role] = columns[:, found[role][0]]
    single = single_detectors(labels, columns, element or stated[0] or line_of(mu_from))
    if single is not None:
        for number, counts in enumerate(single.counts):
            channels[f"detector_counts {number}"] = counts
        for number, factor in enumerate(single.factors if single.factors is not None else ()):
            channels[f"dead_time_factor {number}"] = factor
    ds = dataset(
        energy, channels, name=name, element=element, edge=edge, stated=stated, attributes=attributes
    )
    return ds if single is None else _with_detectors(ds, single.names)


def dataset(
    energy: Array,
    channels: Mapping[str, Array],
    *,
    name: str,
    element: str | None = None,
    edge: str | None = None,
    stated: tuple[str, str] = ("", ""),
    attributes: Mapping[str, Any] | None = None,
) -> xr.Dataset:
    """Return channels over energy (eV) as a Dataset: sorted, repeated energies merged, the edge identified.

    Raises
    ------
    DataFileError
        The energies are not those of an X-ray scan, or too few points hold a number.
    """
    import xarray as xr

    attributes = dict(attributes or {})
    energy = np.asarray(energy, dtype=float)
    with np.errstate(invalid="ignore"):
        good = np.isfinite(energy) & np.isfinite(channels["mu"])
    dropped = int((~good).sum())
    if good.sum() < 10 or dropped > 0.05 * good.size:
        raise DataFileError(
            name,
            f"gives a finite μ at {int(good.sum())} of {good.size} points only",
            "a scan needs at least 10, and 95 %: check the detectors, or choose mode= or columns=",
        )
    if dropped:
        lost = energy[~good]
        where = f" at {lost[0]:.2f} eV" if np.isfinite(lost[0]) else ""
        attributes["dropped_points"] = dropped
        warnings.warn(f"{name}: {dropped} point(s) without a finite μ dropped{where}", stacklevel=2)
    energy, kept, merged = _ordered(energy[good], {k: np.asarray(v)[good] for k, v in channels.items()})
    if merged:
        attributes["merged_points"] = merged
    if energy[0] < 30 or energy[-1] > 200_000 or energy[-1] - energy[0] < 5:
        raise DataFileError(
            name,
            f"has energies from {energy[0]:g} to {energy[-1]:g} eV: not an X-ray scan",
            "pixels, angles or k need their own calibration",
        )
    attributes |= identify(energy, kept["mu"], name, element, edge, stated)
    ds = xr.Dataset(
        {key: ("energy", value) for key, value in kept.items()}, {"energy": energy}, attrs=attributes
    )
    for key, long_name in (
        ("i0", "incident intensity"),
        ("it", "transmitted intensity"),
        ("ir", "intensity behind the reference"),
        ("fluorescence", "fluorescence intensity"),
    ):
        if key in ds:
            ds[key].attrs |= {"units": "", "long_name": long_name}
    return ds


def _with_detectors(ds: xr.Dataset, names: Sequence[str]) -> xr.Dataset:
    """Return the scan with its single detectors as one variable over (detector, energy)."""
    out = ds.drop_vars([key for key in ds.data_vars if " " in str(key)]).assign_coords(
        detector=("detector", np.array(names))
    )
    for key, units in (("detector_counts", "count"), ("dead_time_factor", "")):
        rows = [ds[f"{key} {n}"].values for n in range(len(names)) if f"{key} {n}" in ds]
        if rows:
            out[key] = (("detector", "energy"), np.array(rows), {"units": units})
    return out


def leaf_names(labels: Sequence[str]) -> list[str]:
    """Return labels as names of the leaves of a DataTree: no punctuation, and none twice."""
    names: list[str] = []
    for label in labels:
        plain = re.sub(r"[^\w]+", "_", label.strip(), flags=re.ASCII).strip("_") or "scan"
        name, count = plain, 1
        while name in names:
            count += 1
            name = f"{plain}_{count}"
        names.append(name)
    return names


def split_scans(energy: Array) -> list[slice]:
    """Return the scans in one table: a new one begins where the energy falls back by half the span.

    Smaller steps back are the jitter of a continuous scan.
    """
    if energy.size < 3 or not np.isfinite(energy).any():
        return [slice(0, energy.size)]
    span = float(np.nanmax(energy) - np.nanmin(energy))
    direction = np.sign(np.nanmedian(np.diff(energy))) or 1.0
    starts = np.flatnonzero(direction * np.diff(energy) < -0.5 * span) + 1
    bounds = [0, *starts.tolist(), energy.size]
    return [slice(a, b) for a, b in itertools.pairwise(bounds)]


def _first_with_edge(
    energy: Array, candidates: list[tuple[Array, str]], expected: float | None
) -> tuple[Array, str]:
    """Return the first candidate with a clear edge; where none has one, the clearest."""
    if len(candidates) == 1:
        return candidates[0]
    contrasts = [_contrast(energy, mu, expected) for mu, _ in candidates]
    for candidate, contrast in zip(candidates, contrasts, strict=True):
        if contrast > 20:
            return candidate
    return candidates[int(np.argmax(contrasts))]


def _contrast(energy: Array, mu: Array, expected: float | None) -> float:
    """Step over noise: how far μ rises across its steepest place, in units of the point scatter."""
    good = np.isfinite(energy) & np.isfinite(mu)
    if good.sum() < 20:
        return -np.inf
    energy, kept, _ = _ordered(energy[good], {"mu": mu[good]})
    mu = kept["mu"]
    e0, _ = steepest(energy, mu, expected)
    before, after = energy < e0 - 15, (energy > e0 + 15) & (energy < e0 + 150)
    if before.sum() < 3 or after.sum() < 3:
        return -np.inf
    line = np.polynomial.Polynomial.fit(energy[before], mu[before], 1)
    step = float(np.median(mu[after] - line(energy[after])))
    scatter = np.diff(mu, 2) / np.sqrt(6)
    noise = 1.4826 * float(np.median(np.abs(scatter - np.median(scatter))))
    return step / noise if noise > 0 else step * np.inf if step else -np.inf


def _ordered(energy: Array, channels: dict[str, Array]) -> tuple[Array, dict[str, Array], int]:
    """Sort by energy and average points closer than 1 meV, which a scan cannot tell apart."""
    order = np.argsort(energy, kind="stable")
    energy = energy[order]
    new = np.concatenate([[True], np.diff(energy) > 1e-3])
    starts = np.flatnonzero(new)
    counts = np.diff([*starts, energy.size])

    def mean(values: Array) -> Array:
        return np.asarray(np.add.reduceat(np.asarray(values, dtype=float)[order], starts) / counts)

    merged = {key: mean(values) for key, values in channels.items()}
    return np.add.reduceat(energy, starts) / counts, merged, int(energy.size - starts.size)
