r"""Weighted least squares within bounds: Gauss-Newton steps, damped where they do not lower χ².

The normal equations are scaled to a unit diagonal, so that a matrix of correlations is what gets inverted. A
variable that its bound stops is held while the step would lead out; one the pattern says nothing about (a
column of zeros) is held too. The fit has converged when a full step would lower χ² by less than the
tolerance times the reduced χ², :math:`g^T (J^T W J)^{-1} g < ε χ_ν^2`, that is, when no variable would move
by more than √ε of its own standard deviation; this last step is still taken. It has also converged when
steps shrink so fast that the one after this would be that small. (K. Levenberg, Quart. Appl. Math. 2 (1944)
164; D. Marquardt, J. SIAM 11 (1963) 431.)

Three things make such steps creep; they begin to be cared for with the first step that does not lower χ²:

* χ² of a pattern is not smooth: a tail that grows reaches further points (`calibration.extents`), which no
  derivative knows of. Each step is then judged with the extents held where it starts. The minimum is where
  no step lowers χ² with the extents it has there.
* A hump under a polynomial makes a curved valley. After each step the variables that the pattern is linear in
  are brought to their optimum, so that the others need not follow them (variable projection: G. H. Golub,
  V. Pereyra, SIAM J. Numer. Anal. 10 (1973) 413).
* Where χ² is large, JᵀWJ is far from its curvature, and steps overshoot: see `xrd.normal_equations.secant`.

Where the extents of two neighbouring places each send the fit to the other, or at a corner of χ², it ends
as `rough`.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from xrd.normal_equations import damped_step, inverse, secant

Floats = np.ndarray[Any, np.dtype[np.float64]]
Flags = np.ndarray[Any, np.dtype[np.bool_]]

_LARGEST_DAMPING = 1e8

_LEFT = 10.0
"""A fit ends when what its last step should leave is below this many tolerances; it leaves far less."""

_CLOSE = 0.01
"""Where no step lowers χ², but none could by more than this (in units of the reduced χ²), the fit is done."""

_BENT = 100.0
"""Largest ratio of the curvature of χ² along a last step to that of JᵀWJ."""

_ROUGH = 1e-5
"""Part of χ² that reflections cut off at a finite distance may change it by when they move."""

_IDLE, _ROUNDABOUT = 4, 15
"""Cycles without a fall of χ² by the tolerance, after which extents are held, or the fit ends as rough."""


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
    linear
        Variables that the pattern is linear in, all of them together.
    hold
        Makes `evaluate` keep to the extents of reflections at these variables, or (None) follow their widths.
    """

    evaluate: Callable[[Floats], tuple[Floats, Floats]]
    observed: Floats
    root_weight: Floats
    low: Floats
    high: Floats
    largest: Floats
    restraints: tuple[Floats, Floats, Floats]
    linear: Flags
    hold: Callable[[Floats | None], None]


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
    converged, rough
        Whether it did; whether it went in circles because χ² is not smooth.
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
    rough: bool
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
    variables = np.clip(start, problem.low, problem.high)
    problem.hold(None)
    calculated, jacobian = problem.evaluate(variables) if known is None else known
    chi2, penalty = _sums(problem, variables, calculated)
    degrees = max(int(np.count_nonzero(problem.root_weight)) - variables.size, 1)
    damping, cycles, before, best, idle = 0.0, 0, 0.0, math.inf, 0
    second = np.zeros((variables.size, variables.size))
    converged = rough = careful = False
    while True:
        matrix, gradient = _normal(problem, variables, calculated, jacobian)
        scale = np.sqrt(np.diagonal(matrix))
        held, stopped = _held(problem, variables, gradient, scale)
        step, gain = damped_step(matrix + second, gradient, scale, held, 0.0)
        unit = max(1.0, (chi2 + penalty) / degrees)
        full, part = _within(problem, variables, step)
        # What is left after this step, if steps go on to shrink as the last one did.
        left = min(gain, gain**2 / before if before > gain else gain)
        close = gain < tolerance * unit or (left < _LEFT * tolerance * unit and not careful)
        if close and careful:
            # A corner of χ² looks like much curvature; it is no convergence.
            close = damped_step(matrix, gradient, scale, held, 0.0)[1] < _BENT * tolerance * unit
            second *= close
        if close and part == 1.0:
            converged = True
            variables, calculated = variables + full, calculated + full @ jacobian
            break
        fell = chi2 + penalty < best - tolerance * unit
        best, idle = (chi2 + penalty, 0) if fell else (best, idle + 1)
        if gain < unit and idle >= _ROUNDABOUT:
            rough = True
            break
        if gain < unit and idle >= _IDLE and not careful:
            careful = True
            problem.hold(variables)
        accepted = False
        while not accepted and cycles < max_cycles and damping < _LARGEST_DAMPING:
            if damping:
                step, lower = damped_step(matrix + second, gradient, scale, held, damping)
                full, part = _within(problem, variables, step)
                if careful and gain < unit and lower < tolerance * unit:
                    converged = damped_step(matrix, gradient, scale, held, 0.0)[1] < _CLOSE * unit
                    rough = not converged
                    break
            trial = variables + part * full
            new, new_jacobian = problem.evaluate(trial)
            if careful:
                trial, new = _projected(problem, trial, new, new_jacobian)
            new_chi2, new_penalty = _sums(problem, trial, new)
            cycles += 1
            # Near the minimum a step may raise χ² by ends of tails that pass over points.
            allowed = _ROUGH * chi2 if gain < unit and not careful else 0.0
            accepted = new_chi2 + new_penalty <= chi2 + penalty + allowed
            if accepted:
                if careful:
                    problem.hold(trial)
                    new, new_jacobian = problem.evaluate(trial)
                    new_chi2, new_penalty = _sums(problem, trial, new)
                    weighted = (problem.observed - new) * problem.root_weight**2
                    bent = (jacobian - new_jacobian) @ weighted
                    turned = gradient - _normal(problem, trial, new, new_jacobian)[1]
                    second = secant(second, trial - variables, bent, turned)
                before = gain if damping == 0.0 and part == 1.0 else 0.0
                variables, calculated, jacobian = trial, new, new_jacobian
                chi2, penalty = new_chi2, new_penalty
                damping = damping / 10 if damping > 1e-3 else 0.0
            elif gain < _CLOSE * unit and not careful:
                converged = True
                break
            elif not careful:
                careful = True
                problem.hold(variables)
            else:
                damping = max(10 * damping, 1e-3)
        if not accepted:
            rough |= careful and damping >= _LARGEST_DAMPING
            break
    chi2, penalty = _sums(problem, variables, calculated)
    covariance, singular = inverse(matrix, scale, held)
    wide = inverse(matrix, scale, scale == 0)[0] if stopped.any() else covariance
    return Solution(
        *(
            variables,
            covariance,
            wide,
            chi2,
            penalty,
            converged,
            rough,
            cycles,
            stopped,
            scale == 0,
            singular,
        ),
        *(calculated, jacobian),
    )


