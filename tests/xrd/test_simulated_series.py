"""Series of frames are read as a beamline's are, and hold the cells they say."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr

import beamline
import xrd
from beamline.errors import ConfigError
from calibration.geometry import Geometry
from xrd import simulate
from xrd import simulated_series as series
from xrd.simulate import CEO2, Phase, Profile, Series, Spots, powder_frames, spot_image

SMALL = dataclasses.replace(series.PANEL, pixel_size=(1.6e-3, 1.6e-3), shape=(256, 256))
WIDE = Profile(W=0.1**2, X=0.02)


@pytest.fixture(scope="module")
def cell(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return series.write_cycling(tmp_path_factory.mktemp("cell"), frames=5, geometry=SMALL).parent


@pytest.fixture(scope="module")
def truth(cell: Path) -> Any:
    return json.loads((cell / "truth.json").read_text())


@pytest.fixture(scope="module")
def frames(cell: Path) -> xr.Dataset:
    images = beamline.read(sorted((cell / "raw").glob("*.tif")))
    assert isinstance(images, xr.Dataset)
    return images


def test_frames_are_those_of_a_flat_panel(frames: xr.Dataset) -> None:
    assert frames["counts"].dtype == np.uint16
    assert frames["counts"].shape == (5, 256, 256)
    assert frames["exposure"].values.tolist() == [10.0] * 5
    assert frames.attrs["y_pixel_size"] == pytest.approx(1.6e-3)


def test_times_are_mid_exposures(frames: xr.Dataset, truth: Any) -> None:
    stated = np.array([moment.removesuffix("Z") for moment in truth["time"]], "datetime64[ns]")
    assert (np.abs(frames["time"].values - stated) <= np.timedelta64(1, "ms")).all()


def test_the_cathode_follows_the_charge_of_the_cell(cell: Path, truth: Any) -> None:
    charge = np.array(truth["charge_fraction"])
    cells = np.array(truth["phases"]["layered"]["cell"])
    cycle = beamline.simulate.cycle()
    at = np.array([moment.removesuffix("Z") for moment in truth["time"]], "datetime64[ns]")
    seconds = (cycle["time"].values - cycle["time"].values[0]).astype(float)
    expected = np.interp(
        (at - cycle["time"].values[0]).astype(float), seconds, cycle["charge_fraction"].values
    )
    np.testing.assert_allclose(charge, expected, atol=1e-9)
    assert (cells[np.argsort(charge), 0] >= cells[charge.argmax(), 0] - 1e-12).all()


def test_c_rises_and_falls() -> None:
    edges = [crystal.cell[2] for crystal in series.layered_at(np.array([0.0, 0.6, 0.95]))]
    assert edges[1] == pytest.approx(14.46)
    assert edges[2] < 14.2 < edges[0] < edges[1]


def test_the_metals_are_on_the_site_that_is_said() -> None:
    """I(003)/I(104) of the pristine cathode tells whether the metals are where oxygen expects them."""
    sample = Series(SMALL, [Phase((series.LAYERED,))]).truth()
    rings = {tuple(int(sample[i][n]) for i in "hkl"): n for n in range(sample.sizes["reflection"])}
    area = sample["area"].values[0]
    assert area[rings[0, 0, 3]] / area[rings[1, 0, 4]] == pytest.approx(1.10, abs=0.15)


def test_lines_of_the_cell_stay(truth: Any) -> None:
    rings = np.array(truth["phases"]["aluminium"]["two_theta_deg"])
    assert (np.ptp(rings, axis=0) == 0).all()
    cathode = np.array(truth["phases"]["layered"]["two_theta_deg"])
    assert np.ptp(cathode[:, 0]) > 0.01


def test_the_rings_are_found_where_the_truth_has_them(tmp_path: Path) -> None:
    panel = dataclasses.replace(series.PANEL, pixel_size=(4e-4, 4e-4), shape=(1024, 1024))
    path = series.write_cycling(tmp_path, frames=2, geometry=panel, spots=0, counts=2000.0)
    truth = json.loads(path.read_text())
    images = beamline.read(sorted((tmp_path / "raw").glob("*.tif")))
    patterns = xrd.integrate(images, panel, bins=700, gain=series.GAIN)
    angle = patterns["two_theta"].values
    for frame, rings in enumerate(truth["phases"]["layered"]["two_theta_deg"]):
        near = np.abs(angle - rings[0]) < 0.08
        signal = patterns["intensity"].values[frame, near]
        signal = signal - (signal[0] + signal[-1]) / 2
        assert np.average(angle[near], weights=signal) == pytest.approx(rings[0], abs=0.002)


def test_three_phases_follow_each_other(tmp_path: Path) -> None:
    path = series.write_heating(tmp_path, frames=4, geometry=dataclasses.replace(SMALL, wavelength=0.24125))
    truth = json.loads(path.read_text())
    most = [
        max(truth["phases"], key=lambda name: truth["phases"][name]["volume_fraction"][frame])
        for frame in range(4)
    ]
    assert most[0] == "layered"
    assert most[-1] == "rock salt"
    total = sum(np.array(phase["volume_fraction"]) for phase in truth["phases"].values())
    np.testing.assert_allclose(total, 1.0)
    assert truth["temperature_degC"][0] == pytest.approx(25.0)


def test_ceria_is_written(tmp_path: Path) -> None:
    truth = json.loads(series.write_ceria(tmp_path, SMALL).read_text())
    assert truth["phases"]["CeO2"]["hkl"][0] == [1, 1, 1]
    assert Geometry.from_poni(tmp_path / "geometry.poni") == SMALL


def test_volumes_add_up() -> None:
    whole = next(iter(Series(SMALL, [Phase((CEO2,), profile=WIDE)]).expected()))
    parts = [Phase((CEO2,), (volume,), WIDE) for volume in (0.25, 0.75)]
    sum_of_parts = next(iter(Series(SMALL, parts, counts=750.0).expected()))
    np.testing.assert_allclose(sum_of_parts, whole, rtol=1e-5)


def test_equal_volumes_diffract_as_structure_factor_over_cell_volume_says() -> None:
    both = Series(SMALL, [Phase((CEO2,)), Phase((series.ALUMINIUM,))]).truth()
    strength = []
    for crystal in (CEO2, series.ALUMINIUM):
        hkl = np.array([[1, 1, 1]])
        a = crystal.cell[0]
        f2 = simulate._structure_factor_squared(crystal, hkl, np.array([3**0.5 / a]), SMALL.wavelength)[0]
        sine = SMALL.wavelength * 3**0.5 / (2 * a)
        strength.append(8 * f2 / a**6 / (sine**2 * np.sqrt(1 - sine**2)))
    first = [int(np.argmax(both["phase"].values == name)) for name in ("CeO2", "aluminium")]
    area = both["area"].values[0, first]
    assert area[0] / area[1] == pytest.approx(strength[0] / strength[1], rel=1e-9)


def test_one_phase_is_what_powder_frames_gives() -> None:
    images, truth = powder_frames(SMALL, seed=None, profile=WIDE)
    mixed = Series(SMALL, [Phase((CEO2,), profile=WIDE)])
    np.testing.assert_array_equal(images["counts"].values[0], next(iter(mixed.expected())))
    np.testing.assert_array_equal(truth["position"], mixed.truth()["position"])


def test_spots_lie_on_rings() -> None:
    spots = Spots(series.ALUMINIUM, number=30, photons=1e5, width=0.5, seed=1)
    image = spot_image(SMALL, spots)
    rings = Series(SMALL, [Phase((series.ALUMINIUM,))]).truth()["position"].values[0]
    bright = np.degrees(SMALL.two_theta())[image > 2e4]
    pixel = np.degrees(SMALL.pixel_size[0] / SMALL.distance)
    assert bright.size >= 30
    assert np.abs(bright[:, None] - rings).min(axis=1).max() < 3 * pixel
    assert image.sum() > 30 * 1e5 * 0.5


@pytest.mark.parametrize(
    ("phases", "said"),
    [
        ([Phase((CEO2,)), Phase((CEO2, CEO2))], "numbers of frames"),
        ([Phase((CEO2,), (0.0,))], "all 0 in the first frame"),
        ([Phase((CEO2,), (0.5, 0.5))], "not one for every frame"),
    ],
)
def test_impossible_mixtures_are_refused(phases: list[Phase], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        Series(SMALL, phases)


def test_times_and_frames_must_agree(tmp_path: Path) -> None:
    times = np.array(["2022-01-01"] * 2, "datetime64[ns]")
    with pytest.raises(ConfigError, match="times"):
        series.write_series(tmp_path, "a", SMALL, [Phase((CEO2,))], times)
