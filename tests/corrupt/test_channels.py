"""Damaged channel files end as one typed error, or are read and say what was left out."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import beamline
from beamline.errors import ConfigError, DataFileError
from beamline.readers.stamps import ClockWarning
from tests.beamline.channel_files import CSV, maccor, mpt, zilien

ZONE = {"timezone": "Europe/London"}
STARTED = {**ZONE, "start": "2022-04-06T16:17:23"}
NAME = {
    "maccor": "cell.txt",
    "mpt": "cell.mpt",
    "zilien": "2022-04-06 16_17_23 cell.tsv",
    "table": "furnace.csv",
}
GOOD = {"maccor": maccor(), "mpt": mpt(), "zilien": zilien(), "table": CSV}
OPTIONS: dict[str, dict[str, Any]] = {"maccor": ZONE, "mpt": ZONE, "zilien": ZONE, "table": STARTED}
JUNK = bytes(np.random.default_rng(0).integers(0, 256, 3000, dtype=np.uint8))

FAULTS: list[tuple[str, str | bytes, str]] = [
    # format, file, what the error says
    ("maccor", "", "is empty"),
    ("maccor", JUNK, "not"),
    ("maccor", maccor(rows=()), "no data"),
    ("maccor", maccor().split("Rec\t")[0], "not a"),
    ("maccor", maccor().replace("DPT Time", "DPT"), "no column DPT Time"),
    ("maccor", maccor().replace("3.3003", "3.3.003"), "not a number"),
    ("maccor", maccor().replace("3.3003", "3,300.3"), "mixes"),
    ("maccor", maccor().replace("5/14/2021 3:41:24 PM", ""), "not a time stamp"),
    ("maccor", maccor().replace("5/14/2021 3:41:24 PM", "NaN"), "not a time stamp"),
    ("maccor", maccor().replace("TestTime", "Test (Min)").replace("3:41:24 PM", "3:31:24 PM"), "backward"),
    ("maccor", maccor().replace("\t1.0\t0.0002", "\t\t0.0002"), "no test time|does not say"),
    ("maccor", maccor().replace("5/14/2021", "5/11/2021"), "day or the month"),
    ("maccor", maccor().replace("5/14/2021", "5/41/2021"), "does not exist"),
    ("maccor", maccor().replace("2\t1\t2\t0.5", "2\t1"), "cells instead of"),
    ("maccor", maccor().replace("5\t2\t3\t4.0", "5\t2.5\t3\t4.0"), "not an integer"),
    ("maccor", maccor().encode().replace(b"cell 3", b"cell \0"), "not"),
    ("mpt", "", "is empty"),
    ("mpt", JUNK, "not a text file"),
    ("mpt", mpt(rows=()), "no data"),
    ("mpt", mpt().split("\n")[0], "does not count"),
    ("mpt", mpt().replace("lines : 8", "lines : 999999"), "fewer than the 999999"),
    ("mpt", mpt().replace("lines : 8", "lines : 99999999999"), "does not count"),
    ("mpt", mpt().replace("lines : 8", "lines : -8"), "does not count"),
    ("mpt", mpt().replace("lines : 8", "lines : 6"), "no column time/s|cells instead"),
    ("mpt", mpt().replace("time/s", "tick"), "no column time/s"),
    ("mpt", mpt().replace("\t1.0\t3.51", "\tNaN\t3.51"), "no time in line 10"),
    ("mpt", mpt().replace("\t1.0\t3.51", "\t5.0\t3.51"), "backward"),
    ("mpt", mpt().replace("3.51", "3;51"), "not a number"),
    ("mpt", mpt(start="04/06/2022"), "not a time stamp"),
    ("mpt", mpt(start="04/06/1066 10:00:00"), "clock was not set"),
    ("mpt", mpt().replace("\t1.0\t3.51\t1.0", "\t1.0"), "cells instead of"),
    ("zilien", "", "is empty"),
    ("zilien", zilien().encode() + JUNK, "not"),
    ("zilien", zilien()[:60], "header that is not as it says"),
    ("zilien", "\n".join(zilien().split("\n")[:7]), "cut off"),
    ("zilien", "\n".join(zilien().split("\n")[:-2]), "instead of|cut off"),
    ("zilien", zilien().replace("int\t6\n", "int\t99999999\n"), "lines; its data should begin|as it says"),
    ("zilien", zilien().replace("int\t6\n", "int\tsix\n"), "header that is not as it says"),
    ("zilien", zilien().replace("96.5", "NaN"), "instead of 3"),
    ("zilien", zilien().replace("96.5", "94.5"), "backward"),
    ("zilien", zilien().replace("Time [s]\tPressure", "Tick [s]\tPressure"), "no time for the series"),
    ("zilien", zilien().replace("0.591", "0.5x1"), "not a number"),
    ("zilien", zilien().replace("pot\t\t\tPC", "\t\t\tPC"), "does not name the series"),
    ("zilien", zilien(stated=7), "instead of 7"),
    ("table", "", "is empty"),
    ("table", JUNK, "not"),
    ("table", "voltage / V,current / A\n1,2\n", "no line of column headers"),
    ("table", "time / s,Voltage / V\n", "no data"),
    ("table", CSV.replace("1.5,3.20", ",3.20"), "no time in line 4"),
    ("table", CSV.replace("1.5,3.20", "nan,3.20"), "no time in line 4"),
    ("table", CSV.replace("1.5,3.20", "9.5,3.20"), "backward"),
    ("table", CSV.replace("3.20", "3.2O"), "not a number"),
    ("table", CSV.replace("3.20", "3,20"), "6 cells instead of 5"),
    ("table", CSV.replace("time / s", "time / m"), "not a unit of time"),
    ("table", CSV.replace("time / s", "time"), "in which unit"),
    ("table", CSV.replace("Voltage / V", "Voltage / A"), "another dimension"),
    ("table", "time,Voltage [V]\n2022-04-06T14:17:23Z,3\n2022-04-06T14:17:24,3\n", "for some time stamps"),
    ("table", "uts,Voltage [V]\n1e300,3\n", "not in seconds since 1970"),
    ("table", "time / s,note\n1,a\n", "no column that is a channel"),
]


@pytest.mark.parametrize(
    ("name", "content", "match"), FAULTS, ids=[f"{name}-{i}" for i, (name, *_) in enumerate(FAULTS)]
)
def test_faults_end_as_one_error_with_the_file(
    tmp_path: Path, name: str, content: str | bytes, match: str
) -> None:
    path = tmp_path / NAME[name]
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(DataFileError, match=match) as caught:
        beamline.read(path, kind="channels", **OPTIONS[name])
    assert caught.value.subject == str(path) or str(path) in str(caught.value)


@pytest.mark.parametrize("name", GOOD)
def test_the_faults_are_the_only_thing_wrong(tmp_path: Path, name: str) -> None:
    path = tmp_path / NAME[name]
    path.write_text(GOOD[name])
    assert isinstance(beamline.read(path, kind="channels", **OPTIONS[name]), xr.Dataset | xr.DataTree)


@pytest.mark.parametrize("name", ["maccor", "mpt", "table"])
def test_a_file_that_is_being_written_gives_its_whole_lines(tmp_path: Path, name: str) -> None:
    path = tmp_path / NAME[name]
    path.write_text(GOOD[name].rstrip("\n")[:-8])
    with pytest.warns(ClockWarning, match="last line"):
        cut = beamline.read(path, kind="channels", **OPTIONS[name])
    path.write_text(GOOD[name])
    whole = beamline.read(path, kind="channels", **OPTIONS[name])
    assert isinstance(cut, xr.Dataset)
    assert isinstance(whole, xr.Dataset)
    assert cut.sizes["time"] == whole.sizes["time"] - 1
    xr.testing.assert_equal(cut, whole.isel(time=slice(-1)))


@pytest.mark.parametrize("name", GOOD)
@settings(deadline=None, max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_any_damage_is_a_typed_error_or_a_valid_reading(
    tmp_path: Path, name: str, data: st.DataObject, recwarn: pytest.WarningsRecorder
) -> None:
    raw = bytearray(GOOD[name].encode())
    for _ in range(data.draw(st.integers(1, 4))):
        place = data.draw(st.integers(0, len(raw) - 1))
        raw[place : place + data.draw(st.integers(0, 3))] = data.draw(st.binary(max_size=3))
    path = tmp_path / NAME[name]
    path.write_bytes(bytes(raw[: data.draw(st.integers(1, len(raw)))]))
    with contextlib.suppress(DataFileError, ConfigError):
        found = beamline.read(path, kind="channels", **OPTIONS[name])
        for leaf in found.leaves if isinstance(found, xr.DataTree) else [found]:
            assert (np.diff(leaf["time"].values.astype(np.int64)) > 0).all()


def test_one_very_long_line_is_an_error(tmp_path: Path) -> None:
    path = tmp_path / "cell.mpt"
    path.write_text("EC-Lab ASCII FILE\n" + "9" * 5_000_000)
    with pytest.raises(DataFileError, match="does not count"):
        beamline.read(path, **ZONE)


@pytest.mark.parametrize(
    ("name", "head"),
    [
        ("a.mpr", b"BIO-LOGIC MODULAR FILE\x1a"),
        ("a.dat", b"BIO-LOGIC MODULAR FILE\x1a"),
        ("a.nda", b"NEWARE2020"),
        ("a.ndax", b"PK\x03\x04"),
        ("a.res", b"\0\1\0\0Standard Jet DB"),
    ],
)
def test_binaries_are_refused_unopened(tmp_path: Path, name: str, head: bytes) -> None:
    path = tmp_path / name
    path.write_bytes(head + JUNK)
    with pytest.raises(DataFileError, match="which redoxlight does not read; export it"):
        beamline.read(path, **ZONE)


def test_an_unknown_option_is_named(tmp_path: Path) -> None:
    path = tmp_path / "cell.mpt"
    path.write_text(mpt())
    with pytest.raises(ConfigError, match="option 'zone'"):
        beamline.read(path, zone="UTC")


def test_units_of_no_column_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "cell.mpt"
    path.write_text(mpt())
    with pytest.raises((ConfigError, DataFileError), match="name no column"):
        beamline.read(path, units={"Strom": "A"}, **ZONE)
