from __future__ import annotations

import math
import string
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from beamline.errors import CalibrationError
from calibration.geometry import Geometry, load

SHAPE = (41, 53)


def geometry(seed: int = 0, **changes: Any) -> Geometry:
    """A random geometry, tilted by up to some 30 deg."""
    rng = np.random.default_rng(seed)
    poni1, poni2 = rng.uniform(-0.01, 0.02, 2)
    rot1, rot2, rot3 = rng.uniform(-0.5, 0.5, 3)
    values: dict[str, Any] = {
        "distance": float(rng.uniform(0.01, 1.0)),
        "poni1": float(poni1),
        "poni2": float(poni2),
        "rot1": float(rot1),
        "rot2": float(rot2),
        "rot3": float(rot3),
        "wavelength": 0.4066,
        "pixel_size": (172e-6, 100e-6),
        "shape": SHAPE,
    }
    return Geometry(**{**values, **changes})


@pytest.mark.parametrize("orientation", [1, 2, 3, 4])
@pytest.mark.parametrize("seed", range(5))
def test_angles_are_those_of_pyfai(seed: int, orientation: int) -> None:
    ours = geometry(seed, orientation=orientation)
    theirs = ours.to_pyfai().center_array(SHAPE, unit="2th_rad")
    np.testing.assert_allclose(ours.two_theta(), theirs, rtol=0, atol=1e-12)


@pytest.mark.parametrize(("orientation", "rows", "columns"), [(1, -1, -1), (2, -1, 1), (3, 1, 1), (4, 1, -1)])
def test_orientation_is_the_order_of_rows_and_columns(orientation: int, rows: int, columns: int) -> None:
    turned = geometry(orientation=orientation).two_theta()
    np.testing.assert_array_equal(turned, geometry(orientation=3).two_theta()[::rows, ::columns])


@pytest.mark.parametrize("seed", range(5))
def test_beam_centre_and_tilt_are_those_of_fit2d(seed: int) -> None:
    ours = geometry(seed)
    theirs = ours.to_pyfai().getFit2D()
    np.testing.assert_allclose(ours.center, (theirs["centerX"], theirs["centerY"]), rtol=1e-9)
    assert ours.tilt == pytest.approx(theirs["tilt"], abs=1e-9)
    assert math.cos(math.radians(ours.tilt_plane - theirs["tiltPlanRotation"])) == pytest.approx(1, abs=1e-12)


def test_the_angle_is_zero_at_the_beam_centre() -> None:
    x, y = geometry().center
    shifted = geometry(
        poni1=geometry().poni1 - (y - 0.5) * 172e-6, poni2=geometry().poni2 - (x - 0.5) * 100e-6
    )
    assert shifted.two_theta()[0, 0] == pytest.approx(0, abs=1e-12)


def test_vectors_have_the_length_of_the_way_from_the_sample() -> None:
    ours = geometry()
    y, x = ours.positions()
    expected = np.sqrt((y - ours.poni1) ** 2 + (x - ours.poni2) ** 2 + ours.distance**2)
    np.testing.assert_allclose(np.linalg.norm(np.stack(ours.vectors()), axis=0), expected, rtol=1e-12)


@pytest.mark.parametrize("orientation", [1, 2, 3, 4])
def test_a_saved_poni_comes_back(orientation: int, tmp_path: Path) -> None:
    ours = geometry(orientation=orientation, calibrant="CeO2")
    ours.save(tmp_path / "g.poni")
    assert load(tmp_path / "g.poni") == ours


def test_pyfai_opens_a_saved_poni(tmp_path: Path) -> None:
    import pyFAI

    ours = geometry(orientation=2)
    ours.save(tmp_path / "g.poni")
    theirs = pyFAI.load(str(tmp_path / "g.poni"))
    np.testing.assert_allclose(theirs.center_array(SHAPE, unit="2th_rad"), ours.two_theta(), atol=1e-12)
    assert Geometry.from_pyfai(theirs) == ours


@pytest.mark.parametrize("version", [2.1, 3])
def test_we_open_what_pyfai_writes(version: float, tmp_path: Path) -> None:
    from pyFAI.io.ponifile import PoniFile

    ours = geometry(orientation=4)
    theirs = PoniFile(ours.to_pyfai())
    theirs.API_VERSION = version
    with open(tmp_path / "g.poni", "w") as file:
        theirs.write(file)
    assert load(tmp_path / "g.poni") == ours


