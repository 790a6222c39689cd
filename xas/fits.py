"""Line, polynomial and edge step of many scans at once, with the errors of everything made of them.

All scans of one axis whose fits use the same points share two operators, P (line) and Q (polynomial over it),
so that fitting is a product of matrices. With the line p = B l, l = P μ, and the step Δμ = s·μ,

    norm(E) = (μ(E) - p(E)) / Δμ,    d norm = (dμ - B P dμ - norm s·dμ) / Δμ.

Every number made of norm has its error from this one sensitivity: noise of the points, and what all points
share through the line and the step.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

import numpy as np

from xas.grid import Grid
from xas.kernels import normalise_rows
from xas.ranges import Ranges

Array = np.ndarray[Any, np.dtype[np.float64]]


CURVES = ("norm", "norm_errors", "flat", "pre_edge", "post_edge")
"""What is made of the fits at every point, by its name in the Dataset."""


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

    def write_curves(self, out: Mapping[str, Array], rows: Any) -> None:
        """Write norm, its errors, flat, pre_edge and post_edge to `rows` of arrays of shape (…, energy).

        flat is norm without the curvature of the post-edge curve, from the point nearest to E0 on.
        """
        response = self.line_response
        normalise_rows(
            np.ascontiguousarray(self.mu),
            np.ascontiguousarray(self.sigma),
            np.ascontiguousarray(self.basis),
            self.line,
            response[None] if response.ndim == 2 else response,
            self.step,
            self.step_response,
            self.over,
            nearest_points(self.energy, self.e0),
            rows,
            *(out[name] for name in CURVES),
        )

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


def nearest_points(energy: Array, at: Array) -> Any:
    """Return the index of the point of the axis nearest to each energy, the lower of two equally near."""
    upper = np.clip(np.searchsorted(energy, at), 1, energy.size - 1)
    return np.where(at - energy[upper - 1] <= energy[upper] - at, upper - 1, upper)


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
        at = operators.curve_basis[nearest_points(energy, e0)]
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
