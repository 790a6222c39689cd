"""The geometry of real detectors from their images of ceria, against the published ones."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import beamline
import xrd
from beamline.errors import CalibrationError
from calibration.geometry import Geometry, calibrate, judge, load
from calibration.instrument import calibrate as calibrate_instrument

DIOPTAS = ("xrd2d/pilatus1m_dioptas/CeO2_Pilatus1M.tif", "xrd2d/pilatus1m_dioptas/CeO2_Pilatus1M.poni")
IRON = (
    "xrd2d/pilatus1m_bccfe/CeO2_Pil207_E30_2Nov2016_001.tif",
    "xrd2d/pilatus1m_bccfe/CeO2_cal_Dioptas.poni",
)


def read(folder: Path, names: tuple[str, str]) -> tuple[Any, Geometry]:
    image: Any = beamline.read(folder / names[0])
    published = load(folder / names[1], orientation=2)
    return image, dataclasses.replace(published, shape=image["counts"].shape[-2:])


@pytest.mark.parametrize(("names", "best"), [(DIOPTAS, 5.15), (IRON, 4.27)])
def test_ceria_is_calibrated_without_a_guess(names: tuple[str, str], best: float, data_dir: Path) -> None:
    image, published = read(data_dir, names)
    ours = calibrate(image, wavelength=published.wavelength, orientation=2)
    assert ours.residual_mdeg is not None
    assert ours.residual_mdeg <= best
    assert ours.residual_mdeg < judge(image, published, "CeO2").attrs["residual_mdeg"]
    assert ours.distance == pytest.approx(published.distance, abs=5e-5)
    np.testing.assert_allclose(ours.center, published.center, atol=0.2)
    assert ours.confidence is not None
    assert ours.confidence > 0.8
    # The modules stand askew by more than counting could tell: the errors know.
    assert 2e-6 < ours.distance_error < 2e-5


def test_a_bad_guess_ends_where_none_does(data_dir: Path) -> None:
    image, published = read(data_dir, DIOPTAS)
    bad = dataclasses.replace(
        published,
        distance=1.05 * published.distance,
        poni1=published.poni1 + 20 * 172e-6,
        poni2=published.poni2 + 20 * 172e-6,
        rot1=0.0,
        rot2=0.0,
    )
    ours = calibrate(image, wavelength=published.wavelength, orientation=2, guess=bad)
    assert ours.distance == pytest.approx(published.distance, abs=5e-5)
    assert ours.tilt == pytest.approx(published.tilt, abs=0.1)


def test_the_wrong_way_round_is_named(data_dir: Path) -> None:
    image, published = read(data_dir, DIOPTAS)
    with pytest.raises(CalibrationError, match="in orientation 3; in orientation 2"):
        judge(image, dataclasses.replace(published, orientation=3), "CeO2")


def test_a_wrong_wavelength_is_refused(data_dir: Path) -> None:
    """As in the two published image controls that refined it with the distance: 3 % off."""
    image, published = read(data_dir, IRON)
    with pytest.raises(CalibrationError, match="fits no geometry"):
        calibrate(image, wavelength=1.033 * published.wavelength, orientation=2)


def test_the_instrument_of_real_ceria(data_dir: Path) -> None:
    image, published = read(data_dir, IRON)
    pattern = xrd.integrate(image, published, bins=1500)
    ours = calibrate_instrument(pattern, limits=(4.0, 24.0))
    assert abs(ours.zero) < 0.005
    variance, gamma = ours.widths(np.array([7.5, 20.0]))
    fwhm = (2.355 * np.sqrt(variance) + gamma) / 100
    # 47 mdeg: the rings of a powder in a diamond cell, 0.2 m from pixels of 172 um.
    assert (np.abs(fwhm - 0.05) < 0.02).all()
