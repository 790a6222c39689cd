"""The peak shape of a simulated instrument, from the pattern of a calibrant."""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr

from beamline.errors import CalibrationError, FitError
from calibration.calibrants import find_calibrant
from calibration.instrument import Axial, Instrument, calibrate
from calibration.instrument_calibration import VARIED, rules_of
from calibration.profiles import accumulate

WAVELENGTH = 0.1173
AXIAL = Instrument(WAVELENGTH, zero=0.002, U=30.0, V=-2.0, W=4.0, X=1.2, Y=2.0, SHL=0.006, axial="exact")
PANEL = Instrument(WAVELENGTH, zero=-0.001, U=100.0, V=-8.0, W=10.0, X=0.6, Y=4.0)


def pattern(true: Instrument, seed: int | None = 0, height: float = 1e5, points: int = 2000) -> xr.Dataset:
    """Ceria with intensities of no structure."""
    x = np.linspace(1.5, 12.0, points)
    bragg = np.degrees(find_calibrant("CeO2", WAVELENGTH).two_theta(WAVELENGTH, math.radians(13)))
    area = np.random.default_rng(1).uniform(0.05, 1, bragg.size) * np.exp(-bragg / 8)
    position = bragg + true.zero
    counts = np.zeros(points)
    variance, gamma = true.widths(position)
    rules = rules_of(position, true.SHL, gamma, true.axial == "exact")
    shape = (x, position, variance, gamma, area, true.SHL, rules)
    accumulate(*shape, np.zeros((0, bragg.size, 5)), counts, np.zeros((0, points)))
    counts = counts / counts.max() * height * (1 + 0.02 * np.exp(-x / 6)) + 0.02 * height
    if seed is not None:
        counts = np.random.default_rng(seed).poisson(counts).astype(float)
    return xr.Dataset(
        {"intensity": ("two_theta", counts), "intensity_errors": ("two_theta", np.sqrt(counts))},
        {"two_theta": x},
        {"wavelength": WAVELENGTH},
    )


@pytest.mark.parametrize(("true", "axial"), [(AXIAL, "exact"), (PANEL, "gsas2")])
def test_errors_are_as_large_as_the_scatter(true: Instrument, axial: Axial) -> None:
    """Pulls of 16 draws: means within 3 / sqrt(N), standard deviations within 3 / sqrt(2 N) of 0 and 1."""
    pulls: dict[str, list[float]] = {}
    for seed in range(16):
        ours = calibrate(pattern(true, seed), axial=axial)
        assert ours.axial == axial
        for name, error in ours.errors().items():
            pulls.setdefault(name, []).append((getattr(ours, name) - getattr(true, name)) / error)
    assert set(pulls) >= {"zero", "U", "V", "W", "X", "Y"}
    assert ("SHL" in pulls) or true.SHL == 0.002
    for name, values in pulls.items():
        if len(values) == 16:  # SH/L at its least value is varied in some draws only
            assert abs(np.mean(values)) < 3 / math.sqrt(16), name
            assert abs(np.std(values) - 1) < 3 / math.sqrt(32), name


def test_without_noise_the_truth_is_found() -> None:
    ours = calibrate(pattern(AXIAL, None, height=1e8), axial="exact")
    for name in ("zero", "W", "X", "SHL"):
        assert getattr(ours, name) == pytest.approx(getattr(AXIAL, name), rel=0.01), name


def test_rings_without_axial_divergence_keep_their_zero() -> None:
    rings = Instrument(WAVELENGTH, U=1.0, W=4.0, X=0.6, SHL=0.0, axial="exact")
    varied = tuple(name for name in VARIED if name != "SHL")
    ours = calibrate(pattern(rings, None, height=1e8), axial="exact", varied=varied)
    assert ours.SHL == 0.0
    assert abs(ours.zero) < 1e-6