def _normal(
    problem: Problem, variables: Floats, calculated: Floats, jacobian: Floats
) -> tuple[Floats, Floats]:
    """Return JᵀWJ and Jᵀ W (observed - calculated), restraints included."""
    rows, wanted, weights = problem.restraints
    weighted = jacobian * problem.root_weight
    residual = (problem.observed - calculated) * problem.root_weight
    matrix = weighted @ weighted.T + (rows.T * weights) @ rows
    return matrix, weighted @ residual + rows.T @ (weights * (wanted - rows @ variables))


def _projected(
    problem: Problem, variables: Floats, calculated: Floats, jacobian: Floats
) -> tuple[Floats, Floats]:
    """Return variables and pattern, the linear variables at their optimum unless that is out of bounds."""
    matrix, gradient = _normal(problem, variables, calculated, jacobian)
    scale = np.sqrt(np.diagonal(matrix))
    held = ~problem.linear | (problem.low >= problem.high) | (scale == 0)
    step, _ = damped_step(matrix, gradient, scale, held, 0.0)
    moved = variables + step
    if (moved <= problem.low)[~held].any() or (moved >= problem.high)[~held].any():
        return variables, calculated
    return moved, calculated + step @ jacobian


def _within(problem: Problem, variables: Floats, step: Floats) -> tuple[Floats, float]:
    """Return a step that ends at the bounds, and the part of it that may be gone at once."""
    full = np.clip(variables + step, problem.low, problem.high) - variables
    moving = np.abs(full) > 0
    part = np.min(problem.largest[moving] / np.abs(full[moving]), initial=1.0)
    return full, float(part)


def _sums(problem: Problem, variables: Floats, calculated: Floats) -> tuple[float, float]:
    residual = (problem.observed - calculated) * problem.root_weight
    rows, wanted, weights = problem.restraints
    penalty = float(np.sum(weights * (wanted - rows @ variables) ** 2)) if weights.size else 0.0
    return float(residual @ residual), penalty


def _held(problem: Problem, variables: Floats, gradient: Floats, scale: Floats) -> tuple[Flags, Flags]:
    """Return which variables cannot move, and which of these because of a bound."""
    margin = 1e-9 * np.maximum(np.abs(variables), 1e-12)
    stopped = ((variables <= problem.low + margin) & (gradient <= 0)) | (
        (variables >= problem.high - margin) & (gradient >= 0)
    )
    return stopped | (scale == 0), stopped & (scale > 0)
