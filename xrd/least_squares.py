r"""Weighted least squares within bounds: Gauss-Newton steps, damped where they do not lower χ².

The normal equations are scaled to a unit diagonal, so that a matrix of correlations is what gets inverted. A
variable that its bound stops is held while the step would lead out; one the pattern says nothing about (a
column of zeros) is held too. The fit has converged when a full step would lower χ² by less than the
tolerance times the reduced χ², :math:`g^T (J^T W J)^{-1} g < ε χ_ν^2`, that is, when no variable would move
by more than √ε of its own standard deviation; this last step is still taken. It has also converged when
steps shrink so fast that the one after this would be that small. (K. Levenberg, Quart. Appl. Math. 2 (1944)
164; D. Marquardt, J. SIAM 11 (1963) 431.)
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

Floats = np.ndarray[Any, np.dtype[np.float64]]
Flags = np.ndarray[Any, np.dtype[np.bool_]]

SINGULAR = 1e-10
"""Smallest eigenvalue of the matrix of correlations that counts as independent."""

_LARGEST_DAMPING = 1e8

_LEFT = 10.0
"""A fit ends when what its last step should leave is below this many tolerances; it leaves far less."""

_CLOSE = 0.01
"""Where no step lowers χ², but none could by more than this (in units of the reduced χ²), the fit is done."""

_ROUGH = 1e-5
"""Part of χ² that reflections cut off at a finite distance may change it by when they move."""


@dataclass(frozen=True)
class Problem:
    """What is fitted.

    Attributes
    ----------
    evaluate
        Gives the calculated pattern (n) and its derivatives (variable, n).
    observed, root_weight
        The pattern, and the square roots of its weights (0 where not used).
    low, high
        Bounds of the variables.
    largest
        Largest change of each variable in one step.
    restraints
        Rows (m, variable), values (m) and weights (m) of what is known beforehand.
    """

    evaluate: Callable[[Floats], tuple[Floats, Floats]]
    observed: Floats
    root_weight: Floats
    low: Floats
    high: Floats
    largest: Floats
    restraints: tuple[Floats, Floats, Floats]


@dataclass(frozen=True)
class Solution:
    """Where the fit ended.

    Attributes
    ----------
    variables
        The variables.
    covariance
        (JᵀWJ)⁻¹; rows and columns of held variables are 0.
    wide
        The same with variables at bounds let free, for what lies beyond them.
    chi2, penalty
        Σ w (observed - calculated)², and what restraints add.
    converged
        Whether it did.
    cycles
        Steps done.
    at_bound, blind
        Variables a bound holds, and those the pattern says nothing about.
    singular
        Variables that cannot be told from each other.
    calculated, jacobian
        At the end.
    """

    variables: Floats
    covariance: Floats
    wide: Floats
    chi2: float
    penalty: float
    converged: bool
    cycles: int
    at_bound: Flags
    blind: Flags
    singular: Flags
    calculated: Floats
    jacobian: Floats


def solve(
    problem: Problem,
    start: Floats,
    max_cycles: int,
    tolerance: float,
    known: tuple[Floats, Floats] | None = None,
) -> Solution:
    """Minimise the weighted sum of squares from a start.

    `known` are the calculated pattern and derivatives there, where they are known from another fit.
    """
    rows, wanted, weights = problem.restraints
    variables = np.clip(start, problem.low, problem.high)
    calculated, jacobian = problem.evaluate(variables) if known is None else known
    chi2, penalty = _sums(problem, variables, calculated)
    degrees = max(int(np.count_nonzero(problem.root_weight)) - variables.size, 1)
    damping, cycles, converged, before = 0.0, 0, False, 0.0
    while True:
        weighted = jacobian * problem.root_weight
        residual = (problem.observed - calculated) * problem.root_weight
        matrix = weighted @ weighted.T + (rows.T * weights) @ rows
        gradient = weighted @ residual + rows.T @ (weights * (wanted - rows @ variables))
        scale = np.sqrt(np.diagonal(matrix))
        held, stopped = _held(problem, variables, gradient, scale)
        step, gain = _step(matrix, gradient, scale, held, 0.0)
        unit = max(1.0, (chi2 + penalty) / degrees)
        full, part = _within(problem, variables, step)
        # What is left after this step, if steps go on to shrink as the last one did.
        left = min(gain, gain**2 / before if before > gain else gain)
        if part == 1.0 and (gain < tolerance * unit or left < _LEFT * tolerance * unit):
            converged = True
            variables, calculated = variables + full, calculated + full @ jacobian
            break
        accepted = False
        while not accepted and cycles < max_cycles and damping < _LARGEST_DAMPING:
            if damping:
                full, part = _within(problem, variables, _step(matrix, gradient, scale, held, damping)[0])
            trial = variables + part * full
            new, new_jacobian = problem.evaluate(trial)
            new_chi2, new_penalty = _sums(problem, trial, new)
            cycles += 1
            # Near the minimum χ² is rough by ends of tails that pass over points: such a step may raise it.
            rough = _ROUGH * chi2 if gain < unit else 0.0
            accepted = new_chi2 + new_penalty <= chi2 + penalty + rough
            if accepted:
                before = gain if damping == 0.0 and part == 1.0 else 0.0
                variables, calculated, jacobian = trial, new, new_jacobian
                chi2, penalty = new_chi2, new_penalty
                damping = damping / 10 if damping > 1e-3 else 0.0
            elif gain < _CLOSE * unit:
                converged = True
                break
            else:
                damping = max(10 * damping, 1e-3)
        if not accepted:
            break
    chi2, penalty = _sums(problem, variables, calculated)
    covariance, singular = _inverse(matrix, scale, held)
    wide = _inverse(matrix, scale, scale == 0)[0] if stopped.any() else covariance
    return Solution(
        *(variables, covariance, wide, chi2, penalty, converged, cycles, stopped, scale == 0, singular),
        *(calculated, jacobian),
    )


def _within(problem: Problem, variables: Floats, step: Floats) -> tuple[Floats, float]:
    """Return a step that ends at the bounds, and the part of it that may be gone at once."""
    full = np.clip(variables + step, problem.low, problem.high) - variables
    moving = np.abs(full) > 0
    part = np.min(problem.largest[moving] / np.abs(full[moving]), initial=1.0)
    return full, float(part)


def _sums(problem: Problem, variables: Floats, calculated: Floats) -> tuple[float, float]:
    residual = (problem.observed - calculated) * problem.root_weight
    rows, wanted, weights = problem.restraints
    return float(residual @ residual), float(np.sum(weights * (wanted - rows @ variables) ** 2))


def _held(problem: Problem, variables: Floats, gradient: Floats, scale: Floats) -> tuple[Flags, Flags]:
    """Return which variables cannot move, and which of these because of a bound."""
    margin = 1e-9 * np.maximum(np.abs(variables), 1e-12)
    stopped = ((variables <= problem.low + margin) & (gradient <= 0)) | (
        (variables >= problem.high - margin) & (gradient >= 0)
    )
    return stopped | (scale == 0), stopped & (scale > 0)


def _step(
    matrix: Floats, gradient: Floats, scale: Floats, held: Flags, damping: float
) -> tuple[Floats, float]:
    """Return the damped step and by how much χ² would fall along it."""
    moving = np.flatnonzero(~held)
    step = np.zeros_like(gradient)
    if not moving.size:
        return step, 0.0
    norm = scale[moving]
    correlations = matrix[np.ix_(moving, moving)] / np.outer(norm, norm)
    right = gradient[moving] / norm
    correlations[np.diag_indices(moving.size)] += damping
    try:
        factor = np.linalg.cholesky(correlations)
        scaled = np.linalg.solve(factor.T, np.linalg.solve(factor, right))
    except np.linalg.LinAlgError:
        scaled = np.linalg.lstsq(correlations, right, rcond=SINGULAR)[0]
    step[moving] = scaled / norm
    return step, float(gradient @ step)


def _inverse(matrix: Floats, scale: Floats, held: Flags) -> tuple[Floats, Flags]:
    """Return the inverse of the part that moves, and which variables cannot be told apart."""
    covariance = np.zeros_like(matrix)
    singular = np.zeros(len(scale), dtype=bool)
    moving = np.flatnonzero(~held)
    if moving.size:
        norm = np.outer(scale[moving], scale[moving])
        values, vectors = np.linalg.eigh(matrix[np.ix_(moving, moving)] / norm)
        good = values > SINGULAR
        singular[moving] = (np.abs(vectors[:, ~good]) > 0.1).any(axis=1)
        kept = vectors[:, good]
        covariance[np.ix_(moving, moving)] = (kept / values[good]) @ kept.T / norm
    return covariance, singular
