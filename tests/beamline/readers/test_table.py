"""Tables of channels."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr

import beamline
from beamline.errors import DataFileError
from beamline.readers.stamps import ClockWarning
from tests.beamline.channel_files import CSV


def read(folder: Path, text: str, name: str = "furnace.csv", **options: Any) -> xr.Dataset:
    path = folder / name
    path.write_text(text)
    ds = beamline.read(path, **options)
    assert isinstance(ds, xr.Dataset)
    return ds


def test_elapsed_times_count_from_the_start(tmp_path: Path) -> None:
    ds = read(tmp_path, CSV, start="2022-04-06T16:17:23+02:00")
    assert ds["time"].values[1] == np.datetime64("2022-04-06T14:17:24.5")
    assert set(ds.data_vars) == {"voltage", "temperature", "mz_32"}
    assert ds.attrs["left_out"] == "note"


def test_elapsed_times_without_a_start_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DataFileError, match=r"give it: start="):
        read(tmp_path, CSV)


@pytest.mark.parametrize(
    ("first", "second", "options"),
    [
        ("2022-04-06T14:17:23Z", "2022-04-06T14:17:24Z", {}),
        ("2022-04-06 16:17:23", "2022-04-06 16:17:24", {"timezone": "Europe/Berlin"}),
        ("13.04.2022 16:17:23", "13.04.2022 16:17:24", {"timezone": "+02:00"}),
    ],
)
def test_time_stamps(tmp_path: Path, first: str, second: str, options: dict[str, str]) -> None:
    ds = read(tmp_path, f"timestamp;T [K]\n{first};300,15\n{second};301,15\n", **options)
    assert str(ds["time"].values[0])[11:19] == "14:17:23"
    assert ds["temperature"].values == pytest.approx([27.0, 28.0])
    assert ds["temperature"].attrs["units"] == "degC"
    assert ds["temperature"].attrs["resolution"] == pytest.approx(0.01)


def test_dates_beside_times_of_day(tmp_path: Path) -> None:
    text = "Date\tTime\tTemperature (°C)\n2022-04-06\t16:17:23\t25\n2022-04-06\t16:17:24\t26\n"
    ds = read(tmp_path, text, "furnace.tsv", timezone="UTC")
    assert ds["time"].values[1] == np.datetime64("2022-04-06T16:17:24")


def test_seconds_since_1970_are_utc(tmp_path: Path) -> None:
    ds = read(tmp_path, "uts,Voltage [mV]\n1649254643.5,3100\n1649254644.5,3200\n")
    assert ds["time"].values[0] == np.datetime64("2022-04-06T14:17:23.5")
    assert ds["voltage"].values == pytest.approx([3.1, 3.2])


def test_elapsed_seconds_refine_whole_second_stamps(tmp_path: Path) -> None:
    rows = "".join(f"2022-04-06 14:17:{23 + i // 4},{i / 4},{3 + i}\n" for i in range(12))
    ds = read(tmp_path, "Date,Time [s],Voltage [V]\n" + rows, timezone="UTC")
    assert np.diff(ds["time"].values.astype(np.int64)) == pytest.approx(0.25e9, abs=1)


def test_doubled_stamps_are_reported(tmp_path: Path) -> None:
    text = "time,Voltage [V]\n2022-04-06T14:17:23Z,3\n2022-04-06T14:17:23Z,4\n"
    with pytest.warns(ClockWarning, match="1 samples share"):
        ds = read(tmp_path, text)
    assert ds["voltage"].values.tolist() == [3.0, 4.0]
    assert "1 samples share" in ds.attrs["clock"]


def test_a_table_is_recognised_by_its_header_whatever_its_name(tmp_path: Path) -> None:
    ds = read(tmp_path, "uts,Voltage [V]\n1.0,3\n2.0,4\n", "log.unknown")
    assert ds.attrs["kind"] == "channels"
