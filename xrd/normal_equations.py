"""Steps of a least-squares fit and covariances, from its normal equations scaled to a unit diagonal."""

from __future__ import annotations

from typing import Any

import numpy as np

Floats = np.ndarray[Any, np.dtype[np.float64]]
Flags = np.ndarray[Any, np.dtype[np.bool_]]

SINGULAR = 1e-10
"""Smallest eigenvalue of the matrix of correlations that counts as independent."""


def damped_step(
    matrix: Floats, gradient: Floats, scale: Floats, held: Flags, damping: float
) -> tuple[Floats, float]:
    """Return the damped step and by how much χ² would fall along it.

    Parameters
    ----------
    matrix, gradient
        Half the second derivatives of χ² (n, n), and minus half its first ones (n).
    scale
        Square roots of the diagonal of JᵀWJ (n), which make the variables comparable.
    held
        Variables that stay (n).
    damping
        What is added to the diagonal of the scaled matrix (K. Levenberg, D. Marquardt).
    """
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
        # Singular, or bent the wrong way: down along every direction that counts as independent.
        values, vectors = np.linalg.eigh(correlations)
        kept = vectors[:, np.abs(values) > SINGULAR]
        scaled = kept @ (kept.T @ right / np.abs(values[np.abs(values) > SINGULAR]))
    step[moving] = scaled / norm
    return step, float(gradient @ step)


def secant(second: Floats, step: Floats, bent: Floats, turned: Floats) -> Floats:
    """Return the part of the second derivatives of χ²/2 that JᵀWJ leaves out, brought up to date with a step.

    Parameters
    ----------
    second
        What it was taken to be (n, n).
    step
        Of the variables (n).
    bent
        What it should give for the step (n): the change of -J times the weighted residual after it.
    turned
        Change of the gradient of χ²/2 (n).

    Notes
    -----
    J. E. Dennis, D. M. Gay, R. E. Welsch, ACM Trans. Math. Softw. 7 (1981) 348. Where χ² is far above its
    expectation, as it is of a model that does not describe a pattern, JᵀWJ alone overshoots.
    """
    along = float(step @ turned)
    if along <= 0:
        return second
    there = float(step @ second @ step)
    sized = second * (min(1.0, abs(float(step @ bent) / there)) if there else 1.0)
    off = bent - sized @ step
    outer = np.outer(off, turned)
    return np.asarray(
        sized + (outer + outer.T) / along - float(step @ off) * np.outer(turned, turned) / along**2
    )


def inverse(matrix: Floats, scale: Floats, held: Flags) -> tuple[Floats, Flags]:
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
