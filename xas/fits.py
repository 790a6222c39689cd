"""Line, polynomial and edge step of many scans at once, with the errors of everything made of them.

All scans of one axis whose fits use the same points share two operators, P (line) and Q (polynomial over it),
so that fitting is a product of matrices. With the line p = B l, l = P μ, and the step Δμ = s·μ,

    norm(E) = (μ(E) - p(E)) / Δμ,    d norm = (dμ - B P dμ - norm s·dμ) / Δμ.

Every number made of norm has its error from this one sensitivity: noise of the points, and what all points
share through the line and the step.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

import numpy as np

from xas.grid import Grid
from xas.ranges import Ranges

Array = np.ndarray[Any, np.dtype[np.float64]]


@dataclass(frozen=True)
class Fits:
    """The fits of several scans on one axis.

    Attributes
    ----------
    energy
        Axis, eV, shape (energy,).
    mu, sigma
        Absorption and the standard deviation of its points, shape (scan, energy).
    e0
        Shape (scan,), eV.
    basis
        What the line is made of, shape (energy, 2).
    line
        Coefficients of the line, shape (scan, 2).
    line_response
        d line / dμ, shape (2, energy), or (scan, 2, energy) where it differs.
    step
        Edge step, shape (scan,).
    step_response
        d step / dμ, shape (scan, energy).
    over
        The post-edge curve over the line, shape (scan, energy).
    """

    energy: Array
    mu: Array
    sigma: Array
    e0: Array
    basis: Array
    line: Array
    line_response: Array
    step: Array
    step_response: Array
    over: Array

    @property
    def pre_edge(self) -> Array:
        """The pre-edge line, shape (scan, energy)."""
        return self.line @ self.basis.T

    @property
    def norm(self) -> Array:
        """The normalised absorption, shape (scan, energy)."""
        return np.asarray((self.mu - self.pre_edge) / self.step[:, None])

    @property
    def step_errors(self) -> Array:
        """Standard deviation of the edge step, shape (scan,)."""
        response = self.step_response * self.sigma
        return np.asarray(np.sqrt(np.einsum("ne,ne->n", response, response)))

    def only(self, chosen: Array) -> Fits:
        """Return the fits of some scans, by a mask or their places."""
        response = self.line_response if self.line_response.ndim == 2 else self.line_response[chosen]
        return Fits(
            self.energy,
            self.mu[chosen],
            self.sigma[chosen],
            self.e0[chosen],
            self.basis,
            self.line[chosen],
            response,
            self.step[chosen],
            self.step_response[chosen],
            self.over[chosen],
        )

    def with_step(self, step: Array) -> Fits:
        """Return the fits with another edge step; its error stays that of the fitted one."""
        return replace(self, step=step)

    def flat(self, norm: Array) -> Array:
        """Return norm without the curvature of the post-edge curve, from the point nearest to E0 on."""
        nearest = np.abs(self.energy - self.e0[:, None]).argmin(axis=1)
        residue = self.over / self.step[:, None]
        at = np.take_along_axis(residue, nearest[:, None], axis=1)
        after = np.arange(self.energy.size) >= nearest[:, None]
        return np.where(after, norm - residue + at, norm)

    def norm_errors(self, norm: Array) -> Array:
        """Return the standard deviation of every point of norm, shape (scan, energy)."""
        variance = self.sigma**2
        count = norm.shape[0]
        response = self.line_response
        weighted = response * variance[:, None] if response.ndim == 3 else None
        covariance = np.empty((count, 3, 3))
        for i in range(2):
            for j in range(i, 2):
                covariance[:, i, j] = covariance[:, j, i] = (
                    variance @ (response[i] * response[j])
                    if weighted is None
                    else np.einsum("ne,ne->n", weighted[:, i], response[:, j])
                )
            with_step = self.step_response * variance
            covariance[:, i, 2] = covariance[:, 2, i] = (
                with_step @ response[i]
                if weighted is None
                else np.einsum("ne,ne->n", with_step, response[:, i])
            )
        covariance[:, 2, 2] = np.einsum("ne,ne->n", with_step, self.step_response)
        # var(μ - b·l - norm Δμ) with b the basis at the point
        own = response if weighted is None else np.moveaxis(response, 1, 0)
        b0, b1 = self.basis.T
        shared = b0 * own[0] + b1 * own[1] + norm * self.step_response
        c = covariance[:, :, :, None]
        together = c[:, 0, 0] * b0**2 + 2 * c[:, 0, 1] * (b0 * b1) + c[:, 1, 1] * b1**2
        together += norm * (2 * (c[:, 0, 2] * b0 + c[:, 1, 2] * b1) + c[:, 2, 2] * norm)
        return np.asarray(np.sqrt(np.maximum(variance * (1 - 2 * shared) + together, 0)) / self.step[:, None])

    def errors_of(self, weights: Array, norm: Array) -> Array:
        """Return the standard deviation of weights · norm for weights of shape (scan, energy)."""
        on_line = weights @ self.basis
        along = (
            on_line @ self.line_response
            if self.line_response.ndim == 2
            else np.einsum("ni,nie->ne", on_line, self.line_response)
        )
        on_step = np.einsum("ne,ne->n", weights, norm)[:, None]
        response = (weights - along - on_step * self.step_response) * self.sigma
        return np.asarray(np.sqrt(np.einsum("ne,ne->n", response, response)) / np.abs(self.step))


def fit_polynomials(
    energy: Array, mu: Array, sigma: Array, e0: Array, ranges: Ranges, at_nearest: bool
) -> Fits:
    """Fit scans that share their ranges.

    Parameters
    ----------
    energy, mu, sigma, e0
        As in `Fits`.
    ranges
        Points and degree of the fits.
    at_nearest
        The step is read at the point of the axis nearest to E0 (larch), else at E0 (Athena).
    """
    operators = _operators(Grid(energy), ranges)
    line = mu @ operators.line.T
    coefficients = mu @ operators.curve.T
    if at_nearest:
        at = operators.curve_basis[np.abs(energy - e0[:, None]).argmin(axis=1)]
    else:
        at = basis(e0, energy[slice(*ranges.post)], ranges.degree)
    return Fits(
        energy,
        mu,
        sigma,
        e0,
        operators.line_basis,
        line,
        operators.line,
        np.einsum("nd,nd->n", at, coefficients),
        at @ operators.curve,
        coefficients @ operators.curve_basis.T,
    )


@dataclass(frozen=True)
class Operators:
    """Matrices from μ (energy,) to coefficients, and the bases of line (energy, 2) and curve."""

    line: Array
    line_basis: Array
    curve: Array
    curve_basis: Array


@lru_cache(maxsize=512)
def _operators(grid: Grid, ranges: Ranges) -> Operators:
    energy = grid.energy
    line_basis, line = _fit(energy, slice(*ranges.pre), 0 if ranges.flat else 1)
    if ranges.flat:
        line_basis = np.column_stack([line_basis, np.zeros(energy.size)])
        line = np.vstack([line, np.zeros(energy.size)])
    curve_basis, curve = _fit(energy, slice(*ranges.post), ranges.degree)
    # the polynomial sees μ - line
    return Operators(line, line_basis, curve - (curve @ line_basis) @ line, curve_basis)


def _fit(energy: Array, points: slice, degree: int) -> tuple[Array, Array]:
    """Return the fit of a polynomial to `points` as factors: basis on the axis, coefficients from μ."""
    coefficients = np.zeros((degree + 1, energy.size))
    coefficients[:, points] = np.linalg.pinv(basis(energy[points], energy[points], degree))
    return basis(energy, energy[points], degree), coefficients


def basis(at: Array, fitted: Array, degree: int) -> Array:
    """Return Legendre polynomials on the fitted range, which keep the fit well conditioned."""
    centre = 0.5 * (fitted[0] + fitted[-1])
    half = max(0.5 * (fitted[-1] - fitted[0]), 1e-9)
    return np.asarray(np.polynomial.legendre.legvander((at - centre) / half, degree))
