from __future__ import annotations

import numpy as np
import pytest
import xarray as xr

from beamline.errors import CalibrationError
from calibration import clip, gain
from calibration.event_kernels import isolated_events
from calibration.gain import Gain
from rixs import simulate

CLIPPED = simulate.Spectrograph(clipped=True)


@pytest.mark.parametrize("pedestal", [-2.5, 0.0, 2.0])
def test_what_the_clip_hides_is_found(pedestal: float) -> None:
    """A pedestal left in the images, or too much subtracted, shows in pixels that hold photons."""
    scan = simulate.scan(seed=2, spectrograph=simulate.Spectrograph(clipped=True, pedestal=pedestal))
    found = clip.calibrate(scan, gain.calibrate(scan))
    assert abs(found.hit - pedestal) < 3 * found.hit_errors
    assert found.read_noise == pytest.approx(4.0, rel=0.1)
    z = pedestal / 4.0
    mean = 4.0 * (np.exp(-(z**2) / 2) / np.sqrt(2 * np.pi) + z * (0.5 + 0.5 * _erf(z / np.sqrt(2))))
    assert found.empty == pytest.approx(mean, rel=0.05)
    assert found.hit < found.near < found.empty


def _erf(x: float) -> float:
    from math import erf

    return erf(x)


def test_pixels_that_are_no_clipped_noise_are_refused() -> None:
    scan = simulate.scan(seed=2, spectrograph=CLIPPED)
    rng = np.random.default_rng(0)
    glow = rng.exponential(30.0, scan.counts.shape) * (rng.random(scan.counts.shape) < 0.2)
    scan["counts"] = scan.counts + glow.astype(np.int32)
    with pytest.raises(CalibrationError, match="cannot be modelled"):
        clip.calibrate(scan, Gain(gain=118.0, read_noise=3.0, offset=2.0))


def test_an_isolated_event_is_cut_out() -> None:
    signal = np.zeros((7, 7))
    signal[3, 3], signal[3, 4] = 90.0, 12.0
    y, x = np.nonzero(signal > 40)
    np.testing.assert_array_equal(
        isolated_events.py_func(signal, y, x, 40.0), [[0, 0, 0, 0, 90, 12, 0, 0, 0]]
    )
    signal[5, 5] = 90.0
    y, x = np.nonzero(signal > 40)
    assert len(isolated_events.py_func(signal, y, x, 40.0)) == 0


def test_the_model_is_a_record() -> None:
    found = clip.Clip(1.6, 1.2, 0.3, 0.0, 0.3, 4.0)
    assert clip.Clip.from_record(found.to_record()) == found
    assert isinstance(simulate.scan(seed=2, spectrograph=CLIPPED), xr.Dataset)