def test_the_size_of_the_calibrant_is_taken_out_of_x() -> None:
    plain = calibrate(pattern(PANEL), varied=VARIED[:-1])
    sized = calibrate(pattern(PANEL), varied=VARIED[:-1], size=0.3, size_error=0.03)
    broadening = 1.8 * WAVELENGTH / (math.pi * 0.3)
    assert pytest.approx(plain.X - broadening) == sized.X
    assert sized.errors()["X"] == pytest.approx(math.hypot(plain.errors()["X"], 0.1 * broadening))
    assert plain.varied == ("zero", "U", "V", "W", "X", "Y")
    with pytest.raises(CalibrationError, match=r"size: of 0\.02 um makes X"):
        calibrate(pattern(PANEL), size=0.02)


def test_correlated_bins_and_bad_fits_raise_the_errors() -> None:
    plain = calibrate(pattern(PANEL), varied=VARIED[:-1])
    split = pattern(PANEL)
    split["correlation"] = ("two_theta", np.full(split.sizes["two_theta"], 0.5))
    for name, error in calibrate(split, varied=VARIED[:-1]).errors().items():
        assert error == pytest.approx(math.sqrt(2) * plain.errors()[name], rel=1e-6)
    bold = pattern(PANEL)
    bold["intensity_errors"] = 0.1 * bold["intensity_errors"]
    for name, error in calibrate(bold, varied=VARIED[:-1]).errors().items():
        assert error == pytest.approx(plain.errors()[name], rel=0.1)


def test_it_is_saved_as_an_instprm(tmp_path: Path) -> None:
    ours = calibrate(pattern(PANEL))
    ours.save(tmp_path / "x.instprm")
    read = Instrument.from_instprm(tmp_path / "x.instprm")
    for name in ("wavelength", *VARIED):
        assert getattr(read, name) == pytest.approx(getattr(ours, name), rel=1e-12)


def test_masked_bins_do_not_matter() -> None:
    holed = pattern(PANEL)
    holed["intensity"][300:320] = np.nan
    whole = calibrate(pattern(PANEL), varied=VARIED[:-1])
    ours = calibrate(holed, varied=VARIED[:-1])
    assert pytest.approx(whole.W, abs=3 * whole.errors()["W"]) == ours.W


def frames(ds: xr.Dataset) -> xr.Dataset:
    return xr.concat([ds, ds], "frame")


@pytest.mark.parametrize(
    ("change", "options", "said"),
    [
        (lambda ds: ds.drop_vars("intensity_errors"), {}, "has no errors"),
        (lambda ds: ds["intensity"], {}, "is no pattern"),
        (frames, {}, "has 2 frames"),
        (lambda ds: ds, {"limits": (20.0, 30.0)}, "0 points"),
        (lambda ds: ds, {"limits": (1.5, 3.0)}, "3 reflections|2 reflections"),
        (lambda ds: ds, {"varied": ("U", "Q")}, "names Q"),
        (lambda ds: ds, {"background": 0}, "background: has 0 terms"),
        (lambda ds: ds, {"axial": "none"}, "axial: is 'none'"),
        (lambda ds: ds, {"calibrant": "kryptonite"}, "is not known"),
        (lambda ds: ds.assign_attrs(wavelength=np.nan), {}, "wavelength: is nan"),
        (lambda ds: ds * 0 + 1, {}, "no clear reflection|wavelength"),
    ],
)
def test_bad_input_is_named(change: Any, options: Any, said: str) -> None:
    with pytest.raises(CalibrationError, match=said):
        calibrate(change(pattern(PANEL, points=1000)), **options)


@pytest.mark.parametrize("calibrant", ["LaB6", "alpha_Al2O3"])
def test_another_powder_fits_no_profile(calibrant: str) -> None:
    with pytest.raises((FitError, CalibrationError), match=r"no profile|no clear reflection"):
        calibrate(pattern(PANEL), calibrant=calibrant)


def test_the_correct_geometry_and_the_pattern_agree_on_the_wavelength() -> None:
    moved = dataclasses.replace(PANEL, zero=0.0)
    ours = calibrate(pattern(moved).assign_attrs(wavelength=1.0), wavelength=WAVELENGTH)
    assert ours.wavelength == WAVELENGTH
    assert abs(ours.zero) < 4 * ours.errors()["zero"]