@given(wavelength=st.floats(0.01, 10.0))
@settings(deadline=None, max_examples=50)
def test_a_wavelength_survives_the_change_of_unit(
    wavelength: float, tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = tmp_path_factory.getbasetemp() / "wavelength.poni"
    geometry(wavelength=wavelength).save(path)
    assert load(path).wavelength == wavelength


VERSION_1 = """\
# Nota: C-Order, 1 refers to the Y axis, 2 to the X axis
# Calibration done at Fri Feb 27 13:52:42 2015
PixelSize1: 0.000172
PixelSize2: 0.0001
Distance: 0.2
Poni1: 0.08
Poni2: 0.07
Rot1: -0.01
Rot2: 0.004
Rot3: -2.7e-08
SplineFile: None
Wavelength: 4.066e-11
"""


def poni(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "old.poni"
    path.write_text(text)
    return path


def test_version_1_needs_the_orientation(tmp_path: Path) -> None:
    with pytest.raises(CalibrationError, match=r"old\.poni.*orientation=3.*orientation=2"):
        load(poni(tmp_path, VERSION_1))


def test_version_1_with_an_orientation(tmp_path: Path) -> None:
    expected = Geometry(0.2, 0.08, 0.07, -0.01, 0.004, -2.7e-8, 0.4066, (172e-6, 1e-4), None, 2)
    assert load(poni(tmp_path, VERSION_1), orientation=2) == expected


def test_an_orientation_that_contradicts_the_file_is_refused(tmp_path: Path) -> None:
    geometry(orientation=2).save(tmp_path / "g.poni")
    with pytest.raises(CalibrationError, match="states orientation 2, 3 was given"):
        load(tmp_path / "g.poni", orientation=3)


def test_the_last_entry_of_an_appended_file_counts(tmp_path: Path) -> None:
    text = VERSION_1 + VERSION_1.replace("Distance: 0.2", "Distance: 0.25")
    assert load(poni(tmp_path, text), orientation=3).distance == 0.25


def test_nothing_is_taken_over_from_an_older_entry(tmp_path: Path) -> None:
    text = VERSION_1 + VERSION_1.replace("Wavelength: 4.066e-11\n", "")
    with pytest.raises(CalibrationError, match="Wavelength is missing"):
        load(poni(tmp_path, text), orientation=3)


def test_a_detector_by_name_gives_pixels_and_shape(tmp_path: Path) -> None:
    text = VERSION_1.replace(
        "PixelSize1: 0.000172\nPixelSize2: 0.0001\n",
        'poni_version: 2.1\nDetector: Pilatus1M\nDetector_config: {"orientation": 3}\n',
    )
    read = load(poni(tmp_path, text))
    assert (read.pixel_size, read.shape) == ((172e-6, 172e-6), (1043, 981))


@pytest.mark.parametrize(
    "key", ["PixelSize1", "PixelSize2", "Distance", "Poni1", "Poni2", "Rot1", "Rot2", "Rot3", "Wavelength"]
)
@pytest.mark.parametrize("fault", ["missing", "nan", "inf", "none", "0.1 m"])
def test_a_bad_value_is_named_by_file_and_key(key: str, fault: str, tmp_path: Path) -> None:
    lines = [line if not line.startswith(f"{key}:") else f"{key}: {fault}" for line in VERSION_1.splitlines()]
    text = "\n".join(line for line in lines if not line.endswith("missing"))
    with pytest.raises(CalibrationError, match=rf"old\.poni: {key}"):
        load(poni(tmp_path, text), orientation=3)


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("Distance: 0.2", "Distance: 0", "distance"),
        ("Distance: 0.2", "Distance: -0.2", "distance"),
        ("Wavelength: 4.066e-11", "Wavelength: 0.4066", "wavelength"),
        ("Wavelength: 4.066e-11", "Wavelength: 0", "wavelength"),
        ("PixelSize1: 0.000172", "PixelSize1: 172", "pixel size"),
        ("SplineFile: None", "SplineFile: frelon.spline", "spline"),
        ("SplineFile: None", "Parallax: True", "parallax"),
        ("SplineFile: None", "poni_version: 7", "version 7"),
        ("SplineFile: None", "Detector_config: {", "JSON"),
        ("SplineFile: None", "Detector_config: 3", "JSON"),
        ("SplineFile: None", 'Detector_config: {"orientation": 5}', "orientation is 5"),
        ("SplineFile: None", 'Detector_config: {"orientation": true}', "orientation is True"),
        ("SplineFile: None", 'Detector_config: {"max_shape": [1]}', "max_shape"),
        ("SplineFile: None", "Detector: Nothing4M", "Nothing4M"),
        ("SplineFile: None", "Detector: Xpad_flat", "flat regular grid"),
    ],
)
def test_what_has_no_meaning_here_is_refused(old: str, new: str, said: str, tmp_path: Path) -> None:
    with pytest.raises(CalibrationError, match=rf"old\.poni.*{said}"):
        load(poni(tmp_path, VERSION_1.replace(old, new)), orientation=3)


