"""What a measured number is, and the few statistics the numbers share."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

Array = np.ndarray[Any, np.dtype[np.float64]]


@dataclass(frozen=True)
class Measured:
    """One line of the table.

    Attributes
    ----------
    quantity
        What was measured, and with what.
    value
        The number with its unit.
    limit
        What it is compared with, or the theoretical limit.
    source
        Where the limit is from.
    """

    quantity: str
    value: str
    limit: str = ""
    source: str = ""

    def cells(self) -> list[str]:
        """Return the texts of the line."""
        return [self.quantity, self.value, self.limit, self.source]


@dataclass(frozen=True)
class Quantity:
    """A selectable group of lines.

    Attributes
    ----------
    lines
        Measures and yields them; its argument is the folder of real measurements.
    real
        It needs that folder.
    """

    lines: Callable[[Path], Iterator[Measured]]
    real: bool = False


def pulls(quantity: str, values: Any, independent: float | None = None) -> Measured:
    """Return mean and standard deviation of pulls, with their statistical errors.

    Parameters
    ----------
    quantity
        Whose they are.
    values
        (found - true) / error.
    independent
        How many of them are independent; all, where not given.
    """
    found = np.asarray(values, dtype=float).ravel()
    n = independent or found.size
    return Measured(
        quantity,
        f"mean {found.mean():+.2f} ± {found.std() / math.sqrt(n):.2f}, "
        f"standard deviation {found.std():.2f} ± {found.std() / math.sqrt(2 * n):.2f}",
        "0 and 1",
        "definition of a standard error",
    )


def rms(values: Any) -> float:
    """Return the root mean square."""
    return float(np.sqrt(np.mean(np.square(values))))


def gaussian(x: Array, height: float, centre: float, sigma: float, base: float, slope: float) -> Array:
    """Return a Gaussian on a straight line."""
    return np.asarray(height * np.exp(-0.5 * ((x - centre) / sigma) ** 2) + base + slope * (x - centre))


def fit_gaussian(
    x: Array, y: Array, start: float, half_width: float, sigma: float, errors: Array | None = None
) -> tuple[Array, Array] | None:
    """Return the parameters of `gaussian` near `start` and their standard deviations, or None.

    Parameters
    ----------
    x, y, errors
        The pattern; without errors the standard deviations are those the scatter implies.
    start, half_width
        The fitted range is start ± half_width.
    sigma
        Width to begin with.
    """
    from scipy.optimize import curve_fit

    near = (np.abs(x - start) < half_width) & np.isfinite(y)
    x, y = x[near], y[near]
    guess = [np.ptp(y), x[np.argmax(y)], sigma, y.min(), 0.0]
    weights = None if errors is None else errors[near]
    try:
        with np.errstate(all="ignore"), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            best, covariance = curve_fit(
                gaussian, x, y, guess, sigma=weights, absolute_sigma=errors is not None, maxfev=2000
            )
    except RuntimeError:
        return None
    if not np.isfinite(covariance).all() or abs(best[1] - start) > half_width:
        return None
    return best, np.sqrt(np.diag(covariance))
