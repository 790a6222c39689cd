"""How good a geometry is: the rings of the image in sectors, against where they should be.

The judge knows nothing of the points a geometry was fitted to. The first `RINGS` rings on the detector that
stand alone are cut into `SECTORS` sectors of the azimuth (of the part of it that is on the detector), and in
each the centre of the ring is measured with a Gaussian on a sloping background. The mean of the absolute
deviations from the tabulated 2θ is the number. A sector whose ring is not found has no deviation; the part
that is found is the second number, since a wrong geometry finds rings only here and there.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from calibration import flat_detector
from calibration.flat_detector import Array
from calibration.frames import Frame
from calibration.ring_cells import fit_cells, near_rings

SECTORS = 36
RINGS = 14

REACH = 6.0
"""A ring is sought within so many pixels of where it should be."""

ALONE = 5.0
"""A ring is judged when the next ones are farther than so many pixels."""


class Judgement(NamedTuple):
    """Deviations (rad) and their errors of the sectors (sector, ring), NaN where no ring was found.

    `azimuth` (rad) is the middle of each sector, `rings` the 2θ (rad) of each ring, `pixel` the 2θ (rad) of a
    pixel there, `visible` tells which sectors have live pixels on the ring.
    """

    offset: Array
    error: Array
    azimuth: Array
    rings: Array
    pixel: Array
    visible: np.ndarray[tuple[int, ...], np.dtype[np.bool_]]

    @property
    def residual(self) -> float:
        """Mean absolute deviation in rad; infinite where no ring was found."""
        found = np.isfinite(self.offset)
        return float(np.abs(self.offset[found]).mean()) if found.any() else math.inf

    @property
    def residual_px(self) -> float:
        """Mean absolute deviation in pixels."""
        found = np.isfinite(self.offset)
        return float(np.abs(self.offset / self.pixel)[found].mean()) if found.any() else math.inf

    @property
    def quality(self) -> float:
        """`found` times what the deviation leaves of a pixel, 0 to 1: what geometries are compared by."""
        return self.found * max(0.0, 1.0 - self.residual_px)

    @property
    def found(self) -> float:
        """Part of the visible sectors in which the ring was found."""
        return float(np.isfinite(self.offset).sum() / max(self.visible.sum(), 1))


def judge_rings(frame: Frame, detector: Array, angles: Array) -> Judgement:
    """Judge a geometry.

    Parameters
    ----------
    frame
        The image.
    detector
        As in `calibration.flat_detector`.
    angles
        2θ of the calibrant's rings in rad, rising.
    """
    rings = rings_alone(frame, detector, angles, ALONE)[:RINGS]
    pixel = pixel_angle(detector, rings, frame.pixel)
    if not rings.size:
        nothing = np.zeros((SECTORS, 0))
        return Judgement(nothing, nothing, np.zeros(SECTORS), rings, pixel, nothing > 0)
    reach = np.minimum(0.45 * gaps(angles, rings), REACH * pixel)
    pixels = near_rings(frame, detector, rings, reach)
    begin, span = _lit(pixels.azimuth)
    sector = np.clip(
        ((pixels.azimuth - begin) % (2 * np.pi) / span * SECTORS).astype(np.intp), 0, SECTORS - 1
    )
    cells = fit_cells(pixels, detector, rings, reach, sector)
    offset = np.full((SECTORS, rings.size), np.nan)
    error = np.full_like(offset, np.nan)
    offset[cells.sector, cells.ring] = cells.center - rings[cells.ring]
    error[cells.sector, cells.ring] = cells.error
    # A sector is visible when the middle of the ring is, on a fair part of it.
    middle = np.abs(pixels.two_theta - rings[pixels.ring]) < 0.25 * reach[pixels.ring]
    count = np.bincount((sector * rings.size + pixels.ring)[middle], minlength=offset.size).reshape(
        offset.shape
    )
    visible = count > 0.3 * np.maximum(np.median(count[count > 0]) if (count > 0).any() else 1, 4)
    azimuth = begin + (np.arange(SECTORS) + 0.5) * span / SECTORS
    return Judgement(offset, error, azimuth, rings, pixel, visible | np.isfinite(offset))


def rings_alone(frame: Frame, detector: Array, angles: Array, spacing: float) -> Array:
    """Return the rings (2θ, rad) on live pixels whose neighbours are farther than `spacing` (px)."""
    rows, columns = np.nonzero(frame.live[2::4, 2::4])
    y = np.asarray((rows * 4 + 2.5) * frame.pixel_size[0], dtype=np.float64)
    x = np.asarray((columns * 4 + 2.5) * frame.pixel_size[1], dtype=np.float64)
    seen = flat_detector.two_theta(detector, y, x)
    count, edges = np.histogram(seen, 400, (0.0, float(seen.max()) + 1e-9))
    inside = angles[angles < edges[-1]]
    lit = count[np.clip(np.searchsorted(edges, inside) - 1, 0, 399)] > 2
    return np.asarray(
        inside[lit & (gaps(angles, inside) > spacing * pixel_angle(detector, inside, frame.pixel))]
    )


def pixel_angle(detector: Array, rings: Array, pixel: float) -> Array:
    """Return the 2θ (rad) of a pixel on rings, of the untilted detector."""
    return np.asarray(np.cos(rings) ** 2 * pixel / detector[0])


def gaps(angles: Array, rings: Array) -> Array:
    """Return the distance (rad) of each of `rings`, which are among `angles`, to the nearest other one."""
    at = np.searchsorted(angles, rings)
    padded = np.concatenate([[-angles[0]], angles, [np.inf]])
    return np.asarray(np.minimum(padded[at + 2] - padded[at + 1], padded[at + 1] - padded[at]))


def _lit(azimuth: Array) -> tuple[float, float]:
    """Return begin and span (rad) of the smallest arc that holds all azimuths."""
    bins = 720
    filled = np.bincount(((azimuth + np.pi) / (2 * np.pi) * bins).astype(np.intp) % bins, minlength=bins) > 0
    empty = np.flatnonzero(filled)
    if empty.size == 0:
        return -np.pi, 2 * np.pi
    step = np.diff(empty, append=empty[0] + bins)
    widest = int(np.argmax(step))
    # Gaps between modules and the arm of a beam stop do not open the circle.
    if step[widest] < bins / 9:
        return -np.pi, 2 * np.pi
    first = empty[(widest + 1) % empty.size]
    return -np.pi + first * 2 * np.pi / bins, (bins - step[widest] + 1) * 2 * np.pi / bins
