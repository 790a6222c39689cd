"""Channels are written as real exports are, and their truth is found again."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr

import beamline
from beamline import model, simulate
from beamline.clocks import Clock, fit_clock
from beamline.errors import ConfigError

SECOND = np.timedelta64(1, "s")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return simulate.write_channels(tmp_path_factory.mktemp("channels"), seed=3).parent


@pytest.fixture(scope="module")
def truth(folder: Path) -> Any:
    return json.loads((folder / "truth.json").read_text())


def channels(path: Path, timezone: str = "America/Chicago") -> xr.Dataset:
    ds = beamline.read(path, kind="channels", timezone=timezone)
    assert isinstance(ds, xr.Dataset)
    return ds


def test_the_cell_is_charged_held_and_discharged() -> None:
    cell = simulate.cycle(upper=4.7, lower=2.7)
    model.validate(cell, "channels")
    assert cell["voltage"].values.max() == pytest.approx(4.7, abs=1e-6)
    assert cell["voltage"].values.min() > 2.7
    hold = cell.isel(time=cell["step"].values == 3)
    assert np.ptp(hold["voltage"].values) < 1e-6
    assert (np.diff(hold["current"].values) < 0).all()


def test_charge_is_the_integral_of_the_current() -> None:
    cell = simulate.cycle(interval=10.0)
    passed = np.trapezoid(cell["current"].values, dx=10.0 / 3600)
    stored = np.ptp(cell["charge_fraction"].values[[0, -1]]) * simulate.HalfCell().charge
    assert abs(passed) == pytest.approx(stored, abs=2e-3)


def test_a_limit_out_of_reach_is_refused() -> None:
    with pytest.raises(ConfigError, match="not within reach"):
        simulate.cycle(upper=5.2)


def test_the_sample_lags_behind_the_furnace() -> None:
    furnace = simulate.heat(rate=10.0, lag=30.0)
    behind = furnace["setpoint"] - furnace["temperature"]
    assert float(behind[-1]) == pytest.approx(5.0, abs=1e-3)


def test_oxygen_comes_fastest_at_the_peak_temperature() -> None:
    furnace = simulate.heat(interval=1.0)
    gas = simulate.release(furnace, peak=292.0)
    assert float(furnace["temperature"][int(np.argmax(gas["release"].values))]) == pytest.approx(
        292.0, abs=0.2
    )


def test_the_peak_moves_with_the_heating_rate_as_kissinger_has_it() -> None:
    # ln(β/T²) against 1/T has the slope -E/R; A is that of 10 degC/min.
    barrier, peak = 180e3, 361.0 + simulate.ZERO_CELSIUS
    moved = 400.0 + simulate.ZERO_CELSIUS
    rate = 10.0 * (moved / peak) ** 2 * np.exp(barrier / simulate.GAS_CONSTANT * (1 / peak - 1 / moved))
    slow = simulate.heat(rate=10.0, interval=1.0, lag=1.0)
    fast = simulate.heat(rate=float(rate), interval=0.5, lag=1.0)
    constants = []
    for furnace, top in ((slow, peak), (fast, moved)):
        gas = simulate.release(furnace, top - simulate.ZERO_CELSIUS, barrier / 1e3)
        kelvin = furnace["temperature"].values + simulate.ZERO_CELSIUS
        constants.append(np.interp(560.0, kelvin, gas["release"].values))
    # At 560 K hardly anything has reacted, so that both rates are the one constant A exp(-E/RT).
    assert constants[0] == pytest.approx(constants[1], rel=0.02)


def test_the_transit_delays_and_the_mixing_smears() -> None:
    furnace = simulate.heat(interval=1.0)
    sharp = simulate.release(furnace, delay=42.0, mixing=0.0)
    lag = int(np.argmax(sharp["mz_32"].values)) - int(np.argmax(sharp["release"].values))
    assert abs(lag - 42) <= 1
    smeared = simulate.release(furnace, delay=42.0, mixing=20.0)
    assert float(smeared["mz_32"].max()) < float(sharp["mz_32"].max())


def test_biologic_is_on_its_own_clock(folder: Path, truth: Any) -> None:
    cell = channels(folder / "cycler.mpt")
    clock = Clock.from_record(truth["cycler"]["clock"])
    exact = simulate.cycle()
    assert (np.abs((clock.to_frame(cell["time"]) - exact["time"].values) / SECOND) < 1e-5).all()
    assert np.std(cell["voltage"].values - exact["voltage"].values) == pytest.approx(2e-4, rel=0.1)
    assert cell["current"].attrs["units"] == "mA"


def test_maccor_is_the_same_cell_to_a_second(folder: Path) -> None:
    cell, other = channels(folder / "cycler.mpt"), channels(folder / "cycler_maccor.txt")
    assert (np.abs((cell["time"].values - other["time"].values) / SECOND) < 1.0).all()
    assert np.abs(cell["voltage"].values - other["voltage"].values).max() < 1e-4
    assert other["current"].attrs["sign"] == "positive on charge"
    assert float(other["current"][-1]) == pytest.approx(-2e-4, abs=1e-7)


def test_the_furnace_is_on_its_own_clock(folder: Path, truth: Any) -> None:
    oven, exact = channels(folder / "furnace.csv"), simulate.heat()
    clock = Clock.from_record(truth["furnace"]["clock"])
    assert (np.abs((clock.to_frame(oven["time"]) - exact["time"].values) / SECOND) < 2e-3).all()
    assert np.std(oven["temperature"].values - exact["temperature"].values) == pytest.approx(0.1, rel=0.1)


def test_the_gas_has_its_peak_after_the_transit(folder: Path, truth: Any) -> None:
    tree = beamline.read(folder / truth["gas"]["file"], timezone="America/Chicago")
    assert isinstance(tree, xr.DataTree)
    gas = tree["mz_32"].to_dataset()
    seen = gas["time"].values[int(np.argmax(gas["mz_32"].values))]
    late = (seen - np.datetime64(truth["gas"]["fastest_release_time"].removesuffix("Z"))) / SECOND
    assert truth["gas"]["delay_s"] - 10 < late < truth["gas"]["delay_s"] + 20


def test_the_same_seed_gives_the_same_bytes(folder: Path, tmp_path: Path) -> None:
    simulate.write_channels(tmp_path, seed=3)
    for path in sorted(folder.iterdir()):
        assert (tmp_path / path.name).read_bytes() == path.read_bytes()


def test_the_offset_of_the_cycler_is_found(tmp_path: Path) -> None:
    pulls = []
    for seed in range(8):
        clock = Clock(offset=95.2 + seed / 7)
        simulate.write_channels(tmp_path / str(seed), seed=seed, cycler_clock=clock, interval=60.0)
        log = channels(tmp_path / str(seed) / "beamline.csv")
        found = fit_clock(log, channels(tmp_path / str(seed) / "cycler.mpt"), around="95 s")
        pulls.append((found.offset - clock.offset) / found.offset_error)
    assert np.abs(pulls).max() < 3.5
    assert abs(np.mean(pulls)) < 3 / np.sqrt(8)
