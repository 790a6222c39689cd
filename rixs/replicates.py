"""Means over fresh samples of one state, with the scatter between samples in the error.

x_i = μ + b_i + e_i: besides its own measurement error e_i (variance v_i) a sample has its own b_i. Their
variance τ² is common to all states, because the one to three samples of a state cannot tell their own. It is
the solution of

    Σ_s Σ_i (x_i − μ_s(τ²))² / (v_i + τ²) = ν,  ν = Σ_s (n_s − 1),  μ_s = weighted mean with 1/(v_i + τ²),

and is 0 where even τ² = 0 gives less (R. C. Paule and J. Mandel, J. Res. NBS 87 (1982) 377, here over several
states). A τ² known from ν differences is itself uncertain: the error bar is that of Student's distribution
with ν ((v + τ²)/τ²)² degrees of freedom (Satterthwaite), which is the plain standard error where counting
dominates, and 1.84 of it where a single pair of samples says it all. Without any replicate τ² is not known
and not in the errors.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

Array = np.ndarray[Any, np.dtype[np.float64]]

ONE_SIGMA = 0.8413447460685429
"""Of a normal distribution, what lies below one standard deviation."""


@dataclass(frozen=True)
class Mean:
    """The mean of a state, or the difference of two.

    Attributes
    ----------
    value
        Of it.
    measurement
        Its variance from the samples' own errors.
    scatter
        Its variance from the scatter between samples.
    degrees
        Degrees of freedom τ² was found with; 0 where there was no replicate.
    """

    value: float
    measurement: float
    scatter: float
    degrees: int

    def minus(self, other: Mean) -> Mean:
        """Return the difference of two states."""
        return Mean(
            self.value - other.value,
            self.measurement + other.measurement,
            self.scatter + other.scatter,
            self.degrees,
        )

    def error(self, systematic: float = 0.0) -> float:
        """Return the half width of the 68 % interval, with another error added in quadrature."""
        from scipy.stats import t

        total = self.measurement + self.scatter + systematic**2
        return float(np.sqrt(total) * t.ppf(ONE_SIGMA, self._freedom(total)))

    def significance(self, systematic: float = 0.0) -> float:
        """Return how many standard deviations of a normal distribution the value is from zero."""
        from scipy.stats import norm, t

        total = self.measurement + self.scatter + systematic**2
        sigma = abs(self.value) / float(np.sqrt(total))
        freedom = self._freedom(total)
        if np.isfinite(freedom):
            # Far out in the tail a normal quantile is no number any more; 37 σ is as sure as 100.
            sigma = min(sigma, float(norm.isf(max(float(t.sf(sigma, freedom)), 1e-300))))
        return float(np.copysign(sigma, self.value))

    def _freedom(self, total: float) -> float:
        if self.scatter <= 0 or self.degrees == 0:
            return float("inf")
        return float(min(self.degrees * (total / self.scatter) ** 2, 1e9))


def means(values: Sequence[Array], variances: Sequence[Array]) -> tuple[list[Mean], float]:
    """Return the mean of every state, and the standard deviation τ between samples (NaN without replicates).

    Parameters
    ----------
    values, variances
        Of the samples of one state after the other.
    """
    degrees = sum(len(v) - 1 for v in values)
    tau2 = between(values, variances) if degrees else 0.0
    found = []
    for x, v in zip(values, variances, strict=True):
        weights = 1 / (v + tau2)
        share = weights / weights.sum()
        found.append(Mean(float(share @ x), float(share**2 @ v), float((share**2).sum() * tau2), degrees))
    return found, float(np.sqrt(tau2)) if degrees else float("nan")


def between(values: Sequence[Array], variances: Sequence[Array]) -> float:
    """Return the variance τ² between samples of one state (Paule and Mandel, over all states)."""
    from scipy.optimize import brentq

    degrees = sum(len(v) - 1 for v in values)

    def excess(tau2: float) -> float:
        total = 0.0
        for x, v in zip(values, variances, strict=True):
            weights = 1 / (v + tau2)
            total += float(weights @ (x - (weights @ x) / weights.sum()) ** 2)
        return total - degrees

    if excess(0.0) <= 0:
        return 0.0
    most = max(float(np.ptp(x)) ** 2 for x in values) * max(len(x) for x in values)
    return float(brentq(excess, 0.0, max(most, 1e-300)))
