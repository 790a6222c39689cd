"""What can be said of a fit: its status, and the parameters and phases it is about."""

from __future__ import annotations

from collections.abc import Collection, Sequence

import numpy as np

from calibration.instrument import SMALLEST_WIDTH
from xrd.calculation import Calculator
from xrd.least_squares import Solution
from xrd.phases import Floats

_CORRELATED = 0.98
"""Correlation from which on two variables are named."""


def verdict(
    names: Sequence[str], solution: Solution, held: Collection[int], calculator: Calculator, outer: Floats
) -> tuple[str, str]:
    """Return status (see `xrd.engines.STATUS`) and message of a fit.

    Parameters
    ----------
    names
        Free parameters of the model.
    solution
        Where the fit ended.
    held
        Those of phases that are not seen.
    calculator, outer
        Give the reflections at the end, for these variables.
    """
    absent = sorted({names[i].partition("/")[0] for i in held})
    bound = [n for n, at in zip(names, solution.at_bound, strict=False) if at]
    bound = [n for n in bound if n.partition("/")[0] not in absent]
    singular = [n for n, at in zip(names, solution.singular, strict=False) if at]
    blind = [n for i, n in enumerate(names) if solution.blind[i] and i not in held]
    if singular or blind:
        return "singular", f"cannot be told: {', '.join(dict.fromkeys(singular + blind))}"
    if solution.rough:
        return "rough", f"no step lowers χ², which is not smooth here: {_edges(calculator, outer)}"
    if not solution.converged:
        return "max_cycles", f"not converged after {solution.cycles} cycles"
    if absent:
        return "phase_absent", f"not seen: {', '.join(absent)}"
    if bound:
        return "at_bound", f"at a bound: {', '.join(bound)}"
    return "converged", _correlated(names, solution)


def _edges(calculator: Calculator, outer: Floats) -> str:
    """Return what makes χ² jump or bend where a fit ended."""
    found = []
    values = calculator.parameters(outer)
    for forward in calculator.phases:
        peaks = forward.peaks(values, {})
        for name, width in (("Gaussian", peaks.variance), ("Lorentzian", peaks.gamma)):
            count = int((width <= SMALLEST_WIDTH).sum())
            if count:
                of = f"{count} of {len(width)} reflections of {forward.phase.name}"
                found.append(f"{of} have the smallest {name} width")
    return ", ".join(found) or "tails end at other points with every step"


def _correlated(names: Sequence[str], solution: Solution) -> str:
    """Return which variables the pattern hardly tells apart; "" where there are none."""
    covariance = solution.covariance[: len(names), : len(names)]
    spread = np.sqrt(np.diagonal(covariance))
    known = spread > 0
    ratio = np.where(np.outer(known, known), covariance, 0.0) / np.where(
        np.outer(known, known), np.outer(spread, spread), 1.0
    )
    pairs = zip(*np.nonzero(np.triu(np.abs(ratio) > _CORRELATED, 1)), strict=True)
    found = [f"{names[i]} and {names[j]} ({abs(ratio[i, j]):.3f})" for i, j in pairs]
    return f"strongly correlated: {', '.join(found)}" if found else ""
