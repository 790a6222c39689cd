"""Repeats of a point: whether they agree, before they are averaged.

A beam changes what it measures. Repeats of one excitation energy, each a spectrum with errors, are compared
in bins of a few pixels, where neighbours that share events no longer matter: with m_b their weighted mean,

    χ² = Σ_repeats Σ_b (I_b − m_b)² / σ_b²,   (repeats − 1) · bins degrees of freedom.

Of that, the part that grows in proportion to the dose before each exposure is told apart: the change is then
the slope of every bin against dose, and its χ² has as many degrees of freedom as there are bins.
"""

from __future__ import annotations

from typing import Any

import numpy as np

Array = np.ndarray[Any, np.dtype[np.float64]]
Indices = np.ndarray[Any, np.dtype[np.intp]]

BIN = 8
"""Pixels in a bin."""

CHANCE = 1e-3
"""Repeats that differ so much by no better chance have changed."""

SAME_POINT = 0.03
"""Excitation energies (eV) closer than this are one point; read-backs of repeats differ by 0.015."""

CHANGED, WITH_DOSE = 1, 2
FLAGS = {"flag_masks": [CHANGED, WITH_DOSE], "flag_meanings": "changed changed_with_dose"}


def compare(intensity: Array, errors: Array, dose: Array) -> tuple[float, int]:
    """Compare the repeats of one point.

    Parameters
    ----------
    intensity, errors
        Spectra (repeat, pixel) per flux, and their standard deviations.
    dose
        Dose before each repeat.

    Returns
    -------
    tuple
        Reduced χ², and the flags of `FLAGS`; NaN and 0 for a single spectrum.
    """
    from scipy.stats import chi2

    repeats = len(intensity)
    if repeats < 2:
        return float("nan"), 0
    value, variance = _binned(intensity), _binned(errors**2)
    known = (np.isfinite(value) & (variance > 0)).all(axis=0)
    if not known.any():
        return float("nan"), 0
    value, weight = value[:, known], 1 / variance[:, known]
    total = weight.sum(axis=0)
    mean = (weight * value).sum(axis=0) / total
    off = value - mean
    misfit = float((weight * off**2).sum())
    freedom = (repeats - 1) * int(known.sum())
    flags = CHANGED * bool(chi2.sf(misfit, freedom) < CHANCE)
    centred = dose[:, None] - (weight * dose[:, None]).sum(axis=0) / total
    leverage = (weight * centred**2).sum(axis=0)
    moved = leverage > 0
    if moved.any():
        along = float((((weight * centred * off).sum(axis=0)[moved]) ** 2 / leverage[moved]).sum())
        flags |= WITH_DOSE * bool(chi2.sf(along, int(moved.sum())) < CHANCE)
    return misfit / freedom, flags


def same_points(energy: Array, seen: np.ndarray[Any, np.dtype[np.bool_]]) -> list[Indices]:
    """Return the frames of every point, in order of energy."""
    order = np.flatnonzero(seen)[np.argsort(energy[seen], kind="stable")]
    groups: list[list[int]] = []
    for i in order:
        if groups and energy[i] - energy[groups[-1][0]] < SAME_POINT:
            groups[-1].append(int(i))
        else:
            groups.append([int(i)])
    return [np.array(group, dtype=np.intp) for group in groups]


def _binned(values: Array) -> Array:
    """Return sums over bins of `BIN` pixels; what is left at the end is not used."""
    bins = values.shape[1] // BIN
    return np.asarray(values[:, : bins * BIN].reshape(len(values), bins, BIN).sum(axis=2))
