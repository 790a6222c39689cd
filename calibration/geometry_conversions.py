r"""One geometry in the parameters of other programs, by closed forms.

With the tilt τ between beam and detector normal, :math:`\cos τ = \cos r_1 \cos r_2`:

**Fit2D** (A. P. Hammersley et al., High Press. Res. 14 (1996) 235; A. Boesecke's notes in pyFAI's
documentation): direct distance :math:`D = L / \cos τ`, tilt plane rotation :math:`φ_F`, beam centre in px

.. math:: \sin τ \cos φ_F = -\cos r_2 \sin r_1, \quad \sin τ \sin φ_F = \sin r_2, \quad
          c_x s_2 = \mathrm{poni}_2 + L \tan τ \cos φ_F, \quad c_y s_1 = \mathrm{poni}_1 + L \tan τ \sin φ_F .

**GSAS-II** image controls: perpendicular distance :math:`L` (mm), beam centre in mm and
:math:`φ = φ_F - 90°`.

**HEXRD**: laboratory X to the right, Y up, the beam along -Z. A point (x, y) of the panel, from its middle,
x to the right and y up (row 0 on top), is at :math:`R (x, y, 0)^T + t`; the tilt is the rotation vector of
:math:`R`. In the basis of the panel the sample is at :math:`-R^T t`, whose components are the poni and L,
and the laboratory axes are the rows of :math:`R`:

.. math:: \cos r_2 \sin r_1 = R_{31}, \quad \sin r_2 = R_{32}, \quad \cos r_1 \cos r_2 = R_{33}, \quad
          \tan r_3 = -R_{12} / R_{22} .
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from beamline.errors import CalibrationError

HC = 12.398419843320026
"""Planck's constant times the speed of light in keV angstrom (exact in the SI)."""

TURNED = 1e-6
"""A rot3 (rad) smaller than this is none: PONI files hold the rest of a refinement there."""


def to_fit2d(geometry: Mapping[str, Any]) -> dict[str, float]:
    """Return directDist (mm), centerX, centerY (px), tilt, tiltPlanRotation (deg), pixelX, pixelY (um)."""
    distance, rot1, rot2 = geometry["distance"], geometry["rot1"], geometry["rot2"]
    across = -math.cos(rot2) * math.sin(rot1), math.sin(rot2)
    along = math.cos(rot1) * math.cos(rot2)
    size = geometry["pixel_size"]
    return {
        "directDist": 1e3 * distance / along,
        "centerX": (geometry["poni2"] + distance * across[0] / along) / size[1],
        "centerY": (geometry["poni1"] + distance * across[1] / along) / size[0],
        "tilt": math.degrees(math.atan2(math.hypot(*across), along)),
        "tiltPlanRotation": math.degrees(math.atan2(across[1], across[0])),
        "pixelX": 1e6 * size[1],
        "pixelY": 1e6 * size[0],
    }


def of_fit2d(values: Mapping[str, float]) -> dict[str, Any]:
    """Return the values of a `Geometry` that Fit2D's hold; see `to_fit2d`."""
    tilt, plane = math.radians(values["tilt"]), math.radians(values["tiltPlanRotation"])
    distance = 1e-3 * values["directDist"] * math.cos(tilt)
    size = 1e-6 * values["pixelY"], 1e-6 * values["pixelX"]
    rot2 = math.asin(math.sin(tilt) * math.sin(plane))
    return {
        "distance": distance,
        "poni1": values["centerY"] * size[0] - distance * math.tan(tilt) * math.sin(plane),
        "poni2": values["centerX"] * size[1] - distance * math.tan(tilt) * math.cos(plane),
        "rot1": math.atan2(-math.sin(tilt) * math.cos(plane), math.cos(tilt)),
        "rot2": rot2,
        "rot3": 0.0,
        "pixel_size": size,
    }


def to_imctrl(geometry: Mapping[str, Any]) -> dict[str, Any]:
    """Return GSAS-II's distance (mm), center [x, y] (mm), tilt and rotation (deg).

    Raises
    ------
    CalibrationError
        The detector is turned about the beam (rot3), which image controls do not hold.
    """
    refuse_turned(geometry, "GSAS-II")
    fit2d = to_fit2d(geometry)
    return {
        "distance": 1e3 * geometry["distance"],
        "center": [fit2d["centerX"] * fit2d["pixelX"] * 1e-3, fit2d["centerY"] * fit2d["pixelY"] * 1e-3],
        "tilt": fit2d["tilt"],
        "rotation": (fit2d["tiltPlanRotation"] - 90.0) % 360.0,
    }


