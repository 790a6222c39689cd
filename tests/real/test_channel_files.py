"""Every shared file of channels is read, or refused in one sentence."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr

import beamline
from beamline.channels import fit_clock
from beamline.errors import DataFileError

ECMS = "ecms_zilien/2022-04-06 16_17_23 full set"
COPENHAGEN = {"timezone": "Europe/Copenhagen"}
CELLS = {"timezone": "Europe/London"}
UNITS = {**CELLS, "units": {"Current": "mA", "Capacity": "mA*h"}}

READ: list[tuple[str, dict[str, Any], int, str, str, float]] = [
    # file, options, samples, first time (UTC), channel, its last value
    (f"{ECMS}_01_01_CP_DUSB0_C01.mpt", COPENHAGEN, 11, "2022-04-06T14:19:01", "voltage", 0.59953016),
    (f"{ECMS}_01_02_CVA_DUSB0_C01.mpt", COPENHAGEN, 865, "2022-04-06T14:19:12", "current", -0.02955976),
    ("biologic/pyprobe_timestamped.txt", CELLS, 8, "2024-11-20T11:38:41", "temperature", 19.458557),
    ("maccor/cellpy_maccor_002.txt", CELLS, 7446, "2021-05-11T14:40:23", "voltage", 1.3),
    ("maccor/pyprobe_sample_data_maccor.csv", UNITS, 15, "2023-11-23T15:56:11", "voltage", 3.716),
]

REFUSED = [
    ("biologic/navani_test_04_MB_C01.mpr", r"BioLogic binary.*export it as text \(\.mpt\)"),
    ("biologic/yadg_gcpl.mpr", r"BioLogic binary.*galvani"),
    ("neware/navani_test.nda", r"Neware binary.*export it as csv"),
    ("neware/navani_test.ndax", r"Neware archive.*export it as csv"),
]


@pytest.mark.parametrize(("file", "options", "size", "first", "name", "last"), READ)
def test_cyclers_are_read(
    data_dir: Path, file: str, options: dict[str, Any], size: int, first: str, name: str, last: float
) -> None:
    ds = beamline.read(data_dir / "channels" / file, **options)
    assert isinstance(ds, xr.Dataset)
    assert ds.sizes["time"] == size
    assert str(ds["time"].values[0])[:19] == first
    assert float(ds[name][-1]) == pytest.approx(last, abs=1e-6)


@pytest.mark.parametrize(("file", "match"), REFUSED)
def test_binaries_are_refused_with_what_reads_them(data_dir: Path, file: str, match: str) -> None:
    with pytest.raises(DataFileError, match=match):
        beamline.read(data_dir / "channels" / file)


def test_every_shared_file_is_in_the_table(data_dir: Path) -> None:
    known = {file for file, *_ in READ} | {file for file, _ in REFUSED} | {f"{ECMS}.tsv"}
    folder = data_dir / "channels"
    assert {p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file()} == known


@pytest.mark.parametrize(("file", "options"), [(file, options) for file, options, *_ in READ])
def test_no_zone_no_time(data_dir: Path, file: str, options: dict[str, Any]) -> None:
    without = {key: value for key, value in options.items() if key != "timezone"}
    with pytest.raises(DataFileError, match="timezone="):
        beamline.read(data_dir / "channels" / file, **without)


def test_a_cell_without_units_asks_for_them(data_dir: Path) -> None:
    with pytest.raises(DataFileError, match="states no unit for 'Capacity'"):
        beamline.read(data_dir / "channels" / "maccor/pyprobe_sample_data_maccor.csv", **CELLS)


def test_maccor_test_time_is_in_minutes_and_discharge_is_negative(data_dir: Path) -> None:
    ds = beamline.read(data_dir / "channels" / "maccor/cellpy_maccor_002.txt", **CELLS)
    assert isinstance(ds, xr.Dataset)
    hours = float((ds["time"][-1] - ds["time"][0]) / np.timedelta64(1, "h"))
    assert hours == pytest.approx(3809.841833 / 60, abs=1e-3)
    assert ds.attrs["clock_spread"] < 1.5
    assert bool((ds["current"].where(ds["step"] == 5) <= 0).where(ds["step"] == 5, True).all())
    assert bool((ds["current"].where(ds["step"] == 4) >= 0).where(ds["step"] == 4, True).all())


@pytest.fixture(scope="module")
def ecms(data_dir: Path) -> tuple[xr.DataTree, xr.Dataset]:
    tree = beamline.read(data_dir / "channels" / f"{ECMS}.tsv", **COPENHAGEN)
    cell = beamline.read(data_dir / "channels" / f"{ECMS}_01_02_CVA_DUSB0_C01.mpt", **COPENHAGEN)
    assert isinstance(tree, xr.DataTree)
    assert isinstance(cell, xr.Dataset)
    return tree, cell


def seconds_between(cell: xr.Dataset, pot: xr.Dataset) -> float:
    """Time from the start of the gas analyser's file to that of the potentiostat's."""
    return float(
        (np.datetime64(cell.attrs["start"]) - np.datetime64(pot.attrs["start"])) / np.timedelta64(1, "s")
    )


def test_the_gas_analyser_has_sixteen_series(ecms: tuple[xr.DataTree, xr.Dataset]) -> None:
    tree, _ = ecms
    assert len(tree.children) == 16
    assert set(tree.children) >= {"pot", "mz_2", "mz_4", "mz_18", "mz_28", "mz_32", "iongauge_value"}
    assert tree["mz_32"].sizes["time"] == 404
    assert tree["pot"].attrs["header_clock_offset"] == 95.21071


def test_the_potentiostats_two_clocks_agree_with_the_header(ecms: tuple[xr.DataTree, xr.Dataset]) -> None:
    tree, cell = ecms
    pot = tree["pot"].to_dataset()
    clock = fit_clock(pot, cell)
    offset = clock.offset + seconds_between(cell, pot)
    # the header's offset was measured within 29.9 ms; the voltages agree best 2.3 ms below it
    assert offset == pytest.approx(
        pot.attrs["header_clock_offset"], abs=pot.attrs["header_clock_offset_duration"]
    )
    assert offset == pytest.approx(95.2084, abs=5e-4)
    assert 0 < clock.offset_error < 1e-3


def test_parts_of_the_measurement_give_one_offset(ecms: tuple[xr.DataTree, xr.Dataset]) -> None:
    tree, cell = ecms
    pot = tree["pot"].to_dataset()
    parts = [
        fit_clock(pot, part) for part in (cell.isel(time=slice(0, 430)), cell.isel(time=slice(430, None)))
    ]
    apart = abs(parts[0].offset - parts[1].offset)
    assert apart < 4 * np.hypot(parts[0].offset_error, parts[1].offset_error)


def test_the_oxygen_signal_is_joined_and_never_invented(ecms: tuple[xr.DataTree, xr.Dataset]) -> None:
    tree, _ = ecms
    oxygen = tree["mz_32"].to_dataset()
    begin, end = oxygen["time"].values[[0, -1]]
    middle = np.arange(begin, end, np.timedelta64(7, "s")).astype("datetime64[ns]")
    frames = xr.Dataset(coords={"time": ("frame", middle), "exposure": ("frame", np.full(middle.size, 2.0))})
    # the analyser itself paused three times for 12 s
    whole = beamline.join(frames, oxygen, tolerance="13s")
    hole = (oxygen["time"] < begin + np.timedelta64(100, "s")) | (
        oxygen["time"] > begin + np.timedelta64(160, "s")
    )
    cut = beamline.join(frames, oxygen.isel(time=hole.values), tolerance="13s")
    inside = (middle > begin + np.timedelta64(101, "s")) & (middle < begin + np.timedelta64(159, "s"))
    assert inside.sum() == 8
    assert cut["mz_32"].isnull().values[inside].all()
    assert whole["mz_32"].notnull().values.all()
    elsewhere = ~inside & (np.abs((middle - begin) / np.timedelta64(1, "s") - 130) > 35)
    np.testing.assert_allclose(cut["mz_32"].values[elsewhere], whole["mz_32"].values[elsewhere], rtol=1e-12)


def test_the_gas_analysers_clocks_join_in_one_call(ecms: tuple[xr.DataTree, xr.Dataset]) -> None:
    tree, _ = ecms
    begin = tree["pot"]["time"].values[0]
    middle = begin + np.arange(5, 100, 10) * np.timedelta64(1, "s")
    frames = xr.Dataset(coords={"time": ("frame", middle), "exposure": ("frame", np.full(middle.size, 2.0))})
    joined = beamline.join(frames, tree)
    assert {"voltage", "current", "cycle", "mz_32", "iongauge_value"} <= set(joined.coords)
    assert joined["voltage"].notnull().all()
