from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import xarray as xr

import beamline
import rixs
from beamline.cli import main
from beamline.errors import CalibrationError
from calibration import excitation
from calibration.gain import Gain
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


def titania(
    seed: int, shift: excitation.Shift | None = None, energies: np.ndarray | None = None
) -> xr.Dataset:
    """A map of TiO2 whose monochromator is 0.36 eV off."""
    energies = simulate.excitation_energies(528, 533.6, 0.2) if energies is None else energies
    images = simulate.scan(None, seed, energies, mono_offset=0.36)
    return rixs.reduce(images, excitation=shift, gain=Gain(simulate.GAIN, 4.0))


def test_a_map_of_the_reference_gives_the_shift_within_its_error() -> None:
    shifts = [excitation.calibrate(titania(seed)) for seed in range(12)]
    pulls = [(shift.value - 0.36) / shift.error for shift in shifts]
    assert abs(np.mean(pulls)) < 3 / np.sqrt(12)
    assert np.sqrt(np.mean(np.square(pulls))) < 1.7
    assert max(shift.error for shift in shifts) < 0.06


def test_the_yield_of_a_map_is_what_its_pixels_counted() -> None:
    rng = np.random.default_rng(3)
    # Uneven bins, and one pixel that a point lacks.
    emission = np.array([520.0, 520.1, 520.3, 520.6, 521.0])
    width = np.gradient(emission)
    counted = rng.poisson(400.0, (3, 5)).astype(float)
    flux = np.full(3, 1e4)
    rmap = xr.Dataset(
        {
            "intensity": (("excitation_energy", "emission_energy"), counted / width),
            "intensity_errors": (("excitation_energy", "emission_energy"), np.sqrt(counted) / width),
        },
        coords={
            "excitation_energy": [529.0, 530.0, 531.0],
            "emission_energy": emission,
            "i0": ("excitation_energy", flux, {"units": "count"}),
        },
    )
    rmap["intensity"][1, 4] = np.nan
    found = excitation.fluorescence_yield(rmap)
    total = counted[:, :4].sum(axis=1)
    np.testing.assert_allclose(found.mu, total)
    np.testing.assert_allclose(found.mu_errors, np.sqrt(total + total**2 / flux))
    part = excitation.fluorescence_yield(rmap, (520.1, 520.3))
    np.testing.assert_allclose(part.mu, counted[:, 1:3].sum(axis=1))
    with pytest.raises(CalibrationError, match="no emission at 530 to 540 eV"):
        excitation.fluorescence_yield(rmap, (530.0, 540.0))


def test_a_cut_of_the_map_is_a_reference_as_well() -> None:
    rmap = titania(0)
    ends = float(rmap.emission_energy[1]), float(rmap.emission_energy[-2])
    cut, whole = (excitation.calibrate(ds) for ds in (rixs.emission_window(rmap, *ends), rmap))
    assert cut.value == pytest.approx(whole.value, abs=whole.error)
    with pytest.raises(CalibrationError, match="over excitation"):
        excitation.calibrate(rixs.window(rmap, 530.0, 531.0).assign_coords(excitation_energy=530.5))


def test_a_map_that_is_corrected_already_is_refused() -> None:
    rmap = titania(1, excitation.Shift(value=0.36, error=0.01, reference=531.0, position=530.64))
    with pytest.raises(CalibrationError, match="corrected already"):
        excitation.calibrate(rmap)


def test_emission_of_a_scan_is_refused() -> None:
    with pytest.raises(CalibrationError, match="not for a map"):
        excitation.calibrate(simulate.tio2(), emission=(520.0, 530.0))


def test_the_command_takes_a_map(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rmap = titania(2)
    beamline.save(rmap, tmp_path / "map.nc")
    expected = excitation.calibrate(rmap)
    words = ["calibrate", "excitation", str(tmp_path / "map.nc"), "-o", str(tmp_path / "shift.json")]
    assert main(["--json", *words]) == 0
    assert json.loads(capsys.readouterr().out)["value"] == pytest.approx(expected.value)
    beamline.save(xr.DataTree.from_dict({"rixs/tio2/map": rmap}), tmp_path / "results.nc")
    words[2] = str(tmp_path / "results.nc")
    assert main(words) == 1
    assert "::/rixs/name/map" in capsys.readouterr().err
    words[2] += "::/rixs/tio2/map"
    code = main([*words, "--emission", "520.5", "527.5"])
    assert (code, capsys.readouterr().err) == (0, "")
