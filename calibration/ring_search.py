"""From an image of a calibrant to the geometry: seed, points, refinement, rings added, judgement."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from beamline.errors import CalibrationError
from calibration.flat_detector import Array
from calibration.frames import Frame
from calibration.ridges import find_ridges
from calibration.ring_cells import Cells, fit_cells, near_rings
from calibration.ring_judge import Judgement, gaps, judge_rings, pixel_angle, rings_alone
from calibration.ring_refinement import Fit, refine
from calibration.ring_seed import DISTINCT, find_seeds

STAGES = ((8, 8.0), (16, 6.0), (1000, 5.0), (1000, 5.0))
"""Of each stage: how many rings are used at most, and the reach (px) around each."""

FIRST = 2
"""Stages that every seed goes through."""

FOLLOWED = 4
"""Seeds that are followed."""

SPACING = 3.0
"""A ring is used when the next one is farther than so many widths (FWHM)."""

SECTORS = 72
"""Points on a full ring; on large rings a multiple of it, so that an arc is no longer than `ARC` px."""

ARC = 60.0


class Found(NamedTuple):
    """A geometry with its covariance and all that speaks for it; `second` is the quality of the next best."""

    fit: Fit
    judgement: Judgement
    cells: Cells
    rings: Array
    second: float = 0.0

    @property
    def confidence(self) -> float:
        """By how much the rings bear it out better than the geometry at any other distance."""
        return self.judgement.quality - self.second


def search(frame: Frame, angles: Array, guess: Array | None = None) -> Found:
    """Return the geometry of an image.

    The best seeds are followed through the first stages and judged; the best of them goes through all.

    Raises
    ------
    CalibrationError
        No geometry explains the rings, or too few points determine it.
    """
    seeds = find_seeds(find_ridges(frame.signal, frame.live), frame.live, frame.pixel_size, angles, guess)
    followed: list[Found] = []
    lost: CalibrationError | None = None
    for seed in seeds[:FOLLOWED]:
        try:
            followed.append(follow(frame, seed, angles, STAGES[:FIRST]))
        except CalibrationError as error:
            lost = lost or error
    if not followed:
        raise lost or CalibrationError("calibration image", "fits no geometry")
    followed.sort(key=lambda one: -one.judgement.quality)
    best = followed[0].fit.detector
    second = max(
        (
            other.judgement.quality
            for other in followed[1:]
            if abs(math.log(other.fit.detector[0] / best[0])) > DISTINCT
        ),
        default=0.0,
    )
    return follow(frame, best, angles, STAGES[FIRST:])._replace(second=second)


def follow(
    frame: Frame, detector: Array, angles: Array, stages: Sequence[tuple[int, float]] = STAGES
) -> Found:
    """Refine a geometry in stages, with more rings in each, and judge it.

    Raises
    ------
    CalibrationError
        Too few points determine it.
    """
    width = 2.0
    for most, reach in stages:
        cells, rings = points(frame, detector, angles, width, reach, most)
        fit = _refined(detector, cells, rings, frame.pixel)
        detector = fit.detector
        per_pixel = pixel_angle(detector, rings, frame.pixel)[cells.ring]
        width = float(np.clip(2.355 * np.median(cells.width / per_pixel), 1.0, 12.0))
    return Found(fit, judge_rings(frame, detector, angles), cells, rings)


def _refined(detector: Array, cells: Cells, rings: Array, pixel: float) -> Fit:
    fit = refine(detector, cells, rings, pixel)
    if fit is None:
        raise CalibrationError(
            "calibration image",
            f"has {cells.y.size} points on rings, which do not determine the geometry",
            "bring more rings onto the detector, or count longer",
        )
    return fit


def points(
    frame: Frame, detector: Array, angles: Array, width: float, reach: float, most: int = 1000
) -> tuple[Cells, Array]:
    """Return points on rings, and the rings (2θ in rad) they lie on.

    Parameters
    ----------
    width
        FWHM of the rings, px.
    reach
        How far (px) from where it should be a ring is sought; at least 1.5 `width`.
    most
        How many rings, from the inside.
    """
    rings = rings_alone(frame, detector, angles, SPACING * width)[:most]
    if not rings.size:
        none = np.zeros(0)
        return Cells(none.astype(np.intp), none.astype(np.intp), none, none, none, none, none), rings
    pixel = pixel_angle(detector, rings, frame.pixel)
    span = np.minimum(0.45 * gaps(angles, rings), max(reach, 1.5 * width) * pixel)
    pixels = near_rings(frame, detector, rings, span)
    radius = detector[0] * np.tan(np.minimum(rings, 1.4)) / frame.pixel
    double = np.maximum(np.ceil(np.log2(2 * np.pi * radius / ARC / SECTORS)), 0)
    sectors = (SECTORS * 2 ** np.minimum(double, 5)).astype(np.intp)
    sector = ((pixels.azimuth + np.pi) / (2 * np.pi) * sectors[pixels.ring]).astype(np.intp)
    return fit_cells(pixels, detector, rings, span, sector), rings
