"""Maccor text."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr

import beamline
from beamline import model
from beamline.errors import DataFileError
from beamline.readers.stamps import ClockWarning
from tests.beamline.channel_files import maccor


def read(folder: Path, text: str, encoding: str = "cp1252", **options: Any) -> xr.Dataset:
    path = folder / "cell.txt"
    path.write_bytes(text.encode(encoding))
    ds = beamline.read(path, **{"timezone": "Europe/London", **options})
    assert isinstance(ds, xr.Dataset)
    return ds


def test_it_is_valid_channels(tmp_path: Path) -> None:
    ds = read(tmp_path, maccor())
    model.validate(ds, "channels")
    assert set(ds.data_vars) == {"cycle", "step", "capacity", "current", "voltage"}
    assert ds["voltage"].values.tolist() == [3.1001, 3.2002, 3.3003, 3.1004, 3.0005]
    assert ds["cycle"].values.tolist() == [1, 1, 1, 1, 2]


def test_time_is_utc_and_test_time_without_unit_is_scaled_by_the_wall_clock(tmp_path: Path) -> None:
    ds = read(tmp_path, maccor())
    assert ds["time"].values[0] == np.datetime64("2021-05-14T14:40:24")
    assert ((ds["time"] - ds["time"][0]) / np.timedelta64(1, "s")).values.tolist() == [0, 30, 60, 150, 240]


def test_current_is_positive_on_charge_and_negative_on_discharge(tmp_path: Path) -> None:
    ds = read(tmp_path, maccor())
    assert ds["current"].values.tolist() == [0, 0.01, 0.01, -0.02, -0.02]
    assert ds["current"].attrs["sign"] == "positive on charge"


def test_a_signed_current_keeps_its_sign(tmp_path: Path) -> None:
    ds = read(tmp_path, maccor().replace("0.020\t", "-0.020\t"))
    assert ds["current"].values.tolist() == [0, 0.01, 0.01, -0.02, -0.02]
    assert ds["current"].attrs["sign"] == "as in the file"


def test_the_resolution_is_the_last_digit(tmp_path: Path) -> None:
    assert read(tmp_path, maccor())["voltage"].attrs["resolution"] == pytest.approx(1e-4)


def test_the_reference_electrode_is_kept(tmp_path: Path) -> None:
    attrs = read(tmp_path, maccor(), reference="Li/Li+", in_situ="yes")["voltage"].attrs
    assert (attrs["reference"], attrs["in_situ"]) == ("Li/Li+", "yes")
    assert read(tmp_path, maccor())["voltage"].attrs["reference"] == ""


@pytest.mark.parametrize("encoding", ["utf-8", "utf-16", "cp1252"])
def test_any_encoding_gives_the_same(tmp_path: Path, encoding: str) -> None:
    ds = read(tmp_path, maccor().replace("cell 3", "Zelle für 5 µA"), encoding)
    assert ds["voltage"].values[0] == 3.1001


def test_decimal_commas(tmp_path: Path) -> None:
    assert read(tmp_path, maccor().replace(".", ",").replace("Cap, ", "Cap. ")).equals(
        read(tmp_path, maccor())
    )


def test_a_csv_with_days_and_units_in_words(tmp_path: Path) -> None:
    text = (
        "Date of Test:,23-Nov-23 3:56:08 PM\n"
        "Rec#,Cyc#,Step,Test (Sec),Amps,Volts,State,DPT Time\n"
        "1,0,1,0d 00:00:00.50,0.5,3.5,C,23-Nov-23 3:56:11 PM\n"
        "2,0,1,0d 00:00:01.75,0.5,3.6,C,23-Nov-23 3:56:12 PM\n"
    )
    ds = read(tmp_path, text)
    assert ds["current"].attrs["units"] == "A"
    assert np.diff(ds["time"].values)[0] == np.timedelta64(1250, "ms")


def test_a_current_without_unit_is_asked_for(tmp_path: Path) -> None:
    text = maccor().replace("Current [A]", "Current")
    with pytest.raises(DataFileError, match=r"states no unit for 'Current'; give it: units="):
        read(tmp_path, text)
    assert read(tmp_path, text, units={"Current": "mA"})["current"].attrs["units"] == "mA"


def test_a_test_that_was_suspended_follows_the_clock(tmp_path: Path) -> None:
    text = maccor().replace("3:44:24 PM", "5:44:24 PM")
    with pytest.warns(ClockWarning, match=r"part 1 times \(by \+7200 s"):
        ds = read(tmp_path, text)
    assert ds["time"].values[-1] == np.datetime64("2021-05-14T16:44:24")
