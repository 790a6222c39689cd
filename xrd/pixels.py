r"""Where every pixel of a detector lies in a pattern, and what it would see of an even light.

Compiled loops over the pixels, run once for a geometry. Positions along the pattern are in the quantity the
bins are even in (`AXES`): 2θ in deg, :math:`q = 4π \sinθ / λ` in 1/angstrom, or :math:`-d = -2π/q` in
angstrom, with the sign that lets it rise with 2θ. The azimuth is :math:`χ = \arctan_2(t_1, t_2)`: 0 along
x, 90 deg along y of the laboratory (`calibration.geometry`).
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np
from numba import njit

from calibration.geometry import Geometry

if TYPE_CHECKING:
    from numpy.typing import NDArray

AXES = {"two_theta": 0, "q": 1, "d": 2}
"""Quantities the bins can be even in, by the numbers the loops know them by."""

compiled = njit(cache=True, nogil=True, error_model="numpy")
"""Compiled at the first call, kept on disk, and run without Python's lock."""


def positions(geometry: Geometry, shape: tuple[int, int], axis: str) -> NDArray[np.float64]:
    """Return the position of every pixel centre (y, x) along the axis."""
    y, x = geometry.positions(shape)
    return np.asarray(_positions(y.ravel(), x.ravel(), _turns(geometry), AXES[axis], geometry.wavelength))


def corner_positions(geometry: Geometry, shape: tuple[int, int], axis: str) -> NDArray[np.float64]:
    """Return the position along the axis of every corner between pixels, (y + 1, x + 1)."""
    y, x = _edges(geometry, shape)
    return np.asarray(_positions(y, x, _turns(geometry), AXES[axis], geometry.wavelength))


def azimuths(geometry: Geometry, shape: tuple[int, int], corners: bool = False) -> NDArray[np.float64]:
    """Return the azimuth of every pixel centre (y, x), or corner (y + 1, x + 1), in deg from -180 to 180."""
    y, x = _edges(geometry, shape) if corners else geometry.positions(shape)
    return np.asarray(_azimuths(y.ravel(), x.ravel(), _turns(geometry)))


def normalization(
    geometry: Geometry,
    shape: tuple[int, int],
    polarization: float | None,
    solid_angle: bool,
    absorption: float | None,
) -> NDArray[np.float32]:
    r"""Return what a pixel (y, x) sees of an even light, relative to one at normal incidence.

    The product of :math:`\cos^3 α` (solid angle), :math:`½ (1 + \cos^2 2θ - p \cos 2χ \sin^2 2θ)`
    (polarisation) and :math:`(1 - e^{-μt/\cos α}) / (1 - e^{-μt})` (absorption in the sensor, `absorption`
    being μt), as far as they are asked for.
    """
    y, x = geometry.positions(shape)
    return np.asarray(
        _normalization(
            y.ravel(),
            x.ravel(),
            _turns(geometry),
            math.nan if polarization is None else polarization,
            solid_angle,
            math.nan if absorption is None else absorption,
        )
    )


def two_theta_of(position: Any, axis: str, wavelength: float) -> Any:
    """Return 2θ in deg of positions along an axis."""
    if axis == "two_theta":
        return position
    q = position if axis == "q" else -2 * np.pi / position
    return np.degrees(2 * np.arcsin(q * wavelength / (4 * np.pi)))


def position_of(two_theta: float, axis: str, wavelength: float) -> float:
    """Return the position along an axis of an angle in deg."""
    return float(_along(math.radians(two_theta), AXES[axis], wavelength))


def _turns(geometry: Geometry) -> tuple[float, ...]:
    """Return poni, distance and the sines and cosines of the rotations."""
    rotations = (geometry.rot1, geometry.rot2, geometry.rot3)
    return (
        geometry.poni1,
        geometry.poni2,
        geometry.distance,
        *(part(angle) for angle in rotations for part in (math.sin, math.cos)),
    )


def _edges(geometry: Geometry, shape: tuple[int, int]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return y and x of the lines between pixels, in the order of the image as stored."""
    lines = []
    for centers, size in zip(geometry.positions(shape), geometry.pixel_size, strict=True):
        flat = centers.ravel()
        step = -size if len(flat) > 1 and flat[1] < flat[0] else size
        lines.append(np.append(flat - step / 2, flat[-1] + step / 2))
    return lines[0], lines[1]


@compiled
def _place(y: float, x: float, turns: Any) -> Any:  # pragma: no cover - compiled
    """Return t1, t2, t3 of a point of the detector (see `calibration.geometry`)."""
    poni1, poni2, distance, sin1, cos1, sin2, cos2, sin3, cos3 = turns
    p1, p2 = y - poni1, x - poni2
    t1 = p1 * cos2 + p2 * (sin1 * sin2) - distance * cos1 * sin2
    t2 = p2 * cos1 + distance * sin1
    t3 = p1 * sin2 - p2 * (cos2 * sin1) + distance * cos1 * cos2
    return t1 * cos3 - t2 * sin3, t1 * sin3 + t2 * cos3, t3


@compiled
def _along(two_theta: float, axis: int, wavelength: float) -> float:
    """Return the position of an angle (rad) along an axis."""
    if axis == 0:
        return math.degrees(two_theta)
    q = 4 * math.pi / wavelength * math.sin(two_theta / 2)
    return q if axis == 1 else -2 * math.pi / q


@compiled
def _positions(y: Any, x: Any, turns: Any, axis: int, wavelength: float) -> Any:
    out = np.empty((y.size, x.size))
    for i in range(y.size):
        for j in range(x.size):
            t1, t2, t3 = _place(y[i], x[j], turns)
            out[i, j] = _along(math.atan2(math.sqrt(t1 * t1 + t2 * t2), t3), axis, wavelength)
    return out


@compiled
def _azimuths(y: Any, x: Any, turns: Any) -> Any:
    out = np.empty((y.size, x.size))
    for i in range(y.size):
        for j in range(x.size):
            t1, t2, _ = _place(y[i], x[j], turns)
            out[i, j] = math.degrees(math.atan2(t1, t2))
    return out


@compiled
def _normalization(
    y: Any, x: Any, turns: Any, polarization: float, solid_angle: bool, absorption: float
) -> Any:
    out = np.ones((y.size, x.size), np.float32)
    for i in range(y.size):
        for j in range(x.size):
            t1, t2, t3 = _place(y[i], x[j], turns)
            squared = t1 * t1 + t2 * t2 + t3 * t3
            cosine = turns[2] / math.sqrt(squared)
            factor = 1.0
            if solid_angle:
                factor *= cosine * cosine * cosine
            if not math.isnan(polarization):
                # cos 2χ sin²2θ = (t2² - t1²) / r²: no azimuth is needed, and none is undefined in the beam.
                sine_squared = (t1 * t1 + t2 * t2) / squared
                across = (t2 * t2 - t1 * t1) / squared
                factor *= 0.5 * (2.0 - sine_squared - polarization * across)
            if not math.isnan(absorption):
                factor *= math.expm1(-absorption / cosine) / math.expm1(-absorption)
            out[i, j] = factor
    return out
