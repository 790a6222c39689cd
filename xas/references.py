"""The reference measured with each scan: what shifts it gives, and whether it is one at all.

Scans are compared with the first complete one. Where most of them do not look like it, it is that scan which
is odd, and the next one is tried. A scan whose reference is no use has no shift and a reason; the others go
on.

A few per cent of the sample's own absorption in the reference channel (a foil that was not there, a detector
that is not linear) make an edge that moves with the sample. Aligned on it, all samples have the same edge.
It is the same edge at the same energy, and above that of the metal: a sample that is itself the foil is not.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from beamline.errors import CalibrationError, FitError, JoinError
from calibration.inflections import first_inflection
from calibration.mono import tabulated
from xas.rise import steepest_rise
from xas.shifts import UNLIKE, Shifts, find_shifts

if TYPE_CHECKING:
    import xarray as xr

Array = np.ndarray[Any, np.dtype[np.float64]]

FEWEST = 20
"""A reference with fewer finite points than these is none."""
ALIKE = 0.999
"""Two edges with a greater correlation than this are one."""
METAL = 5.0
"""A first inflection this near to the table, or below (eV), may be that of the metal."""


MOST = 3
"""Scans that are tried as the one the others are compared with."""


def reference_shifts(parts: Sequence[xr.Dataset], labels: Sequence[str], name: str, first: int) -> Shifts:
    """Return the shift of every scan against one of them, NaN with a reason where there is none.

    Parameters
    ----------
    parts
        Scans, each over (energy).
    labels
        Their names.
    name
        Variable that is compared: "mu_ref" or "mu".
    first
        Number of the first complete scan.

    Raises
    ------
    JoinError
        A scan lacks the variable, or it is the sample over again.
    FitError
        Fewer than two scans have a reference that looks alike.
    """
    for label, ds in zip(labels, parts, strict=True):
        if name not in ds:
            reason = str(ds.attrs.get("mu_ref_from", ""))
            told = f"has no {name}{f' ({reason})' if reason else ''}"
            raise JoinError(label, told, 'align on "mu", or on None')
    if name == "mu_ref" and (reason := why_no_reference(parts[first])):
        told = f"has a mu_ref that is no reference: {reason}"
        raise JoinError(labels[first], told, 'align on "mu", or on None')
    spectra = [ds[name].values.astype(float) for ds in parts]
    finite = [np.isfinite(values) for values in spectra]
    usable = [n for n, good in enumerate(finite) if good.sum() >= FEWEST]
    axes = [parts[n]["energy"].values.astype(float)[finite[n]] for n in usable]
    rows = [spectra[n][finite[n]] for n in usable]
    tries = [n for n in usable if n >= first][:MOST]
    best: tuple[int, int, Shifts] | None = None
    for n in tries:
        found = find_shifts(axes, rows, usable.index(n))
        # one that is not even like its own smooth curve is like nothing
        failed = len(usable) if found.problem[usable.index(n)] else sum(map(bool, found.problem))
        if best is None or failed < best[0]:
            best = failed, n, found
        if failed <= (len(usable) - 1) // 2:
            break
    shift, errors = np.full(len(parts), np.nan), np.full(len(parts), np.nan)
    problems = [f"has {int(good.sum())} finite points" for good in finite]
    if best is not None:
        _, template, found = best
        shift[usable], errors[usable] = found.shift, found.errors
        for n, problem in zip(usable, found.problem, strict=True):
            problems[n] = f"{problem} that of {labels[template]}" if problem == UNLIKE else problem
    _tell(labels, name, problems)
    return Shifts(shift, errors, tuple(problems))


def _tell(labels: Sequence[str], name: str, problems: Sequence[str]) -> None:
    """Warn of scans without a shift; refuse to go on where there are not two with one."""
    failed = [n for n, problem in enumerate(problems) if problem]
    if failed and len(failed) >= len(labels) - 1:
        raise FitError(labels[failed[0]], f"its {name} {problems[failed[0]]}", "is it the same foil?")
    if failed:
        told = "; ".join(f"{labels[n]} ({problems[n]})" for n in failed)
        warnings.warn(f"{len(failed)} scan(s) cannot be aligned on {name}: {told}", stacklevel=5)


def why_no_reference(scan: xr.Dataset) -> str:
    """Return why the variable ``mu_ref`` of a scan cannot be a reference; "" where it can.

    Parameters
    ----------
    scan
        Kind ``xas.scans``, over (energy), with ``mu`` and ``mu_ref``; without the attributes ``element`` and
        ``edge`` nothing is known against it.
    """
    element, edge = str(scan.attrs.get("element", "")), str(scan.attrs.get("edge", ""))
    if not element or not edge:
        return ""
    energy = scan["energy"].values.astype(float)
    mu, reference = scan["mu"].values.astype(float), scan["mu_ref"].values.astype(float)
    good = np.isfinite(mu) & np.isfinite(reference)
    energy, mu, reference = energy[good], mu[good], reference[good]
    if _likeness(energy, mu, reference, steepest_rise(energy, reference)) < ALIKE:
        return ""
    try:
        off = first_inflection(energy, reference)[0] - tabulated(element, edge)
    except CalibrationError:
        return ""  # no edge, or too coarse to tell: what does not fit is found when it is aligned
    if off > METAL:
        return f"it rises like the sample itself, {off:.1f} eV above the {element} {edge} edge of the metal"
    return ""


def _likeness(energy: Array, mu: Array, reference: Array, position: float) -> float:
    """Return the correlation of two edges, straight lines taken off."""
    near = (energy > position - 30) & (energy < position + 40)
    if near.sum() < 10:
        return 0.0
    line = np.column_stack([np.ones(near.sum()), energy[near] - position])
    a, b = (y[near] - line @ np.linalg.lstsq(line, y[near], rcond=None)[0] for y in (mu, reference))
    return float(a @ b / np.sqrt((a @ a) * (b @ b)))
