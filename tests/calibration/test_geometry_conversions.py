"""One geometry in the parameters of pyFAI, Fit2D, GSAS-II and HEXRD."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from beamline.errors import CalibrationError
from calibration.geometry import Geometry, load
from calibration.geometry_conversions import HC, of_hexrd, to_fit2d, to_hexrd, to_imctrl

SHAPE = (41, 53)
SEEDS = range(40)


def geometry(seed: int, turned: bool = True) -> Geometry:
    rng = np.random.default_rng(seed)
    poni1, poni2 = rng.uniform(-0.2, 0.3, 2)
    rot1, rot2 = rng.uniform(-0.6, 0.6, 2)
    rot3 = rng.uniform(-math.pi, math.pi) if turned else 0.0
    distance = rng.uniform(0.05, 1.5)
    return Geometry(*map(float, (distance, poni1, poni2, rot1, rot2, rot3)), 0.4, (172e-6, 100e-6), SHAPE)


@pytest.mark.parametrize("seed", SEEDS)
def test_fit2d_is_that_of_pyfai_and_comes_back(seed: int) -> None:
    ours = geometry(seed)
    values, theirs = ours.to_fit2d(), ours.to_pyfai().getFit2D()
    for key, value in values.items():
        difference = value - theirs[key]
        if key == "tiltPlanRotation":
            difference = (difference + 180) % 360 - 180
        assert abs(difference) < 1e-8 * max(1.0, abs(value)), key
    back = Geometry.from_fit2d(values, 0.4, shape=SHAPE)
    np.testing.assert_allclose(back.two_theta(), ours.two_theta(), rtol=0, atol=1e-12)


@pytest.mark.parametrize("seed", SEEDS)
def test_image_controls_come_back(seed: int, tmp_path: Path) -> None:
    ours = geometry(seed, turned=False)
    ours.save(tmp_path / "g.imctrl")
    back = load(tmp_path / "g.imctrl", 3, (172e-6, 100e-6), SHAPE)
    np.testing.assert_allclose(back.two_theta(), ours.two_theta(), rtol=0, atol=1e-12)
    assert back.wavelength == ours.wavelength


@pytest.mark.parametrize("seed", SEEDS)
def test_a_panel_of_hexrd_has_the_same_pixels(seed: int, tmp_path: Path) -> None:
    ours = geometry(seed)
    panel = to_hexrd(ours.to_record())
    # HEXRD: a point of the panel, from its middle, x to the right and y up, is rotated, then moved.
    rotation = Rotation.from_rotvec(panel["transform"]["tilt"]).as_matrix()
    rows, columns = np.mgrid[: SHAPE[0], : SHAPE[1]]
    height, width = panel["pixels"]["size"]
    x = (columns + 0.5 - SHAPE[1] / 2) * width
    y = (SHAPE[0] / 2 - rows - 0.5) * height
    points = np.einsum("ab,bij->aij", rotation, np.stack([x, y, np.zeros_like(x)]))
    points += np.array(panel["transform"]["translation"])[:, None, None]
    theirs = np.arctan2(np.hypot(points[0], points[1]), -points[2])
    np.testing.assert_allclose(ours.two_theta(), theirs, rtol=0, atol=1e-12)
    ours.save(tmp_path / "instrument.yml")
    back = load(tmp_path / "instrument.yml")
    for one, other in zip(back.vectors(), ours.vectors(), strict=True):
        np.testing.assert_allclose(one, other, rtol=0, atol=1e-12)
    assert back.wavelength == pytest.approx(0.4, rel=1e-14)


def test_a_detector_turned_about_the_beam_has_no_image_controls() -> None:
    with pytest.raises(CalibrationError, match=r"rot3 .* which GSAS-II does not hold"):
        to_imctrl(geometry(3).to_record())
    with pytest.raises(CalibrationError, match="number of pixels"):
        to_hexrd({**geometry(3).to_record(), "shape": None})


def test_gsas_reads_image_controls_line_by_line(tmp_path: Path) -> None:
    """Its reader splits every line that is no comment at the first colon."""
    geometry(1, turned=False).save(tmp_path / "g.imctrl")
    for line in (tmp_path / "g.imctrl").read_text().splitlines():
        assert line.startswith("#") or (":" in line and " " not in line.partition(":")[0])


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"detector_type": "cylindrical"}, "cylindrical"),
        ({"distortion": {"function_name": "GE_41RT"}}, "distortion"),
        ({"transform": {"translation": [0, 0, 500.0], "tilt": [0, 0, 0]}}, "does not face"),
    ],
)
def test_panels_without_equivalent_are_refused(change: dict[str, Any], said: str) -> None:
    with pytest.raises(CalibrationError, match=said):
        of_hexrd({**to_hexrd(geometry(0).to_record()), **change}, HC / 0.4)


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("polar_angle: 90.0", "polar_angle: 80.0", "beam along another axis"),
        ("translation: [0.0, 0.0, 0.0]", "translation: [0.0, 0.0, 1.0]", "shifted stage"),
        ("beam:", "bream:", r"instrument\.yml: is no HEXRD instrument"),
        ("      rows: 41", "      lines: 41", "is incomplete"),
        ("detectors:", ": : [", r"is no HEXRD instrument[^\n]*$"),
    ],
)
def test_instruments_without_equivalent_are_refused(old: str, new: str, said: str, tmp_path: Path) -> None:
    path = tmp_path / "instrument.yml"
    geometry(0).save(path)
    path.write_text(path.read_text().replace(old, new))
    with pytest.raises(CalibrationError, match=said):
        load(path)


def test_fit2d_parameters_may_not_be_missing() -> None:
    values = to_fit2d(geometry(0).to_record())
    del values["tilt"]
    with pytest.raises(CalibrationError, match="lack tilt"):
        Geometry.from_fit2d(values, 0.4)
