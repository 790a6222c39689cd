from __future__ import annotations

import numpy as np
import pytest
import xarray as xr

from beamline.errors import CalibrationError
from calibration import excitation
from rixs import simulate


@pytest.mark.parametrize("counts", [2e3, 2e4, 2e5])
def test_the_error_covers_what_is_off(counts: float) -> None:
    pulls = []
    for seed in range(40):
        shift = excitation.calibrate(simulate.tio2(seed=seed, mono_offset=0.36, counts=counts))
        pulls.append((shift.value - 0.36) / shift.error)
    assert np.sqrt(np.mean(np.square(pulls))) < 1.7


def test_the_first_peak_is_the_reference() -> None:
    shift = excitation.calibrate(simulate.tio2(mono_offset=-0.2), reference=531.0)
    assert shift.position == pytest.approx(531.2, abs=0.02)
    assert shift.value + shift.position == pytest.approx(531.0)


def test_without_errors_the_scatter_of_the_points_is_used() -> None:
    scan = simulate.tio2(seed=1).drop_vars("mu_errors")
    shift = excitation.calibrate(scan)
    assert 0 < shift.error < 0.05


def refuse(energy: np.ndarray, mu: np.ndarray) -> None:
    excitation.calibrate(xr.Dataset({"mu": ("energy", mu)}, coords={"energy": energy}))


def test_an_edge_without_a_peak_is_refused() -> None:
    energy = np.arange(525, 540, 0.1)
    with pytest.raises(CalibrationError, match="no main peak"):
        refuse(energy, 1 / (1 + np.exp(-(energy - 530))))


def test_a_scan_in_coarse_steps_is_refused() -> None:
    energy = np.arange(525, 540, 0.5)
    with pytest.raises(CalibrationError, match="finer steps"):
        refuse(energy, np.exp(-0.5 * ((energy - 531) / 0.4) ** 2))


@pytest.mark.parametrize(("offset", "largest"), [(-249.0, 5.0), (5.5, 5.0), (-0.4, 0.2)])
def test_a_peak_far_from_the_reference_is_refused(offset: float, largest: float) -> None:
    with pytest.raises(CalibrationError, match="from 531 eV"):
        excitation.calibrate(simulate.tio2(mono_offset=offset), largest=largest)


def test_a_large_shift_can_be_allowed() -> None:
    shift = excitation.calibrate(simulate.tio2(mono_offset=6.0), largest=8.0)
    assert shift.value == pytest.approx(6.0, abs=0.02)


def test_several_scans_are_refused() -> None:
    scans = xr.Dataset({"mu": (("scan", "energy"), np.ones((2, 3)))}, coords={"energy": [1.0, 2.0, 3.0]})
    with pytest.raises(CalibrationError, match="one scan"):
        excitation.calibrate(scans)
