from __future__ import annotations

import numpy as np
import pytest
import xarray as xr

from beamline.errors import CalibrationError
from calibration import gain
from rixs import simulate


@pytest.mark.parametrize("true", [60.0, 118.0, 175.0])
def test_the_gain_of_a_simulated_detector_is_found(true: float) -> None:
    found = gain.calibrate(simulate.scan(seed=2, spectrograph=simulate.Spectrograph(gain=true)))
    assert found.gain == pytest.approx(true, rel=0.03)
    assert found.read_noise == pytest.approx(4.0, rel=0.05)
    assert abs(found.offset) < 0.2


def test_warm_pixels_are_no_photons() -> None:
    scan = simulate.scan(seed=2)
    rng = np.random.default_rng(0)
    warm = rng.random(scan.counts.shape) < 0.03
    scan["counts"] = scan.counts + np.where(warm, 40, 0).astype(np.int32)
    assert gain.calibrate(scan).gain == pytest.approx(simulate.GAIN, rel=0.08)


def test_clipped_files_leave_an_offset() -> None:
    found = gain.calibrate(simulate.scan(seed=2, spectrograph=simulate.Spectrograph(clipped=True)))
    assert found.offset == pytest.approx(4.0 / np.sqrt(2 * np.pi), rel=0.05)
    assert found.gain == pytest.approx(simulate.GAIN, rel=0.05)


def test_dark_images_have_no_gain() -> None:
    dark = xr.Dataset({"counts": (("frame", "y", "x"), np.zeros((1, 16, 16), np.int32))})
    with pytest.raises(CalibrationError, match="0 isolated photons"):
        gain.calibrate(dark)


def test_a_gain_of_nothing_is_refused() -> None:
    with pytest.raises(CalibrationError, match="no sense"):
        gain.Gain(gain=0.0, read_noise=4.0)
