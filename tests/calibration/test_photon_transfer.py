"""Gain and read noise of simulated flat panels whose light spreads and whose charge lags."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import xarray as xr
from scipy.ndimage import gaussian_filter

from beamline.errors import CalibrationError
from calibration.gain import Gain, photon_transfer

READ = 30.0


def panel(
    seed: int, gain: float = 20.0, spread: float = 0.8, lag: float = 0.0, frames: int = 8, size: int = 400
) -> tuple[Any, Any]:
    """Frames of rings, 100 to 900 photons, and dark frames, in ADU."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:size, :size]
    radius = np.hypot(y - size / 2, x - 0.4 * size)
    photons = 100 + 800 * np.exp(-0.5 * ((radius % 60 - 30) / 6) ** 2)
    taken, carried = [], np.zeros_like(photons)
    for _ in range(frames + 2):  # the first two fill the lag
        light = rng.poisson(photons * rng.uniform(0.98, 1.02)).astype(float)
        charge = gain * (gaussian_filter(light, spread, mode="wrap") if spread else light)
        taken.append((1 - lag) * charge + carried + rng.normal(0, READ, photons.shape))
        carried = lag * charge
    dark = rng.normal(0, READ, (4, size, size)) + 300
    return np.round(np.array(taken[2:]) + 300).astype(np.uint16), np.round(dark).astype(np.uint16)


@pytest.mark.parametrize(
    ("gain", "spread", "lag"), [(20.0, 0.0, 0.0), (20.0, 0.8, 0.0), (60.0, 1.0, 0.0), (20.0, 0.8, 0.1)]
)
def test_the_gain_is_found_to_two_percent(gain: float, spread: float, lag: float) -> None:
    found = [
        photon_transfer(*panel(seed, gain, spread, lag, frames=16 if lag else 10), lag=1 if lag else 0)
        for seed in range(2)
    ]
    mean = float(np.mean([one.gain for one in found]))
    assert mean == pytest.approx(gain, rel=0.02)
    for one in found:
        assert abs(one.gain - gain) < 3.5 * one.gain_errors < 0.1 * gain
        assert one.read_noise == pytest.approx(math.hypot(READ, 0.29), rel=0.05)
        assert one.offset == pytest.approx(300, abs=0.1)


def test_the_variance_of_a_pixel_alone_is_too_small() -> None:
    frames, dark = panel(0)
    alone = photon_transfer(frames, dark, reach=0)
    assert alone.gain < 0.25 * photon_transfer(frames, dark).gain


def test_a_pair_is_enough_and_dark_frames_may_be_missing() -> None:
    frames, _ = panel(1, frames=2, size=600)
    found = photon_transfer(frames.astype(float) - 300)
    assert abs(found.gain - 20) < 3.5 * found.gain_errors
    assert found.gain_errors < 2


def test_cosmic_rays_dead_and_saturated_pixels_do_no_harm() -> None:
    frames, dark = panel(2)
    rng = np.random.default_rng(0)
    for _ in range(40):
        n, y, x = (int(rng.integers(0, size)) for size in frames.shape)
        frames[n, y, x] = 60000
    frames[:, 50:53, 80] = 65535
    found = photon_transfer(frames, dark)
    assert found.gain == pytest.approx(20.0, abs=3.5 * found.gain_errors)


def test_errors_are_as_large_as_the_scatter() -> None:
    found = [photon_transfer(*panel(seed, size=200, frames=4)) for seed in range(24)]
    pulls = np.array([(one.gain - 20) / one.gain_errors for one in found])
    assert abs(pulls.mean()) < 3 / math.sqrt(24) * 1.1
    assert abs(pulls.std() - 1) < 3 / math.sqrt(48)


def test_the_record_is_that_of_single_photons(tmp_path: Any) -> None:
    from calibration.records import load_record

    found = photon_transfer(xr.Dataset({"counts": (("frame", "y", "x"), panel(0)[0])}))
    found.save(tmp_path / "gain.json")
    assert isinstance(found, Gain)
    assert load_record(tmp_path / "gain.json") == found


@pytest.mark.parametrize(
    ("change", "options", "said"),
    [
        (lambda f: f[:1], {}, "2 or more"),
        (lambda f: f, {"lag": 1}, "12 or more|6 or more|2 or more|more of"),
        (lambda f: f[[0, 0, 0]], {}, "do not fluctuate"),
        (lambda f: f * np.array([1, 2])[:, None, None].astype(np.uint16), {}, "differ in brightness"),
        (lambda f: f * 0, {}, "no light"),
        (lambda f: f, {"mask": np.zeros((3, 3))}, "mask: has shape"),
        (lambda f: f, {"reach": -1}, "reach: is -1"),
        (lambda f: f, {"lag": -1}, "lag: is -1"),
        (lambda f: f, {"mask": np.ones((100, 100))}, "no light|live neighbours"),
    ],
)
def test_what_tells_no_gain_is_refused(change: Any, options: Any, said: str) -> None:
    frames, _ = panel(0, frames=2, size=100)
    with pytest.raises(CalibrationError, match=said):
        photon_transfer(change(frames), **options)