@given(text=st.text(alphabet=string.printable, max_size=400))
@settings(deadline=None, max_examples=100)
def test_garbage_is_refused_by_name(text: str, tmp_path_factory: pytest.TempPathFactory) -> None:
    for name in ("garbage.poni", "garbage.imctrl", "garbage.json"):
        path = tmp_path_factory.getbasetemp() / name
        path.write_text(text)
        with pytest.raises(CalibrationError, match="garbage"):
            load(path, orientation=3, pixel_size=(1e-4, 1e-4))


def imctrl(tmp_path: Path, **changes: str) -> Path:
    values = {
        "type": "PWDR",
        "wavelength": "0.12398",
        "calibrant": "CeO2  SRM674b",
        "distance": "1118.8555366950047",
        "center": "[np.float64(168.59496999985376), np.float64(173.45708080489564)]",
        "tilt": "1.2679918237395627",
        "rotation": "94.80104622234859",
        "DetDepth": "0.0",
    }
    path = tmp_path / "gsas.imctrl"
    path.write_text("".join(f"{key}:{value}\n" for key, value in {**values, **changes}.items()))
    return path


@pytest.mark.parametrize("seed", range(20))
def test_image_controls_give_the_angles_of_gsas(seed: int, tmp_path: Path) -> None:
    rng = np.random.default_rng(seed)
    length, cx, cy = rng.uniform(50, 1500), rng.uniform(-50, 50), rng.uniform(-50, 50)
    tilt, phi = rng.uniform(-40, 40), rng.uniform(0, 360)
    path = imctrl(
        tmp_path,
        distance=repr(float(length)),
        center=f"[{cx}, {cy}]",
        tilt=repr(float(tilt)),
        rotation=repr(float(phi)),
    )
    ours = load(path, orientation=3, pixel_size=(172e-6, 100e-6), shape=SHAPE)
    # GSAS-II: L is perpendicular, the beam meets the detector at L / cos(tilt).
    y, x = ours.positions()
    dx, dy = x * 1e3 - cx, y * 1e3 - cy
    tau, azimuth = math.radians(tilt), math.radians(phi)
    out_of_plane = -math.sin(tau) * (dx * math.sin(azimuth) - dy * math.cos(azimuth))
    direct = length / math.cos(tau)
    along = direct + out_of_plane
    squared = direct**2 + dx**2 + dy**2 + 2 * direct * out_of_plane
    expected = np.arctan2(np.sqrt(squared - along**2), along)
    np.testing.assert_allclose(ours.two_theta(), expected, rtol=0, atol=1e-12)
    np.testing.assert_allclose(
        ours.to_pyfai().center_array(SHAPE, unit="2th_rad"), expected, rtol=0, atol=1e-12
    )
    assert abs(ours.tilt) == pytest.approx(abs(tilt), abs=1e-9)


def test_image_controls_do_not_say_orientation_and_pixel_size(tmp_path: Path) -> None:
    with pytest.raises(CalibrationError, match="pixel size"):
        load(imctrl(tmp_path), orientation=3)
    with pytest.raises(CalibrationError, match="orientation=2 if it was a mar345"):
        load(imctrl(tmp_path), pixel_size=(1e-4, 1e-4))


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"DetDepth": "-0.2687"}, "penetration depth"),
        ({"det2theta": "10.0"}, "detector arm"),
        ({"center": "__import__('os').getcwd()"}, "center"),
        ({"center": "[1.0]"}, "center"),
        ({"center": "[1.0, float('nan')]"}, "center"),
        ({"center": "[1.0, 1e999]"}, "center"),
        ({"tilt": "?"}, "tilt"),
        ({"distance": "0"}, "distance"),
    ],
)
def test_image_controls_without_equivalent_are_refused(
    changes: dict[str, str], said: str, tmp_path: Path
) -> None:
    with pytest.raises(CalibrationError, match=rf"gsas\.imctrl.*{said}"):
        load(imctrl(tmp_path, **changes), orientation=3, pixel_size=(1e-4, 1e-4))


def test_another_number_of_pixels_is_refused() -> None:
    with pytest.raises(CalibrationError, match=r"has 40 x 53 pixels, the geometry is that of 41 x 53"):
        geometry().two_theta((40, 53))
    with pytest.raises(CalibrationError, match="does not know the number of pixels"):
        geometry(shape=None).two_theta()
    with pytest.raises(CalibrationError, match="does not know the number of pixels"):
        geometry(shape=None, orientation=2).to_pyfai()


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"distance": 0.0}, "distance"),
        ({"rot1": math.nan}, "rot1"),
        ({"orientation": 0}, "orientation"),
        ({"shape": (0, 3)}, "shape"),
        ({"wavelength": 4e9}, "wavelength"),
    ],
)
def test_impossible_geometries_are_not_made(changes: dict[str, Any], said: str) -> None:
    with pytest.raises(CalibrationError, match=said):
        geometry(**changes)
