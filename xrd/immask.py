"""Masks of GSAS-II (``.immask``): shapes in mm on the detector, or in angles, drawn onto the pixels.

A file has a line ``key:value`` for each kind of shape. Points are [x, y, diameter], polygons lists of [x,
y], the frame a polygon outside which nothing is used, all in mm from the corner of the image as GSAS-II
shows it; rings are [2θ, width] and arcs [2θ, [first, last azimuth], width] in deg; lines are numbers of
rows or columns.
"""

from __future__ import annotations

import ast
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from beamline.errors import DataFileError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from calibration.geometry import Geometry

SHAPES = ("Points", "Rings", "Arcs", "Polygons", "Frames", "Xlines", "Ylines")


def read_immask(
    path: str | os.PathLike[str], geometry: Geometry, shape: tuple[int, int]
) -> NDArray[np.bool_]:
    """Return the pixels (y, x) of the image as stored that are masked.

    `geometry` is that of GSAS-II's image controls, whose orientation the mask shares.

    Raises
    ------
    DataFileError
        The file is not such a mask, or masks by intensity, which depends on the image.
    """
    values = _values(path)
    mask = np.zeros(shape, bool)
    y, x = (1e3 * positions for positions in geometry.positions(shape))
    try:
        for px, py, diameter in values["Points"]:
            mask |= (x - px) ** 2 + (y - py) ** 2 < (diameter / 2) ** 2
        for polygon in values["Polygons"]:
            mask |= _inside(polygon, y, x)
        if values["Frames"]:
            frame = values["Frames"]
            mask |= ~_inside(frame[0] if np.ndim(frame[0]) == 2 else frame, y, x)
        if values["Rings"] or values["Arcs"]:
            two_theta = np.degrees(geometry.two_theta(shape))
            t1, t2, _ = geometry.vectors(shape)
            azimuth = np.degrees(np.arctan2(t1, t2))
            for angle, width in values["Rings"]:
                mask |= np.abs(two_theta - angle) < width / 2
            for angle, (first, last), width in values["Arcs"]:
                turned = np.mod(azimuth - first, 360.0) < last - first
                mask |= (np.abs(two_theta - angle) < width / 2) & turned
        rows, columns = (geometry.orientation in turned for turned in ((1, 2), (1, 4)))
        for row in values["Xlines"]:
            mask[-1 - row if rows else row] = True
        for column in values["Ylines"]:
            mask[:, -1 - column if columns else column] = True
    except (TypeError, ValueError, IndexError) as error:
        raise DataFileError(path, f"has a shape that cannot be drawn ({error})", "save it again") from error
    return mask


def _values(path: str | os.PathLike[str]) -> dict[str, Any]:
    try:
        lines = Path(path).read_text("utf-8").splitlines()
    except (OSError, ValueError) as error:
        raise DataFileError(path, f"cannot be read ({error})") from error
    found: dict[str, Any] = {}
    for line in lines:
        key, _, text = line.partition(":")
        if key in (*SHAPES, "Thresholds"):
            # numpy 2 writes its numbers as np.float64(1.5).
            plain = text.replace("np.float64(", "(").replace("np.int64(", "(")
            try:
                found[key] = ast.literal_eval(plain.strip())
            except (ValueError, SyntaxError, MemoryError, RecursionError) as error:
                raise DataFileError(
                    path, f"has {key} that are no lists of numbers", "save it again"
                ) from error
    if not found:
        raise DataFileError(path, "is not a mask of GSAS-II", "it has lines such as Polygons:[...]")
    _check_thresholds(path, found.get("Thresholds") or [])
    return {key: found.get(key) or [] for key in SHAPES}


def _check_thresholds(path: str | os.PathLike[str], thresholds: Any) -> None:
    """Refuse an upper threshold in use: of two pairs the first is that of the whole image."""
    try:
        tops = [float(top) for _, top in thresholds]
    except (TypeError, ValueError) as error:
        raise DataFileError(
            path, f"has Thresholds that are no pairs of numbers ({error})", "save it again"
        ) from error
    if len(tops) > 1 and tops[1] < tops[0]:
        raise DataFileError(
            path,
            f"masks pixels above {tops[1]:g} too, which depends on the image",
            "reset the thresholds in GSAS-II and give saturation= instead",
        )


def _inside(polygon: Any, y: NDArray[np.float64], x: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Tell which points are inside a polygon of [x, y]: a ray from there crosses an odd number of sides."""
    corners = np.asarray(polygon, dtype=float)
    if corners.ndim != 2 or corners.shape[1] != 2:
        raise ValueError("a polygon is not a list of pairs")
    inside = np.zeros((y.size, x.size), bool)
    for (x0, y0), (x1, y1) in zip(corners, np.roll(corners, -1, axis=0), strict=True):
        if y0 == y1:
            continue
        between = ((y0 > y) != (y1 > y)).ravel()
        at = x0 + (x1 - x0) / (y1 - y0) * (y[between] - y0)
        inside[between] ^= x < at
    return inside