def to_hexrd(geometry: Mapping[str, Any]) -> dict[str, Any]:
    """Return a HEXRD panel: pixels (rows, columns, size in mm), transform (translation in mm, tilt in rad).

    Raises
    ------
    CalibrationError
        The number of pixels is not known.
    """
    from scipy.spatial.transform import Rotation

    if geometry["shape"] is None:
        raise CalibrationError(
            "geometry", "does not know the number of pixels", "a HEXRD panel has them: give shape"
        )
    rows, columns = geometry["shape"]
    size = geometry["pixel_size"]
    s1, c1, s2, c2, s3, c3 = (
        function(geometry[name]) for name in ("rot1", "rot2", "rot3") for function in (math.sin, math.cos)
    )
    first, second = (c2, s1 * s2, -c1 * s2), (0.0, c1, s1)
    vertical = [a * c3 - b * s3 for a, b in zip(first, second, strict=True)]
    horizontal = [a * s3 + b * c3 for a, b in zip(first, second, strict=True)]
    along = (s2, -c2 * s1, c1 * c2)
    # Columns here belong to (p1, p2, L), of the panel's basis to (x, y, z) = (p2, -p1, -L).
    rotation = np.array(
        [
            [horizontal[1], -horizontal[0], -horizontal[2]],
            [-vertical[1], vertical[0], vertical[2]],
            [-along[1], along[0], along[2]],
        ]
    )
    foot = np.array([geometry["poni2"] - columns * size[1] / 2, rows * size[0] / 2 - geometry["poni1"]])
    sample = rotation @ np.array([-foot[0], -foot[1], -geometry["distance"]])
    return {
        "pixels": {"rows": rows, "columns": columns, "size": [1e3 * size[0], 1e3 * size[1]]},
        "transform": {
            "translation": (1e3 * sample).tolist(),
            "tilt": Rotation.from_matrix(rotation).as_rotvec().tolist(),
        },
    }


def of_hexrd(panel: Mapping[str, Any], energy: float) -> dict[str, Any]:
    """Return the values of a `Geometry` that a HEXRD panel (see `to_hexrd`) and an energy in keV hold.

    Raises
    ------
    CalibrationError
        The panel is bent or distorted, or does not face the sample.
    """
    from scipy.spatial.transform import Rotation

    if panel.get("detector_type", "planar") != "planar":
        raise CalibrationError("HEXRD panel", f"is {panel['detector_type']}, not planar")
    if panel.get("distortion"):
        raise CalibrationError(
            "HEXRD panel", "has a distortion, which has no equivalent", "correct the images first"
        )
    rows, columns = int(panel["pixels"]["rows"]), int(panel["pixels"]["columns"])
    size = tuple(1e-3 * float(value) for value in panel["pixels"]["size"])
    rotation = Rotation.from_rotvec(np.asarray(panel["transform"]["tilt"], dtype=float)).as_matrix()
    x, y, z = 1e-3 * rotation.T @ np.asarray(panel["transform"]["translation"], dtype=float)
    if not z < 0:
        raise CalibrationError("HEXRD panel", "does not face the sample")
    return {
        "distance": float(-z),
        "poni1": float(rows * size[0] / 2 + y),
        "poni2": float(columns * size[1] / 2 - x),
        "rot1": math.atan2(rotation[2, 0], rotation[2, 2]),
        "rot2": math.asin(float(np.clip(rotation[2, 1], -1.0, 1.0))),
        "rot3": math.atan2(-rotation[0, 1], rotation[1, 1]),
        "wavelength": HC / energy,
        "pixel_size": size,
        "shape": (rows, columns),
    }


def refuse_turned(geometry: Mapping[str, Any], program: str) -> None:
    """Refuse a detector that is turned about the beam."""
    if abs(geometry["rot3"]) > TURNED:
        raise CalibrationError(
            "geometry",
            f"is turned about the beam (rot3 {geometry['rot3']:g}), which {program} does not hold",
            "set rot3=0: 2θ stays the same, the azimuth does not",
        )
