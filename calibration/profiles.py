r"""Peaks of a powder pattern: pseudo-Voigt with axial divergence, and what they are made of, in one pass.

Interface: `accumulate` adds the reflections of a pattern, and the derivatives of the pattern with respect to
any variables, given how position, widths, axial divergence and area of each reflection depend on them.
"""

from __future__ import annotations

from typing import Any

import numpy as np

Floats = np.ndarray[Any, np.dtype[np.float64]]


def accumulate(
    two_theta: Floats,
    position: Floats,
    variance: Floats,
    gamma: Floats,
    area: Floats,
    axial: float,
    exact: bool,
    slopes: Floats,
    pattern: Floats,
    jacobian: Floats,
) -> None:
    """Add reflections to a pattern, and their derivatives to its Jacobian.

    Parameters
    ----------
    two_theta
        Points of the pattern (n), deg, rising.
    position, variance, gamma, area
        Of each reflection (m): 2θ in deg, Gaussian variance in centideg², Lorentzian FWHM in centideg, and
        integrated intensity in intensity times centideg.
    axial
        SH/L.
    exact
        Whether the axial divergence is integrated to convergence, or as GSAS-II does.
    slopes
        (variable, m, 5): derivatives of position, variance, gamma, area, axial of each reflection with
        respect to each variable.
    pattern
        (n), added to.
    jacobian
        (variable, n), added to.
    """
    raise NotImplementedError
