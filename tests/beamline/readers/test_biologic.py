"""BioLogic text."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr

import beamline
from beamline.errors import DataFileError
from tests.beamline.channel_files import mpt


def read(folder: Path, text: str, encoding: str = "cp1252", **options: Any) -> xr.Dataset:
    path = folder / "cell.mpt"
    path.write_bytes(text.encode(encoding))
    ds = beamline.read(path, **{"timezone": "Europe/Copenhagen", **options})
    assert isinstance(ds, xr.Dataset)
    return ds


def test_time_counts_from_the_start_of_the_acquisition_month_first(tmp_path: Path) -> None:
    ds = read(tmp_path, mpt())
    assert ds["time"].values[0] == np.datetime64("2022-04-06T14:19:01")
    assert ds["time"].values[2] == np.datetime64("2022-04-06T14:19:03.5")


def test_day_first_is_an_option(tmp_path: Path) -> None:
    assert read(tmp_path, mpt(), day_first=True)["time"].values[0] == np.datetime64("2022-06-04T14:19:01")


def test_channels_have_the_names_of_the_model(tmp_path: Path) -> None:
    ds = read(tmp_path, mpt())
    assert ds["voltage"].values.tolist() == [3.50, 3.51, 3.52]
    assert ds["current"].attrs["units"] == "mA"
    assert ds["cycle"].values.tolist() == [1, 1, 2]
    assert ds.attrs["left_out"] == "mode, ox/red"


def test_decimal_commas_windows_lines_and_encodings(tmp_path: Path) -> None:
    plain = read(tmp_path, mpt())
    commas = mpt().replace("3.5", "3,5").replace("1.0", "1,0").replace("2.", "2,").replace("0.0", "0,0")
    for encoding in ("cp1252", "utf-8", "utf-8-sig"):
        assert read(tmp_path, commas.replace("\n", "\r\n"), encoding)["voltage"].equals(plain["voltage"])


def test_absolute_time_stamps(tmp_path: Path) -> None:
    rows = [f"2\t1\t11/20/2024 11:38:4{i}.707\t3.5{i}\t1.0\t1" for i in range(3)]
    ds = read(tmp_path, mpt(rows).replace("EC-Lab", "BT-Lab"), timezone="UTC")
    assert ds["time"].values[1] == np.datetime64("2024-11-20T11:38:41.707")


def test_a_header_without_a_start_takes_the_option(tmp_path: Path) -> None:
    text = mpt().replace("Acquisition started on", "Acquisition began on")
    with pytest.raises(DataFileError, match=r"give it: start="):
        read(tmp_path, text)
    ds = read(tmp_path, text, start="2022-04-06T16:19:01")
    assert ds["time"].values[0] == np.datetime64("2022-04-06T14:19:01")
