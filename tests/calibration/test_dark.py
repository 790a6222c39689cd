from __future__ import annotations

import numpy as np
import pytest

from beamline.errors import CalibrationError
from calibration import dark
from calibration.event_kernels import column_moments
from rixs import simulate
from rixs.simulated_spectrograph import pattern

FINE = simulate.FINE


def test_the_offset_of_every_column_is_found_within_its_error() -> None:
    found = dark.calibrate(simulate.darks(FINE, frames=5))
    pulls = (np.array(found.columns) - FINE.pedestal - pattern(FINE)) / found.column_errors
    assert abs(pulls.mean()) < 3 / np.sqrt(FINE.columns)
    assert pulls.std() == pytest.approx(1, abs=3 / np.sqrt(2 * FINE.columns))
    assert found.read_noise == pytest.approx(np.hypot(FINE.read_noise, 1 / np.sqrt(12)), rel=0.01)


def test_hot_pixels_are_left_out() -> None:
    darks = simulate.darks(FINE, frames=2)
    before = dark.calibrate(darks)
    darks["counts"][:, 10, 100] = 30000
    assert dark.calibrate(darks).columns[100] == pytest.approx(before.columns[100], abs=0.15)


def test_light_makes_no_dark() -> None:
    with pytest.raises(CalibrationError, match="light"):
        dark.calibrate(simulate.scan(seed=1, spectrograph=simulate.Spectrograph(pedestal=300.0)))


def test_clipped_images_make_no_dark() -> None:
    with pytest.raises(CalibrationError, match="clipped"):
        dark.calibrate(simulate.darks(FINE).assign_attrs(clipped="at zero"))


def test_the_moments_of_columns_are_those_of_numpy() -> None:
    counts = np.array([[1, 50], [3, 4], [2, 6]])
    moments = np.zeros((3, 2))
    column_moments.py_func(counts, np.array([2.0, 5.0]), np.array([5.0, 5.0]), moments)
    np.testing.assert_array_equal(moments, [[3, 2], [0, 0], [2, 2]])
