r"""Scattering angles on a flat detector, and how they change with where it stands.

A detector is the array (distance, poni1, poni2, rot1, rot2) in m and rad, as `calibration.geometry` defines
them; rot3 turns about the beam and changes no angle. With :math:`r^2 = p_1^2 + p_2^2 + L^2`,
:math:`\cos 2θ = t_3 / r`, hence on the detector

.. math:: \sin 2θ\, \frac{∂\,2θ}{∂p_i} = \frac{t_3\, p_i}{r^3} - \frac{1}{r} \frac{∂t_3}{∂p_i} .
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

Array = np.ndarray[Any, np.dtype[np.float64]]


def laboratory(detector: Array, y: Array, x: Array) -> tuple[Array, Array, Array]:
    """Return t1 (vertical), t2 (horizontal) and t3 (along the beam), in m, of points of the detector."""
    distance, poni1, poni2, rot1, rot2 = detector
    p1, p2 = y - poni1, x - poni2
    sin1, cos1, sin2, cos2 = np.sin(rot1), np.cos(rot1), np.sin(rot2), np.cos(rot2)
    t1 = p1 * cos2 + p2 * (sin1 * sin2) - distance * cos1 * sin2
    t2 = p2 * cos1 + distance * sin1
    t3 = p1 * sin2 - p2 * (cos2 * sin1) + distance * cos1 * cos2
    return t1, t2, t3


def two_theta(detector: Array, y: Array, x: Array) -> Array:
    """Return 2θ (rad) of points of the detector."""
    t1, t2, t3 = laboratory(detector, y, x)
    return np.arctan2(np.hypot(t1, t2), t3)


def azimuth(detector: Array, y: Array, x: Array) -> Array:
    """Return the azimuth about the beam (rad, from x towards y) of points of the detector."""
    t1, t2, _ = laboratory(detector, y, x)
    return np.arctan2(t1, t2)


def slope(detector: Array, y: Array, x: Array) -> tuple[Array, Array]:
    """Return ∂2θ/∂y and ∂2θ/∂x (rad/m) at points of the detector."""
    distance, poni1, poni2, rot1, rot2 = detector
    t1, t2, t3 = laboratory(detector, y, x)
    p1, p2 = y - poni1, x - poni2
    squared = p1**2 + p2**2 + distance**2
    across = np.maximum(np.hypot(t1, t2), 1e-12)
    along1, along2 = np.sin(rot2), -np.cos(rot2) * np.sin(rot1)
    return (t3 * p1 / squared - along1) / across, (t3 * p2 / squared - along2) / across


def normalization(detector: Array, y: Array, x: Array, polarization: float) -> Array:
    """Return solid angle (relative to normal incidence) times polarisation of points of the detector.

    cos³α ½ (1 + cos²2θ - p cos 2χ sin²2θ), α the angle of incidence, χ the azimuth from the horizontal (x).
    """
    t1, t2, t3 = laboratory(detector, y, x)
    squared = t1**2 + t2**2 + t3**2
    horizontal, vertical = t2**2 / squared, t1**2 / squared
    polarized = 0.5 * (2.0 - horizontal - vertical - polarization * (horizontal - vertical))
    return np.asarray((detector[0] / np.sqrt(squared)) ** 3 * polarized)


def center(detector: Array) -> tuple[float, float]:
    """Return where the beam meets the detector: y and x in m."""
    distance, poni1, poni2, rot1, rot2 = (float(value) for value in detector)
    return poni1 + distance * np.tan(rot2) / np.cos(rot1), poni2 - distance * np.tan(rot1)


def from_center(distance: float, y: float, x: float, rot1: float, rot2: float) -> Array:
    """Return the detector at a distance (along its normal) that the beam meets at (y, x), in m."""
    return np.array(
        [distance, y - distance * np.tan(rot2) / np.cos(rot1), x + distance * np.tan(rot1), rot1, rot2]
    )


def slopes(function: Callable[[Array], Array], p: Array, steps: Array | float = 1e-6) -> Array:
    """Return the derivatives (value, parameter) of a function of parameters, by central differences."""
    moves = np.diag(np.broadcast_to(steps, p.shape))
    return np.stack([(function(p + m) - function(p - m)) / (2 * m.sum()) for m in moves], axis=1)


def spread(detector: Array, covariance: Sequence[Sequence[float]]) -> tuple[float, ...]:
    """Return the standard deviations of distance, centre y, centre x (m) and tilt (rad).

    `covariance` is that of the parameters, rot3 after them or not.
    """
    known = np.array(covariance)[:5, :5]

    def derived(moved: Array) -> Array:
        rot1, rot2 = moved[3:]
        across = np.hypot(np.cos(rot2) * np.sin(rot1), np.sin(rot2))
        return np.array([moved[0], *center(moved), np.arctan2(across, np.cos(rot1) * np.cos(rot2))])

    # Steps as large as the errors: a tilt of nothing has a kink that no derivative sees.
    rows = slopes(derived, detector, np.maximum(np.sqrt(np.diag(known)), 1e-12))
    variances = np.einsum("ij,jk,ik->i", rows, known, rows)
    return tuple(float(error) for error in np.sqrt(np.maximum(variances, 0.0)))
