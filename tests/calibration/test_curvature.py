from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import xarray as xr

from beamline.errors import CalibrationError
from calibration import curvature
from calibration.curvature import Curvature
from calibration.gain import Gain
from calibration.records import load_record
from rixs import simulate
from rixs.spikes import mask_spikes

GAIN = Gain(gain=simulate.GAIN, read_noise=4.0)


def measured(scan: xr.Dataset) -> Curvature:
    return curvature.calibrate(mask_spikes(scan, GAIN), GAIN)


def test_the_curvature_is_recovered_with_its_error() -> None:
    instrument = simulate.Spectrograph()
    seeds = 40
    pulls = []
    for seed in range(seeds):
        found = measured(simulate.scan(seed=seed, spectrograph=instrument))
        off = np.array(found.coefficients) - [instrument.tilt, instrument.bow]
        pulls.append(off / np.sqrt(np.diag(found.covariance)))
    assert (np.abs(np.mean(pulls, axis=0)) < 3 / np.sqrt(seeds)).all()
    np.testing.assert_allclose(np.std(pulls, axis=0), 1, atol=0.35)


@pytest.mark.parametrize(("tilt", "bow"), [(0.0, 0.0), (-3.0, 1.5)])
def test_straight_and_strongly_bent_lines(tilt: float, bow: float) -> None:
    instrument = simulate.Spectrograph(tilt=tilt, bow=bow)
    found = measured(simulate.scan(seed=3, spectrograph=instrument))
    np.testing.assert_allclose(found.shift(), instrument.shift(), atol=0.2)


def test_a_fixed_pattern_of_columns_is_refused() -> None:
    """Hot columns are in every row and every frame, and would say that nothing is bent."""
    scan = simulate.scan(seed=3, spectrograph=simulate.Spectrograph(tilt=2.0, cosmics=0))
    hot = np.random.default_rng(0).random(192) < 0.1
    scan["counts"] = scan.counts + np.where(hot, 300, 0).astype(np.int32)
    with pytest.raises(CalibrationError, match="fixed pattern"):
        curvature.calibrate(scan, GAIN)


def test_strips_without_lines_are_refused() -> None:
    dim = simulate.scan(seed=3, flux=2e4, spectrograph=simulate.Spectrograph(cosmics=0))
    with pytest.raises(CalibrationError, match="sharp lines"):
        curvature.calibrate(dim, GAIN)


def test_too_few_rows_are_refused() -> None:
    few = simulate.scan(seed=3, spectrograph=simulate.Spectrograph(rows=8))
    with pytest.raises(CalibrationError, match="8 rows"):
        curvature.calibrate(few, GAIN)


def test_straight_is_no_shift() -> None:
    np.testing.assert_array_equal(Curvature.straight(5).shift(), np.zeros(5))
    np.testing.assert_array_equal(Curvature.straight(5).shift_errors(), np.zeros(5))


def test_the_shift_is_zero_at_the_central_row() -> None:
    assert Curvature((0.3, -0.25), ((0.0, 0.0), (0.0, 0.0)), rows=65).shift()[32] == 0


def test_the_record_comes_back_from_its_file(tmp_path: Path) -> None:
    found = measured(simulate.scan(seed=3))
    found.save(tmp_path / "curvature.json")
    back = load_record(tmp_path / "curvature.json")
    assert back == found
    assert back.id == found.id
