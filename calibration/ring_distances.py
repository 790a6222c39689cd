r"""One detector at several distances: a common fit of rings, with the steps of the stage as the scale.

The detector keeps its tilt; at step :math:`z_j` its distance is :math:`L_0 + z_j \cos β` and its poni moves
along a line, :math:`\mathrm{poni}_j = \mathrm{poni}_0 + z_j \mathbf m`, with :math:`\cos β = \sqrt{1 -
m^2}`: the stage need not run along the beam. Parameters are L₀, the beam's centre, two rotations, **m**, and
optionally the factor of the wavelength, under which :math:`\sin θ` of every ring scales.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from beamline.errors import CalibrationError
from calibration import flat_detector
from calibration.flat_detector import Array
from calibration.ring_cells import Cells
from calibration.ring_refinement import Fit, weigh

STEPS = 30


def fit_distances(
    detectors: Sequence[Array],
    cells: Sequence[Cells],
    rings: Sequence[Array],
    steps: Array,
    pixel: float,
    refine_wavelength: bool,
) -> tuple[list[Fit], float, float]:
    """Fit all images together.

    Parameters
    ----------
    detectors
        What each image gave alone.
    cells, rings
        Points of each, and 2θ (rad) of its rings.
    steps
        How far each was moved, m.
    pixel
        Size of a pixel, m.
    refine_wavelength
        Whether to refine the factor of the wavelength.

    Returns
    -------
    Fits of each image, the factor of the wavelength and its standard deviation.

    Raises
    ------
    CalibrationError
        The fit does not converge.
    """
    count = 8 if refine_wavelength else 7
    first = detectors[int(np.argmin(np.abs(steps)))]
    scale = float(first[0])

    def detector(p: Array, step: float) -> Array:
        base = flat_detector.from_center(p[0] * scale, p[1] * scale, p[2] * scale, p[3], p[4])
        move = np.array([np.sqrt(1 - p[5] ** 2 - p[6] ** 2), p[5], p[6], 0.0, 0.0])
        return np.asarray(base + step * move)

    targets = [ring[cell.ring] for ring, cell in zip(rings, cells, strict=True)]
    per_pixel = [
        np.hypot(*flat_detector.slope(d, cell.y, cell.x)) * pixel
        for d, cell in zip(detectors, cells, strict=True)
    ]
    own = np.concatenate([cell.error / size for cell, size in zip(cells, per_pixel, strict=True)])

    def miss(p: Array) -> Array:
        factor = p[7] if refine_wavelength else 1.0
        return np.concatenate(
            [
                (
                    flat_detector.two_theta(detector(p, step), cell.y, cell.x)
                    - 2 * np.arcsin(np.minimum(factor * np.sin(target / 2), 1.0))
                )
                / size
                for step, cell, target, size in zip(steps, cells, targets, per_pixel, strict=True)
            ]
        )

    # Where the foot of the perpendicular went, by the single fits, is where the stage runs.
    feet = np.array([d[1:3] for d in detectors])
    slope = np.linalg.lstsq(np.stack([np.ones(steps.size), steps], axis=1), feet, rcond=None)[0][1]
    p = np.array(
        [1.0, *(np.array(flat_detector.center(first)) / scale), *first[3:], *np.clip(slope, -0.2, 0.2), 1.0]
    )
    p[0] = np.mean([d[0] - s for d, s in zip(detectors, steps, strict=True)]) / scale
    p = p[:count]
    normal = np.eye(count)
    for _ in range(STEPS):
        off = miss(p)
        weight, scatter, used = weigh(off, own)
        rows = flat_detector.slopes(miss, p)
        normal = rows.T @ (weight[:, None] * rows)
        try:
            step = np.linalg.solve(normal, -rows.T @ (weight * off))
        except np.linalg.LinAlgError as error:
            raise CalibrationError("calibration images", "do not determine a common geometry") from error
        p = p + step * min(1.0, 0.2 / max(float(np.abs(step).max()), 1e-30))
        if not (np.isfinite(p).all() and p[0] > 0 and np.abs(p[5:7]).max() < 0.7):
            raise CalibrationError(
                "calibration images", "contradict the increments", "are they in m, in this order?"
            )
        if float(step @ normal @ step) < 1e-6:
            break
    covariance = np.linalg.inv(normal)
    fits = []
    begin = 0
    for step, cell in zip(steps, cells, strict=True):
        to_poni = flat_detector.slopes(lambda p, step=step: detector(p, step), p)  # type: ignore[misc]
        inside = used[begin : begin + cell.y.size]
        fits.append(Fit(detector(p, step), to_poni @ covariance @ to_poni.T, scatter, inside))
        begin += cell.y.size
    if not refine_wavelength:
        return fits, 1.0, 0.0
    return fits, float(p[7]), float(np.sqrt(covariance[7, 7]))
